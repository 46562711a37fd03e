"""Weights and models from and to other libraries: ``torch.py`` for `torch.nn`."""

from elman.interop.torch import from_torch

__all__ = ["from_torch"]
