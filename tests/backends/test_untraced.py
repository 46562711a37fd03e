"""`untraced` keeps torch.compile out."""

from __future__ import annotations

import torch
from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch._dynamo.testing import CompileCounter

from elman.backends.untraced import untraced


def inner(x, seen):
    seen.append(get_eval_frame_callback())
    return x * 2


def test_nothing_below_is_traced():
    seen, counter = [], CompileCounter()

    @untraced
    def plain(x, *, plus):
        """Said."""
        return inner(x, seen) + plus

    def function(x):
        torch._dynamo.graph_break()
        return plain(x, plus=1)

    assert plain.__doc__ == "Said."
    assert plain(torch.ones(2), plus=1).tolist() == [3.0, 3.0]
    assert torch.compile(function, backend=counter)(torch.ones(2)).tolist() == [3.0, 3.0]
    assert seen == [None, None]
    assert counter.frame_count == 0


def test_without_it_the_frame_below_would_be_traced():
    seen, counter = [], CompileCounter()

    def function(x):
        torch._dynamo.graph_break()
        return inner(x, seen)

    torch.compile(function, backend=counter)(torch.ones(2))
    assert counter.frame_count
