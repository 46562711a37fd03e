"""What the kernels of linear layers have in common: matrices as their owners have them, row by row."""

from __future__ import annotations

from llvmlite import ir

from elman.backends.llvm.team import TeamKernel
from elman.backends.llvm.vectors import Integer

__all__ = ["DenseKernel"]


class DenseKernel(TeamKernel):
    """Writes a kernel on row-major matrices."""

    def tail(self, width: Integer) -> Integer:
        """Return how many lanes of the last vector of a row are used."""
        return width - (width - 1) // self.lanes * self.lanes

    def vectors(self, width: Integer) -> Integer:
        """Return how many vectors hold a row."""
        return (width + (self.lanes - 1)) // self.lanes

    def used(self, width: Integer, vector: Integer) -> ir.Value:
        """Return the mask of the lanes of a vector that are in a row."""
        return self.mask(width - vector * self.lanes)
