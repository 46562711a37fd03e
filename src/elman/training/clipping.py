"""Clipping of gradients by their norm, in the optimiser's own pass over them."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor
from torch.optim import Optimizer

__all__ = ["clip_in_step"]


def clip_in_step(optimizer: Optimizer, norm: Tensor, clip_norm: float | None, *, factor: float = 1.0) -> None:
    """Have the next step of a fused optimiser clip the gradients: a pass less over all of them.

    The step divides gradients by ``grad_scale``, which a fused optimiser of torch has for this and which counts for
    every step until it is set anew. The gradients are afterwards what was divided.

    Args:
        optimizer: made with ``fused=True``.
        norm: of all gradients together, a number; finite.
        clip_norm: what the norm, times ``factor``, is clipped at; None does not clip.
        factor: what gradients are multiplied by first.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = torch.optim.SGD([weight], lr=1.0, fused=True)
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_in_step(optimizer, weight.grad.norm(), clip_norm=1.0)
        >>> optimizer.step()
        >>> weight, weight.grad
        (Parameter containing:
        tensor([-0.6000, -0.8000], requires_grad=True), tensor([0.6000, 0.8000]))
    """
    scale = None if factor == 1.0 else norm.new_tensor(1 / factor)
    if clip_norm is not None and norm.item() * factor > clip_norm:
        scale = norm / clip_norm
    cast(Any, optimizer).grad_scale = None if scale is None else scale.float()
