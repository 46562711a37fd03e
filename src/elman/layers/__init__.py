"""Layers: cells over time.

``recurrent.py`` holds `Recurrent`, which runs any cell over sequences (stacked, in both directions, with dropout,
lengths, resets and carried state); ``named.py`` the layers of elman's own cells: `RNN`, `LSTM`, `GRU`, ...
``noise.py`` draws what dropout of every kind needs.
``linear.py`` holds `Linear`, a linear layer on elman's own product.
``losses.py`` holds `linear_cross_entropy`, the readout over a vocabulary together with its loss.
``crf.py`` holds `LinearChainCRF`, to label sequences with.
``stream.py`` holds `Stream`, a language model word by word.
"""

from elman.layers.crf import LinearChainCRF
from elman.layers.linear import Linear, linear
from elman.layers.losses import LinearCrossEntropy, linear_cross_entropy
from elman.layers.named import GRU, LSTM, RNN, CoupledLSTM, PeepholeLSTM, ReLURNN, ResetBeforeGRU
from elman.layers.recurrent import Recurrent
from elman.layers.stream import Stream

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CoupledLSTM",
    "Linear",
    "LinearChainCRF",
    "LinearCrossEntropy",
    "PeepholeLSTM",
    "ReLURNN",
    "Recurrent",
    "ResetBeforeGRU",
    "Stream",
    "linear",
    "linear_cross_entropy",
]
