"""The long short-term memory with a forget gate."""

from __future__ import annotations

from typing import Any

from elman.cells.cell import Affine, Cell
from elman.cells.words import sigmoid, tanh

__all__ = ["LSTMCell"]


class LSTMCell(Cell, name="lstm"):
    r"""Long short-term memory.

    .. math::

        i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i) \\
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f) \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        h_t &= o_t \odot \tanh(c_t)

    i is the input gate, f the forget gate, g the candidate, o the output gate, c the memory, h the output.

    Shapes: x ``(batch, input)``, h and c ``(batch, hidden)``.

    Parameters: ``weight_x (4H, input)``, ``weight_h (4H, H)``, ``bias (4H,)``; blocks i, f, g, o.

    Init: the bias of f is 1, so that the memory is kept at first (Jozefowicz et al. 2015).

    Cost: 8 H (input + H) FLOPs a row and step.

    Source: S. Hochreiter, J. Schmidhuber, Long Short-Term Memory, Neural Computation 9 (1997); the forget gate by
    F. A. Gers, J. Schmidhuber, F. Cummins, Learning to Forget, Neural Computation 12 (2000).

    Example:
        >>> import torch
        >>> h, c = LSTMCell(3, 5)(torch.ones(2, 3))
        >>> h.shape, c.shape
        (torch.Size([2, 5]), torch.Size([2, 5]))
    """

    states = ("h", "c")
    i, f, g, o = Affine(), Affine(bias=1.0), Affine(), Affine()

    def step(self, x: Any, h: Any, c: Any) -> Any:
        """Return h_t, c_t."""
        i = sigmoid(self.i(x, h))
        f = sigmoid(self.f(x, h))
        o = sigmoid(self.o(x, h))
        c = f * c + i * tanh(self.g(x, h))
        return o * tanh(c), c
