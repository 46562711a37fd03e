"""Layers: cells over time.

``recurrent.py`` holds `Recurrent`, which runs any cell over sequences (stacked, in both directions, with dropout,
lengths, resets and carried state), and its named conveniences `RNN`, `LSTM`, `PeepholeLSTM`, `CoupledLSTM`, `GRU`, ...
"""

from elman.layers.recurrent import (
    GRU,
    LSTM,
    RNN,
    CoupledLSTM,
    PeepholeLSTM,
    Recurrent,
    ReLURNN,
    ResetBeforeGRU,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CoupledLSTM",
    "PeepholeLSTM",
    "ReLURNN",
    "Recurrent",
    "ResetBeforeGRU",
]
