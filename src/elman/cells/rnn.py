"""The simple recurrent network of Elman."""

from __future__ import annotations

from typing import Any

from elman.cells.cell import Affine, Cell
from elman.cells.words import tanh

__all__ = ["RNNCell"]


class RNNCell(Cell, name="rnn"):
    r"""Elman's simple recurrent network.

    .. math::

        h_t = \tanh(W x_t + U h_{t-1} + b)

    Shapes: x ``(batch, input)``, h ``(batch, hidden)``.

    Parameters: ``weight_x (H, input)``, ``weight_h (H, H)``, ``bias (H,)``.

    Cost: 2 H (input + H) FLOPs a row and step.

    Source: J. L. Elman, Finding Structure in Time, Cognitive Science 14 (1990).

    Example:
        >>> import torch
        >>> cell = RNNCell(3, 5)
        >>> cell(torch.ones(2, 3)).h.shape
        torch.Size([2, 5])
    """

    states = ("h",)
    n = Affine()

    def step(self, x: Any, h: Any) -> Any:
        """Return h_t."""
        return tanh(self.n(x, h))
