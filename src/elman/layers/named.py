"""`Recurrent` with each of elman's cells, under the names that people know."""

from __future__ import annotations

from typing import Unpack

from elman.cells import (
    CoupledLSTMCell,
    GRUCell,
    LSTMCell,
    PeepholeLSTMCell,
    ReLURNNCell,
    ResetBeforeGRUCell,
    RNNCell,
)
from elman.layers.recurrent import Options, Recurrent

__all__ = ["GRU", "LSTM", "RNN", "CoupledLSTM", "PeepholeLSTM", "ReLURNN", "ResetBeforeGRU"]


class RNN(Recurrent):
    """`Recurrent` with the cell of `elman.RNNCell`: Elman's network with tanh.

    Example:
        >>> import torch
        >>> outputs, state = RNN(8, 16)(torch.ones(4, 10, 8))
        >>> outputs.shape
        torch.Size([4, 10, 16])
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Unpack[Options]) -> None:
        super().__init__(RNNCell, input_size, hidden_size, num_layers, **options)


class ReLURNN(Recurrent):
    """`Recurrent` with the cell of `elman.ReLURNNCell`: Elman's network with a rectifier.

    Example:
        >>> import torch
        >>> outputs, state = ReLURNN(8, 16)(torch.ones(4, 10, 8))
        >>> outputs.shape
        torch.Size([4, 10, 16])
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Unpack[Options]) -> None:
        super().__init__(ReLURNNCell, input_size, hidden_size, num_layers, **options)


class LSTM(Recurrent):
    """`Recurrent` with the cell of `elman.LSTMCell`: long short-term memory.

    Example:
        >>> import torch
        >>> outputs, state = LSTM(8, 16)(torch.ones(4, 10, 8))
        >>> outputs.shape
        torch.Size([4, 10, 16])
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Unpack[Options]) -> None:
        super().__init__(LSTMCell, input_size, hidden_size, num_layers, **options)


class PeepholeLSTM(Recurrent):
    """`Recurrent` with the cell of `elman.PeepholeLSTMCell`: the LSTM whose gates see the memory.

    Example:
        >>> import torch
        >>> outputs, state = PeepholeLSTM(8, 16)(torch.ones(4, 10, 8))
        >>> outputs.shape
        torch.Size([4, 10, 16])
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Unpack[Options]) -> None:
        super().__init__(PeepholeLSTMCell, input_size, hidden_size, num_layers, **options)


class CoupledLSTM(Recurrent):
    """`Recurrent` with the cell of `elman.CoupledLSTMCell`: the LSTM that forgets as much as it takes in.

    Example:
        >>> import torch
        >>> outputs, state = CoupledLSTM(8, 16)(torch.ones(4, 10, 8))
        >>> outputs.shape
        torch.Size([4, 10, 16])
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Unpack[Options]) -> None:
        super().__init__(CoupledLSTMCell, input_size, hidden_size, num_layers, **options)


class GRU(Recurrent):
    """`Recurrent` with the cell of `elman.GRUCell`: the GRU with its reset gate after the product, as in torch.

    Example:
        >>> import torch
        >>> outputs, state = GRU(8, 16)(torch.ones(4, 10, 8))
        >>> outputs.shape
        torch.Size([4, 10, 16])
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Unpack[Options]) -> None:
        super().__init__(GRUCell, input_size, hidden_size, num_layers, **options)


class ResetBeforeGRU(Recurrent):
    """`Recurrent` with the cell of `elman.ResetBeforeGRUCell`: the GRU with its reset gate before the product.

    Example:
        >>> import torch
        >>> outputs, state = ResetBeforeGRU(8, 16)(torch.ones(4, 10, 8))
        >>> outputs.shape
        torch.Size([4, 10, 16])
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Unpack[Options]) -> None:
        super().__init__(ResetBeforeGRUCell, input_size, hidden_size, num_layers, **options)
