"""The conformance kit: is a cell, ours or yours, right in every way that elman runs it?

``conformance.py`` holds `assert_cell_conforms`: what a layer of any cell must do, in float64, with random distinct
weights (with equal ones a cell with two gates swapped would pass), values and gradients by name.
``comparison.py`` holds `compare_backends`: every backend, device and type against the reference in float64, with the
tolerances in one table. ``differences.py`` holds `check_gradients`: each gradient beside central differences of the
loss. The command ``elman check CELL`` runs all three and shows what they find.
"""

from elman.testing.cases import CASES, Case
from elman.testing.comparison import TOLERANCES, Comparison, Place, compare_backends, places
from elman.testing.conformance import assert_cell_conforms, properties
from elman.testing.differences import GradientCheck, check_gradients

__all__ = [
    "CASES",
    "TOLERANCES",
    "Case",
    "Comparison",
    "GradientCheck",
    "Place",
    "assert_cell_conforms",
    "check_gradients",
    "compare_backends",
    "places",
    "properties",
]
