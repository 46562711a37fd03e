"""The cells: one cell, one file.

==================  ==================================================================
``cell.py``          what a cell is: `Cell`, `Affine`, `Diagonal`
``words.py``         the functions that a step may use
the others           `RNNCell`, `LSTMCell`, `PeepholeLSTMCell`, `CoupledLSTMCell`, `GRUCell`, ...
==================  ==================================================================

A new cell is a new file with its equations and an import here; the registry (`find`) gives it the rest.
"""

from elman.cells.cell import Affine, Cell, Diagonal, GateParameter
from elman.cells.coupled import CoupledLSTMCell
from elman.cells.find import find
from elman.cells.gru import GRUCell
from elman.cells.gru_reset_before import ResetBeforeGRUCell
from elman.cells.lstm import LSTMCell
from elman.cells.peephole import PeepholeLSTMCell
from elman.cells.rnn import RNNCell
from elman.cells.rnn_relu import ReLURNNCell

__all__ = [
    "Affine",
    "Cell",
    "CoupledLSTMCell",
    "Diagonal",
    "GRUCell",
    "GateParameter",
    "LSTMCell",
    "PeepholeLSTMCell",
    "RNNCell",
    "ReLURNNCell",
    "ResetBeforeGRUCell",
    "find",
]
