"""The LSTM whose gates see the memory."""

from __future__ import annotations

from typing import Any

from elman.cells.cell import Affine, Cell, Diagonal
from elman.cells.words import sigmoid, tanh

__all__ = ["PeepholeLSTMCell"]


class PeepholeLSTMCell(Cell, name="peephole"):
    r"""Long short-term memory with peepholes: the gates see the memory, one weight a unit.

    .. math::

        i_t &= \sigma(W_i x_t + U_i h_{t-1} + p_i \odot c_{t-1} + b_i) \\
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + p_f \odot c_{t-1} + b_f) \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + p_o \odot c_t + b_o) \\
        h_t &= o_t \odot \tanh(c_t)

    The output gate sees the new memory, the other two the old one. Symbols as in `LSTMCell`.

    Shapes: x ``(batch, input)``, h and c ``(batch, hidden)``.

    Parameters: ``weight_x (4H, input)``, ``weight_h (4H, H)``, ``bias (4H,)``, blocks i, f, g, o;
    ``diagonal (3, H)``, rows p_i, p_f, p_o.

    Init: the bias of f is 1.

    Cost: 8 H (input + H) + 6 H FLOPs a row and step.

    Source: F. A. Gers, N. N. Schraudolph, J. Schmidhuber, Learning Precise Timing with LSTM Recurrent Networks, JMLR 3
    (2002).

    Example:
        >>> PeepholeLSTMCell(3, 5).diagonal.shape
        torch.Size([3, 5])
    """

    states = ("h", "c")
    i, f, g, o = Affine(), Affine(bias=1.0), Affine(), Affine()
    p_i, p_f, p_o = Diagonal(), Diagonal(), Diagonal()

    def step(self, x: Any, h: Any, c: Any) -> Any:
        """Return h_t, c_t."""
        i = sigmoid(self.i(x, h) + self.p_i(c))
        f = sigmoid(self.f(x, h) + self.p_f(c))
        c = f * c + i * tanh(self.g(x, h))
        o = sigmoid(self.o(x, h) + self.p_o(c))
        return o * tanh(c), c
