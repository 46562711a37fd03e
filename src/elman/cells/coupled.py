"""The LSTM that forgets as much as it takes in."""

from __future__ import annotations

from typing import Any

from elman.cells.cell import Affine, Cell
from elman.cells.words import sigmoid, tanh

__all__ = ["CoupledLSTMCell"]


class CoupledLSTMCell(Cell, name="coupled"):
    r"""Long short-term memory with coupled input and forget gate (CIFG).

    .. math::

        f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f) \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) \\
        c_t &= f_t \odot c_{t-1} + (1 - f_t) \odot g_t \\
        h_t &= o_t \odot \tanh(c_t)

    Symbols as in `LSTMCell`; the input gate is 1 - f.

    Shapes: x ``(batch, input)``, h and c ``(batch, hidden)``.

    Parameters: ``weight_x (3H, input)``, ``weight_h (3H, H)``, ``bias (3H,)``; blocks f, g, o.

    Init: the bias of f is 1.

    Cost: 6 H (input + H) FLOPs a row and step.

    Source: K. Greff, R. K. Srivastava, J. Koutník, B. R. Steunebrink, J. Schmidhuber, LSTM: A Search Space Odyssey,
    IEEE Transactions on Neural Networks and Learning Systems 28 (2017), variant CIFG.

    Example:
        >>> CoupledLSTMCell(3, 5).weight_h.shape
        torch.Size([15, 5])
    """

    states = ("h", "c")
    f, g, o = Affine(bias=1.0), Affine(), Affine()

    def step(self, x: Any, h: Any, c: Any) -> Any:
        """Return h_t, c_t."""
        f = sigmoid(self.f(x, h))
        o = sigmoid(self.o(x, h))
        c = f * c + (1 - f) * tanh(self.g(x, h))
        return o * tanh(c), c
