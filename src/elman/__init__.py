"""Recurrent neural networks on PyTorch: a cell is written once, as its equations.

=============  ===============================================================
``cells``       cells and the words of a step: the mathematics
``compiler``    from a step to a graph
``backends``    what runs a graph over time
``layers``      cells over time: stacks, directions, lengths, resets, dropout
``data``        readers, downloads and batches
``training``    the loop: optimiser, checkpoints, resume, progress, TensorBoard
``tasks``       what there is to learn: classification, language models, memory
``insight``     what goes on inside: the flow of gradients
``interop``     weights from other libraries
``testing``     the conformance kit for cells of your own
``bench``       time and memory, beside other libraries
``cli``         the command ``elman``
=============  ===============================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elman.lazy import exports

if TYPE_CHECKING:
    from elman.backends.dispatch import backend
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
    from elman.layers.explain import explain

__version__ = "0.1.0.dev0"

_HOME = {
    "elman.backends.dispatch": ("backend",),
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
    "elman.layers.explain": ("explain",),
}
__getattr__, __dir__ = exports(__name__, _HOME)

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
    "backend",
    "exp",
    "explain",
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
