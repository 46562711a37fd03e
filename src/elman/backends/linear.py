"""A linear layer on plain tensors, by elman's own product: its sums have one order, on any number of threads."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from elman.backends.autograd import intercepted
from elman.backends.llvm import products, runtime
from elman.backends.selection import fall_back, wanted

__all__ = ["backward", "compiled", "forward", "seen_by_torch", "transformed"]


def compiled(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Tell whether compiled code is to run; where it cannot, the reason is logged, or raised as `BackendError`."""
    if wanted() == "reference":
        return False
    reason = runtime.refusal(x, weight) if bias is None else runtime.refusal(x, weight, bias)
    if reason is not None:
        fall_back(reason, log=x.is_cpu)
    return reason is None


def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x Wᵀ + b of x ``(rows, features)``."""
    if x.shape[0] and compiled(x, weight, bias):
        return products.linear(x, weight, bias)
    return F.linear(x, weight, bias)


def backward(x: Tensor, weight: Tensor, dy: Tensor, names: Collection[str]) -> dict[str, Tensor]:
    """Return the gradients of these names: ``x``, ``weight``, ``bias``."""
    if x.shape[0] and compiled(x, weight, None):
        return products.linear_backward(x, weight, dy, names)
    found = {}
    if "x" in names:
        found["x"] = dy @ weight
    if "weight" in names:
        found["weight"] = dy.T @ x
    if "bias" in names:
        found["bias"] = dy.sum(dim=0)
    return found


def seen_by_torch(*tensors: Tensor | None) -> bool:
    """Tell whether torch must see its own operations, or the numbers are of a type that is better left to it.

    It must where it compiles, traces, takes derivatives otherwise than by its tape, maps over a dimension, casts, or
    where something looks at every operation.
    """
    if torch.compiler.is_compiling() or transformed() or intercepted() is not None:
        return True
    given = [tensor for tensor in tensors if tensor is not None]
    device = given[0].device.type
    return (
        (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device))  # "meta" knows of no autocast
        or any(tensor.dtype not in (torch.float32, torch.float64) for tensor in given)
        or any(type(tensor) is not Tensor and type(tensor) is not nn.Parameter for tensor in given)
    )


def transformed() -> bool:
    """Tell whether derivatives are taken or mapped otherwise than by torch's tape."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
