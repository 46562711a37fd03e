"""Keep `torch.compile` out of functions that hand addresses to compiled code.

Where a graph breaks, torch.compile goes on with each Python function that is called from there by itself. In one that
takes the address of a tensor and does not mention the tensor again, it would let go of the memory before the compiled
code has run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from torch._C._dynamo.eval_frame import _FrameAction, _FrameExecStrategy, set_code_exec_strategy

__all__ = ["untraced"]

P = ParamSpec("P")
R = TypeVar("R")


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function and all that it calls run as they stand, also below a compiled function; without a cost.

    `torch.compiler.disable` does this too, with a wrapper around each call, and imports torch's compiler, which takes a
    second.
    """
    skip = _FrameExecStrategy(_FrameAction.SKIP, _FrameAction.SKIP)  # the function, and what it calls
    set_code_exec_strategy(function.__code__, skip)
    function._torchdynamo_disable = True  # type: ignore[attr-defined]  # nor may it become part of its caller
    function._torchdynamo_disable_msg = "it calls compiled code"  # type: ignore[attr-defined]
    return function
