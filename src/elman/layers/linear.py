"""A linear layer whose bits do not depend on the number of threads. See `Linear`."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from elman.backends import linear as backend

__all__ = ["Linear", "linear"]


class Linear(nn.Linear):
    """`torch.nn.Linear` by elman's own matrix product: forward and backward give the same bits on any thread count.

    y = x Wᵀ + b, in float32 and float64 on a CPU; elsewhere, and where torch compiles or transforms (`torch.compile`,
    `torch.func`, autocast), it is torch's own.

    Example:
        >>> layer = Linear(4, 3)
        >>> x = torch.ones(2, 5, 4)
        >>> torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return y ``(..., out_features)`` of x ``(..., in_features)``."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + b, as `Linear` does.

    Args:
        x: ``(..., features)``.
        weight: W, ``(outputs, features)``.
        bias: b, ``(outputs,)``, or None.
    """
    if backend.seen_by_torch(x, weight, bias):
        return F.linear(x, weight, bias)
    if weight.ndim != 2 or x.shape[-1:] != weight.shape[1:] or x.dtype != weight.dtype:
        return F.linear(x, weight, bias)  # which says what does not fit
    rows = x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias)):
        y = cast(Tensor, _Linear.apply(rows, weight, bias))  # type: ignore[no-untyped-call]
    else:
        y = backend.forward(rows, weight, bias)
    return y.view(*x.shape[:-1], len(weight))


class _Linear(Function):
    """The product, for torch's tape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return backend.forward(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        names = [n for n, wanted in zip(("x", "weight", "bias"), ctx.needs_input_grad, strict=True) if wanted]
        batched = torch._C._functorch.is_legacy_batchedtensor(dy)  # by torch.autograd.grad(is_grads_batched=True)
        if batched or torch.is_grad_enabled() or backend.seen_by_torch(x, weight, dy):
            found = {"x": dy @ weight, "weight": dy.transpose(-2, -1) @ x, "bias": dy.sum(dim=-2)}
        else:
            found = backend.backward(x, weight, dy, names)
        return tuple(found[name] if name in names else None for name in ("x", "weight", "bias"))
