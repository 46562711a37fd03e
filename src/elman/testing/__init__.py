"""The conformance kit: is a cell, ours or yours, right in every way that elman runs it?

``conformance.py`` holds `assert_cell_conforms`: what a layer of any cell must do, in float64, with random distinct
weights (with equal ones a cell with two gates swapped would pass), values and gradients by name.
``comparison.py`` holds `compare_backends`: every backend, device and type against the reference in float64, with the
tolerances in one table. The command ``elman check CELL`` runs both and shows what they find.
"""

from elman.testing.cases import CASES, Case
from elman.testing.comparison import TOLERANCES, Comparison, Place, compare_backends, places
from elman.testing.conformance import assert_cell_conforms, properties

__all__ = [
    "CASES",
    "TOLERANCES",
    "Case",
    "Comparison",
    "Place",
    "assert_cell_conforms",
    "compare_backends",
    "places",
    "properties",
]
