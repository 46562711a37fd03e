"""Tensors as kernels read them from memory."""

from __future__ import annotations

from torch import Tensor

__all__ = ["rows_together", "whole"]


def rows_together(tensor: Tensor) -> Tensor:
    """Return a tensor whose last dimension lies number by number, and whose sign is written where it stands."""
    tensor = tensor.resolve_neg()  # the imaginary part of a conjugate is only marked as negative
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that lies in one piece."""
    return tensor if tensor.is_contiguous() and not tensor.is_neg() else tensor.resolve_neg().contiguous()
