"""Recurrent neural networks on PyTorch: a cell is written once, as its equations.

=============  ===============================================================
``cells``       cells and the words of a step: the mathematics
``compiler``    from a step to a graph
``backends``    what runs a graph over time
``layers``      cells over time: stacks, directions, lengths, resets, dropout
``data``        readers, downloads and batches
``training``    the loop: optimiser, checkpoints, resume, progress, TensorBoard
``tasks``       what there is to learn: classification
``interop``     weights from other libraries
``testing``     the conformance kit for cells of your own
``cli``         the command ``elman``
=============  ===============================================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman.cells import (
        Affine,
        Cell,
        CoupledLSTMCell,
        Diagonal,
        GRUCell,
        LSTMCell,
        PeepholeLSTMCell,
        ReLURNNCell,
        ResetBeforeGRUCell,
        RNNCell,
    )
    from elman.cells.words import exp, log, maximum, minimum, relu, sigmoid, softplus, sqrt, tanh, where
    from elman.interop import from_torch
    from elman.layers import GRU, LSTM, RNN, CoupledLSTM, PeepholeLSTM, Recurrent, ReLURNN, ResetBeforeGRU

__version__ = "0.1.0.dev0"

# Importing torch takes more than a second, so a name is imported when it is first used.
_HOME = {
    "elman.cells": (
        "Affine",
        "Cell",
        "CoupledLSTMCell",
        "Diagonal",
        "GRUCell",
        "LSTMCell",
        "PeepholeLSTMCell",
        "RNNCell",
        "ReLURNNCell",
        "ResetBeforeGRUCell",
    ),
    "elman.cells.words": (
        "exp",
        "log",
        "maximum",
        "minimum",
        "relu",
        "sigmoid",
        "softplus",
        "sqrt",
        "tanh",
        "where",
    ),
    "elman.interop": ("from_torch",),
    "elman.layers": (
        "GRU",
        "LSTM",
        "RNN",
        "CoupledLSTM",
        "PeepholeLSTM",
        "ReLURNN",
        "Recurrent",
        "ResetBeforeGRU",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Affine",
    "Cell",
    "CoupledLSTM",
    "CoupledLSTMCell",
    "Diagonal",
    "GRUCell",
    "LSTMCell",
    "PeepholeLSTM",
    "PeepholeLSTMCell",
    "RNNCell",
    "ReLURNN",
    "ReLURNNCell",
    "Recurrent",
    "ResetBeforeGRU",
    "ResetBeforeGRUCell",
    "exp",
    "from_torch",
    "log",
    "maximum",
    "minimum",
    "relu",
    "sigmoid",
    "softplus",
    "sqrt",
    "tanh",
    "where",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'elman' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
