"""Random choices in compiled code, on plain tensors."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from elman.backends.llvm import runtime
from elman.backends.untraced import untraced

__all__ = ["draw"]

_SMALL: Final = 1e5  #: numbers below which a second thread is not worth its start


@functools.cache
def _kernel(size: int) -> runtime.Entry:
    from elman.backends.llvm.philox import DRAW, DRAW_FIELDS, write_draw
    from elman.backends.llvm.team import TEAM_FIELDS

    library = runtime.load(DRAW, "", size, write_draw, (DRAW, f"{DRAW}_shared"))
    return runtime.Entry(library, DRAW, (*TEAM_FIELDS, *DRAW_FIELDS))


@untraced
def draw(shape: Sequence[int], threshold: int, value: float, key: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return ``value`` where a number of `elman.backends.philox.words` is under a threshold, and 0 elsewhere."""
    numbers, values = torch.empty(shape, dtype=dtype), torch.full((1,), value, dtype=dtype)
    count = math.prod(shape)
    entry = _kernel(dtype.itemsize)
    given = {
        "count": count,
        "counters": -(-count // 4),
        "key_0": key[0],
        "key_1": key[1],
        "threshold": threshold,
        "value": values.data_ptr(),
        "to": numbers.data_ptr(),
    }
    entry(1 if count < _SMALL else runtime.team(), entry.numbers(given))
    return numbers
