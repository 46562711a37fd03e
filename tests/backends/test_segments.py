"""Segments of time: the same numbers with little memory."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.backends import segments
from elman.backends.call import Call, Operands
from elman.backends.dispatch import backend
from elman.backends.llvm import recurrence
from elman.cells import Cell, LSTMCell, RNNCell
from handwritten import DelayCell, EveryWordCell, TwinCell
from runs import Case, close, loss, results


@settings(deadline=None)
@given(time=st.integers(1, 3000), batch=st.integers(1, 100), reverse=st.booleans())
def test_segments_cover_all_steps_in_order(time, batch, reverse):
    cuts = segments.segments(Call(RNNCell(1, 1).graph, reverse), torch.empty(batch, time, 1))
    steps = [t for cut in cuts for t in (range(cut.start, cut.stop)[::-1] if reverse else range(cut.start, cut.stop))]
    assert steps == (list(range(time))[::-1] if reverse else list(range(time)))
    lengths = [cut.stop - cut.start for cut in cuts]
    assert len(cuts) < time**0.5 + 1
    assert max(lengths) <= max(time**0.5 + 1, 32 / batch)
    assert len(cuts) == 1 or min(lengths) * batch >= 16


@pytest.mark.parametrize("name", ["llvm", "reference"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("masks", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize(
    "cell", [*Cell.registry.values(), DelayCell, EveryWordCell, TwinCell], ids=lambda c: c.__name__
)
def test_recomputing_changes_no_number(cell, masks, reverse, name):
    case = Case(cell, batch=20, time=11, masks=masks, reverse=reverse)
    with backend(name):
        plain, got = results(case, case.run), results(case, case.run, recompute=True)
    for key, value in plain.items():
        if name == "llvm" and key.startswith("out"):
            assert got[key].equal(value), key
        close(got[key], value, rtol=1e-9, atol=1e-11, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("time", [1, 2, 50, 150])
def test_outputs_have_the_same_bits_in_float32(batch, time):
    case = Case(LSTMCell, batch=batch, time=time, inputs=20, hidden=33, dtype=torch.float32)
    plain, got = case.run(case.leaves()), case.run(case.leaves(), recompute=True)
    assert all(a.equal(b) for a, b in zip(plain, got, strict=True))


@pytest.mark.parametrize("names", [("x",), ("weight_h", "bias"), ("state:c",), ("x", "state:h")])
def test_gradients_of_what_asks_alone(names, monkeypatch):
    asked, backward = [], recurrence.backward

    def watched(*args, wanted, **kwargs):
        asked.append(set(wanted))
        return backward(*args, wanted=wanted, **kwargs)

    monkeypatch.setattr(recurrence, "backward", watched)
    case = Case(LSTMCell, batch=20, time=7, masks=True, reverse=True)
    close(results(case, case.run, *names, recompute=True), results(case, case.expected, *names), rtol=1e-9, atol=1e-11)
    between = {*names, "state:h", "state:c"}
    assert asked == [between, between, set(names)]


def test_a_loss_of_a_final_state_alone():
    case = Case(LSTMCell, batch=20, time=7)
    leaves, others = case.leaves(), case.leaves()
    got = torch.autograd.grad(case.run(leaves, recompute=True)[2].sum(), list(leaves.values()))
    close(got, torch.autograd.grad(case.expected(others)[2].sum(), list(others.values())), rtol=1e-9, atol=1e-11)


def test_second_derivatives():
    case = Case(LSTMCell, batch=8, time=8, inputs=2, hidden=2, masks=True)
    for name in ("llvm", "reference"):
        leaves = case.leaves()
        function = case.function(lambda tensors: loss(case.run(tensors, recompute=True)), *leaves)
        with backend("auto" if name == "llvm" else name):
            assert torch.autograd.gradgradcheck(function, tuple(leaves.values()), fast_mode=True)


def saved(case, **options):
    """How many numbers a forward pass keeps for the backward pass, besides its operands and results."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        return tensor

    leaves = case.leaves()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = case.run(leaves, **options)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*leaves.values(), *outputs)}
    return outputs, sum(count for place, count in kept.items() if place not in own)


def test_about_the_root_of_the_steps_is_kept():
    counts = {}
    for time in (100, 400, 1600):
        case = Case(LSTMCell, batch=16, time=time)
        outputs, counts[time] = saved(case, recompute=True)
        assert counts[time] == (time**0.5 - 1) * 2 * outputs[1].numel()  # two states between segments
        assert saved(case)[1] > 10 * counts[time]
    for fewer, more in pairwise(counts.values()):
        assert 1.9 < more / fewer < 2.2


def test_a_backward_pass_keeps_one_segment_at_a_time(monkeypatch):
    lengths, forward = [], recurrence.forward

    def watched(graph, parameters, x, state, *, keep=False, **masks):
        lengths.append((x.shape[1], keep))
        return forward(graph, parameters, x, state, keep=keep, **masks)

    monkeypatch.setattr(recurrence, "forward", watched)
    case = Case(LSTMCell, batch=20, time=9)
    value = loss(case.run(case.leaves(), recompute=True))
    assert lengths == [(3, False)] * 3
    value.backward()
    assert lengths[3:] == [(3, True)] * 3


def test_what_was_not_kept_is_made_again():
    case = Case(LSTMCell, batch=20, time=7, masks=True)
    operands = Operands(
        {n: case.tensors[n] for n in case.parameter_names}, *case.arguments(case.tensors)[2:], *case.masked.values()
    )
    wanted = [*case.parameter_names, "x", "state:h", "state:c"]
    for call in (Call(case.graph), Call(case.graph, recompute=True), Call(case.graph, reverse=True, recompute=True)):
        run = segments.forward(call, operands, keep=True)
        gradients = [torch.randn_like(run.outputs), None, torch.randn_like(run.states[1])]
        kept = segments.backward(call, operands, run.outputs, run.kept, gradients, wanted)
        again = segments.backward(call, operands, None, None, gradients, wanted)
        assert kept.keys() == again.keys() == set(wanted)
        assert all(again[name].equal(value) for name, value in kept.items())
