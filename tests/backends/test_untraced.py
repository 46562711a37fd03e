"""`untraced` keeps torch.compile out."""

from __future__ import annotations

import pytest
import torch
from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch._dynamo.testing import CompileCounter

from elman.backends.untraced import untraced


def inner(x):
    return x * 2


@untraced
def outer(x, *, plus):
    """Said."""
    assert get_eval_frame_callback() is None
    return inner(x) + plus


def outer_traced(x, *, plus):
    return inner(x) + plus


@pytest.mark.parametrize("called", [outer, outer_traced])
def test_nothing_below_is_traced(called):
    def function(x):
        torch._dynamo.graph_break()
        return called(x, plus=1)

    def inlined(x):
        return called(x + 1, plus=1)

    assert outer.__doc__ == "Said."
    for at_once, add, frames in ((function, 0, 0), (inlined, 1, 1)):
        torch.compiler.reset()
        counter = CompileCounter()
        assert torch.compile(at_once, backend=counter)(torch.ones(2)).tolist() == [3.0 + 2 * add] * 2
        assert counter.frame_count == (frames if called is outer else 1)
        assert counter.op_count == (frames if called is outer else 2 + add)
