"""Keep `torch.compile` out of functions that hand addresses to compiled code.

Where it breaks a graph, torch.compile goes on with each Python function below by itself. In one that takes the address
of a tensor and does not mention the tensor again, it would let go of the memory before the compiled code has run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch
from torch._C._dynamo.eval_frame import get_eval_frame_callback

__all__ = ["untraced"]

P = ParamSpec("P")
R = TypeVar("R")


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function and all that it calls run as they stand, also below a compiled function.

    `torch.compiler.disable` alone would import torch's compiler, which takes a second, with every import of elman.
    """

    @functools.cache
    def disabled() -> Callable[P, R]:
        return cast("Callable[P, R]", torch.compiler.disable(function))  # type: ignore[no-untyped-call]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if get_eval_frame_callback() is None:
            return function(*args, **kwargs)
        return disabled()(*args, **kwargs)

    return call
