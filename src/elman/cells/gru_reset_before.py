"""The gated recurrent unit, reset gate before the matrix product."""

from __future__ import annotations

from typing import Any

from elman.cells.cell import Affine, Cell
from elman.cells.words import sigmoid, tanh

__all__ = ["ResetBeforeGRUCell"]


class ResetBeforeGRUCell(Cell, name="gru-reset-before"):
    r"""Gated recurrent unit, reset gate before the matrix product: the first published form.

    .. math::

        r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r) \\
        z_t &= \sigma(W_z x_t + U_z h_{t-1} + b_z) \\
        n_t &= \tanh(W_n x_t + U_n (r_t \odot h_{t-1}) + b_n) \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}

    Symbols as in `GRUCell`. The step has two matrix products one after the other: U_n acts on a value of the step.

    Shapes: x ``(batch, input)``, h ``(batch, hidden)``.

    Parameters: ``weight_x (3H, input)``, ``weight_h (3H, H)``, ``bias (3H,)``; blocks r, z, n.

    Cost: 6 H (input + H) FLOPs a row and step.

    Source: K. Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, arXiv 1406.1078, version 1 (2014).

    Example:
        >>> import torch
        >>> ResetBeforeGRUCell(3, 5)(torch.ones(2, 3)).h.shape
        torch.Size([2, 5])
    """

    states = ("h",)
    r, z, n = Affine(), Affine(), Affine()

    def step(self, x: Any, h: Any) -> Any:
        """Return h_t."""
        r = sigmoid(self.r(x, h))
        z = sigmoid(self.z(x, h))
        n = tanh(self.n(x, r * h))
        return (1 - z) * n + z * h
