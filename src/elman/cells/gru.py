"""The gated recurrent unit, reset gate after the matrix product."""

from __future__ import annotations

from typing import Any

from elman.cells.cell import Affine, Cell
from elman.cells.words import sigmoid, tanh

__all__ = ["GRUCell"]


class GRUCell(Cell, name="gru"):
    r"""Gated recurrent unit, reset gate after the matrix product, as cuDNN and `torch.nn.GRU` have it.

    .. math::

        r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r) \\
        z_t &= \sigma(W_z x_t + U_z h_{t-1} + b_z) \\
        n_t &= \tanh(W_n x_t + b_{nx} + r_t \odot (U_n h_{t-1} + b_{nh})) \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}

    r is the reset gate, z the update gate (z = 1 keeps the state), n the candidate, whose two terms have a bias each.

    Shapes: x ``(batch, input)``, h ``(batch, hidden)``.

    Parameters: ``weight_x (3H, input)``, blocks r, z, n_x; ``weight_h (3H, H)``, blocks r, z, n_h; ``bias (4H,)``,
    blocks r, z, n_x, n_h.

    Cost: 6 H (input + H) FLOPs a row and step.

    Source: K. Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, arXiv 1406.1078, version 3 (2014);
    z and 1 - z as in cuDNN.

    Example:
        >>> import torch
        >>> GRUCell(3, 5)(torch.ones(2, 3)).h.shape
        torch.Size([2, 5])
    """

    states = ("h",)
    r, z, n_x, n_h = Affine(), Affine(), Affine(), Affine()

    def step(self, x: Any, h: Any) -> Any:
        """Return h_t."""
        r = sigmoid(self.r(x, h))
        z = sigmoid(self.z(x, h))
        n = tanh(self.n_x(x) + r * self.n_h(h))
        return (1 - z) * n + z * h
