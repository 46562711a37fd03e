"""The simple recurrent network of Elman, with a rectifier."""

from __future__ import annotations

from typing import Any

from elman.cells.cell import Affine, Cell
from elman.cells.words import relu

__all__ = ["ReLURNNCell"]


class ReLURNNCell(Cell, name="rnn-relu"):
    r"""Elman's simple recurrent network with a rectifier.

    .. math::

        h_t = \max(W x_t + U h_{t-1} + b, 0)

    The states are not bounded; the orthogonal initial U keeps their size over many steps.

    Shapes, parameters and cost: as `RNNCell`.

    Source: Q. V. Le, N. Jaitly, G. E. Hinton, A Simple Way to Initialize Recurrent Networks of Rectified Linear Units,
    arXiv 1504.00941 (2015).

    Example:
        >>> import torch
        >>> bool((ReLURNNCell(3, 5)(torch.ones(2, 3)).h >= 0).all())
        True
    """

    states = ("h",)
    n = Affine()

    def step(self, x: Any, h: Any) -> Any:
        """Return h_t."""
        return relu(self.n(x, h))
