"""A cell that is in no library, to measure what a cell of one's own costs."""

from __future__ import annotations

from typing import Any

from elman.cells import Affine, Cell
from elman.cells.words import sigmoid, tanh

__all__ = ["OwnCell"]


class OwnCell(Cell):
    r"""Two memories: a fast one that takes in the candidate, and a slow one that takes in the fast one.

    .. math::

        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
        u_t &= f_t \odot u_{t-1} + (1 - f_t) \odot g_t \\
        v_t &= s_t \odot v_{t-1} + (1 - s_t) \odot u_t \\
        h_t &= o_t \odot \tanh(u_t + v_t)

    u is the fast memory and v the slow one; f, s and o are gates, each \sigma(W x_t + U h_{t-1} + b).

    Example:
        >>> import torch
        >>> OwnCell(3, 5)(torch.ones(2, 3)).slow.shape
        torch.Size([2, 5])
    """

    states = ("h", "fast", "slow")
    f, s, g, o = Affine(bias=1.0), Affine(bias=3.0), Affine(), Affine()

    def step(self, x: Any, h: Any, fast: Any, slow: Any) -> Any:
        """Return h_t and both memories."""
        f = sigmoid(self.f(x, h))
        s = sigmoid(self.s(x, h))
        o = sigmoid(self.o(x, h))
        fast = f * fast + (1 - f) * tanh(self.g(x, h))
        slow = s * slow + (1 - s) * fast
        return o * tanh(fast + slow), fast, slow
