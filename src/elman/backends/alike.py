"""Tell at once whether tensors are of the same kind as others that were looked at before."""

from __future__ import annotations

from torch import Tensor
from torch._C._dynamo.guards import TensorGuards

__all__ = ["Alike"]


class Alike:
    """The kind of some tensors, to be compared with that of others.

    It holds the class of each, its type, device, sizes and strides, whether it wants gradients, marks such as that of a
    negative view, and what is on in torch around its operations: inference mode, autocast, transforms, modes. It does
    not hold the tensors, nor where their numbers are.

    It is the check with which torch.compile guards its code: one call, where Python would ask a tensor for each of
    these.

    Example:
        >>> import torch
        >>> alike = Alike(torch.ones(2, 3), torch.ones(3))
        >>> alike(torch.zeros(2, 3), torch.zeros(3)), alike(torch.zeros(3, 2), torch.zeros(3))
        (True, False)
        >>> alike(torch.zeros(3, 2).t(), torch.zeros(3))
        False
    """

    __slots__ = ("_guards",)

    def __init__(self, *tensors: Tensor) -> None:
        self._guards = TensorGuards(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)

    def __call__(self, *tensors: Tensor) -> bool:
        """Tell whether as many other tensors are of the same kind, one by one."""
        return bool(self._guards.check(*tensors))
