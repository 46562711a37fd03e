"""Compiled cells: every output, final state and gradient against autograd over the reference, by name."""

from __future__ import annotations

import itertools
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir

from backends.llvm.compared import (
    Case,
    assert_right,
    assert_same_bits,
    backward,
    everything,
    forget,
    forward,
    make,
    values,
)
from backends.llvm.own_cells import OWN_CELLS, PositiveStateCell, UnfoldedCell, random_cell
from differentiated import EveryOperationCell, TieCell
from elman.backends.llvm import layout, recurrence, runtime
from elman.backends.llvm.forward import write_forward
from elman.cells import Cell, GRUCell, LSTMCell, PeepholeLSTMCell, ResetBeforeGRUCell, RNNCell
from elman.compiler.plan import plan
from handwritten import HANDWRITTEN, ComputedOperandsCell, DelayCell, TwinCell

CELLS = [*Cell.registry.values(), *HANDWRITTEN, EveryOperationCell, TieCell]
MORE_CELLS = [*OWN_CELLS, *map(random_cell, range(6))]  # in float64 alone: to compile takes time
TYPES = [torch.float32, torch.float64]
PAIRS = [*itertools.product(CELLS, TYPES), *itertools.product(MORE_CELLS, TYPES[1:])]

#: batch, time, features, hidden; masks; reverse
RUNS = [
    ((1, 1, 1, 1), "", False),
    ((2, 5, 4, 3), "resets", True),
    ((7, 5, 20, 17), "lengths", False),
    ((5, 6, 20, 16), "lengths resets", True),
    ((20, 3, 5, 33), "holes resets", False),
    ((33, 2, 49, 70), "", True),
]

types = pytest.mark.parametrize("dtype", TYPES, ids=["float32", "float64"])
some_cells = pytest.mark.parametrize(
    "kind", [LSTMCell, ResetBeforeGRUCell, ComputedOperandsCell, DelayCell], ids=lambda cell: cell.__name__
)


@pytest.mark.parametrize(("kind", "dtype"), PAIRS, ids=lambda one: getattr(one, "__name__", str(one)[6:]))
def test_every_result(kind, dtype):
    for sizes, masks, reverse in RUNS:
        case = make(kind, *sizes, masks=masks, reverse=reverse)
        done = forward(case, dtype)
        assert_right(case, {**values(case, done), **backward(case, dtype, done)})
        batch, time, _, hidden = sizes
        assert done.kept.numel() == recurrence.kept_size(case.graph, batch, time, hidden, dtype)
        facts = layout.facts(case.graph, dtype.itemsize, *sizes, case.gradients)
        assert done.kept.numel() == facts.kept
        without = forward(case, dtype, keep=False)
        assert without.kept is None
        assert_same_bits(values(case, without), values(case, done))


@types
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("kind", Cell.registry.values(), ids=lambda cell: cell.__name__)
def test_long(kind, reverse, dtype):
    """The way back takes its steps in chunks; the last one is shorter."""
    for batch, time in ((33, 70), (1, 70), (600, 2)):
        case = make(kind, batch, time, 3, 9, masks="lengths resets", reverse=reverse)
        assert_right(case, everything(case, dtype), looser=3)


@types
@pytest.mark.parametrize("kind", [LSTMCell, ResetBeforeGRUCell], ids=lambda cell: cell.__name__)
def test_long_sums(kind, dtype):
    """Sums of many numbers are made in pieces."""
    for sizes in ((5, 2, 256, 300), (9, 2, 515, 256), (1, 2, 272, 513), (6, 2, 255, 257)):
        case = make(kind, *sizes, masks="lengths")
        assert_right(case, everything(case, dtype))


@types
def test_lanes_that_are_no_units(dtype):
    """What is computed there may be no number; nobody sees it."""
    for sizes in ((1, 3, 5, 3), (7, 4, 20, 17), (20, 3, 5, 33)):
        case = make(PositiveStateCell, *sizes, masks="lengths")
        assert_right(case, everything(case, dtype))


def test_a_step_deeper_than_pythons_stack():
    class DeepCell(UnfoldedCell):
        small_steps = sys.getrecursionlimit() // 4  # of four operations, each on the one before

    module = ir.Module("deep")
    module.triple = runtime.host().triple
    write_forward(module, runtime.shape(8), plan(DeepCell(2, 3).graph))
    divisions = 2 + 1  # of the logistic function: of two rows side by side, and of one
    assert str(module).count("fdiv") >= divisions * DeepCell.small_steps


@some_cells
@types
def test_chunks_of_every_length(kind, dtype, monkeypatch):
    case = make(kind, 3, 7, 5, 18, masks="holes resets")
    for steps in (1, 2, 3, 6, 7):
        monkeypatch.setattr(layout, "_CHUNK_ROWS", 3 * steps)
        forget()
        assert_right(case, everything(case, dtype))
    forget()


@pytest.mark.parametrize("kind", [PeepholeLSTMCell, GRUCell, ResetBeforeGRUCell], ids=lambda cell: cell.__name__)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    sizes=st.tuples(
        st.sampled_from([1, 2, 7, 20, 33]),
        st.sampled_from([1, 2, 5]),
        st.sampled_from([1, 5, 16, 20, 49]),
        st.sampled_from([1, 3, 8, 16, 17, 33, 70, 130]),
    ),
    masks=st.sampled_from(["", "lengths", "resets", "lengths resets", "holes resets"]),
    reverse=st.booleans(),
    dtype=st.sampled_from(TYPES),
)
def test_sizes(kind, sizes, masks, reverse, dtype):
    case = make(kind, *sizes, masks=masks, reverse=reverse)
    assert_right(case, everything(case, dtype))


@pytest.mark.parametrize("masks", ["", "lengths resets"])
@types
def test_a_run_is_repeatable(masks, dtype):
    case = make(PeepholeLSTMCell, 7, 6, 5, 19, masks=masks)
    first = everything(case, dtype)
    for _ in range(3):
        assert_same_bits(everything(case, dtype), first)


@types
@some_cells
def test_rows_run_alike_alone_and_in_company(kind, dtype):
    """Of one row, and of a few, weights are read as they lie; of many they are packed first."""
    case = make(kind, 12, 3, 21, 35)
    together = forward(case, dtype).outputs
    for rows in (slice(0, 1), slice(1, 3), slice(3, 12)):
        alone = Case(
            case.graph,
            case.parameters,
            case.x[rows],
            [s[rows] for s in case.state],
            {},
            False,
            None,
            [],
            {"y": case.expected["y"][rows]},
        )
        got = forward(alone, dtype).outputs
        assert_right(alone, {"y": got})
        if rows.stop == 12:
            assert got.equal(together[rows])


@types
def test_padding_holds_anything(dtype):
    """What stands past a row's end is finite, and that is all."""
    case = make(LSTMCell, 6, 5, 4, 9, masks="lengths")
    clean = everything(case, dtype)
    case.x[~case.masks["valid"]] = 1e30
    case.grad_outputs[~case.masks["valid"]] = 1e30
    assert_same_bits(everything(case, dtype), clean)
    assert not clean["y"][~case.masks["valid"]].any()
    assert not clean["x"][~case.masks["valid"]].any()


# what a caller may pass


def spread(value):
    """The same numbers with steps between neighbours and rows that lie apart."""
    wide = torch.full([2 * size + 1 for size in value.shape], torch.nan, dtype=value.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in value.shape)]
    view.copy_(value)
    assert view.stride(-1) == 2
    return view


def turned(value):
    """The same numbers, the last two dimensions the other way round in memory."""
    return value.transpose(-1, -2).contiguous().transpose(-1, -2)


def time_first(value):
    return value.transpose(0, 1).contiguous().transpose(0, 1)


def negated(value):
    """The same numbers, of which only a mark says that they are negative: the imaginary part of a conjugate."""
    view = torch.complex(torch.zeros_like(value), -value).conj().imag
    assert view.is_neg()
    return view


@types
@pytest.mark.parametrize("lay", [spread, turned, time_first, negated], ids=lambda lay: lay.__name__)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_however_tensors_lie(lay, reverse, dtype):
    case = make(PeepholeLSTMCell, 5, 4, 6, 18, masks="lengths resets", reverse=reverse)
    straight = everything(case, dtype)
    case = laid(case, lay, dtype)
    assert_same_bits(everything(case, dtype), straight)


def laid(case, lay, dtype):
    """A case whose tensors lie as they are laid, and are of a type already, so that nothing copies them on the way."""
    case.x, case.grad_outputs = lay(case.x.to(dtype)), lay(case.grad_outputs.to(dtype))
    case.state = [lay(s.to(dtype)) for s in case.state]
    case.grad_states = [lay(g.to(dtype)) for g in case.grad_states]
    case.parameters = {name: p.to(dtype) if p.ndim < 2 else lay(p.to(dtype)) for name, p in case.parameters.items()}
    case.masks = {name: mask.t().contiguous().t() for name, mask in case.masks.items()}
    return case


@types
def test_one_feature_or_unit_that_lies_apart(dtype):
    case = make(LSTMCell, 4, 3, 1, 1, masks="lengths resets")
    straight = everything(case, dtype)
    case = laid(case, lambda value: torch.stack([value, value + 1], dim=-1)[..., 0], dtype)
    assert case.x.stride(-1) == 2
    assert_same_bits(everything(case, dtype), straight)


@types
def test_expanded(dtype):
    """One row, step or number that stands for many."""
    case = laid(make(GRUCell, 4, 3, 5, 18, masks="lengths resets"), lambda value: value, dtype)
    case.x = case.x[:1, :1].expand(4, 3, 5)
    case.state = [s[:1].expand(4, 18) for s in case.state]
    case.grad_outputs = case.grad_outputs[0, 0, 0].expand(4, 3, 18)
    case.grad_states = [g[0, 0].expand(4, 18) for g in case.grad_states]
    case.parameters["bias"] = case.parameters["bias"][:1].expand(len(case.parameters["bias"]))
    got = everything(case, dtype)
    case = laid(case, torch.Tensor.contiguous, dtype)
    case.parameters["bias"] = case.parameters["bias"].contiguous()
    assert_same_bits(got, everything(case, dtype))


@types
@pytest.mark.parametrize("without", [("y",), ("final:h",), ("final:c",), ("final:h", "final:c"), ("y", "final:c")])
def test_gradients_that_do_not_come_in(without, dtype):
    for masks in ("", "lengths resets"):
        case = make(LSTMCell, 5, 4, 6, 18, masks=masks, without=without)
        assert_right(case, everything(case, dtype))


@types
def test_no_gradient_comes_in(dtype):
    case = make(LSTMCell, 5, 4, 6, 18, without=("y", "final:h", "final:c"))
    for name, value in backward(case, dtype, forward(case, dtype)).items():
        assert not value.any(), name


WANTED = [
    (),
    ("x",),
    ("bias",),
    ("diagonal",),
    ("weight_x",),
    ("weight_h",),
    ("state:h",),
    ("state:c",),
    ("state:h", "state:c"),
    ("x", "state:c"),
    ("weight_h", "bias"),
    ("weight_x", "weight_h", "bias", "diagonal"),
    ("weight_x", "weight_h", "bias", "diagonal", "state:h", "state:c"),
]


@types
@pytest.mark.parametrize("wanted", WANTED, ids=" ".join)
def test_only_what_is_wanted(wanted, dtype):
    case = make(PeepholeLSTMCell, 7, 4, 6, 18, masks="lengths resets")
    done = forward(case, dtype)
    whole = backward(case, dtype, done)
    assert_same_bits(backward(case, dtype, done, wanted), {name: whole[name] for name in wanted})


@types
@some_cells
def test_what_is_passed_in_is_only_read(kind, dtype):
    case = make(kind, 7, 4, 6, 18, masks="lengths resets")
    given = {
        "x": case.x,
        **case.parameters,
        **dict(enumerate(case.state)),
        **{f"d{k}": g for k, g in enumerate(case.grad_states)},
        "dy": case.grad_outputs,
        **case.masks,
    }
    held = {name: value if value.dtype == torch.bool else value.to(dtype) for name, value in given.items()}
    before = {name: value.clone() for name, value in held.items()}
    parameters = {name: held[name] for name in case.parameters}
    arguments = (case.graph, parameters, held["x"], [held[k] for k in range(len(case.state))])
    done = recurrence.forward(*arguments, **case.masks, keep=True)
    kept, outputs = done.kept.clone(), done.outputs.clone()
    recurrence.backward(
        *arguments,
        done.outputs,
        done.kept,
        **case.masks,
        reverse=False,
        grad_outputs=held["dy"],
        grad_states=[held[f"d{k}"] for k in range(len(case.state))],
        wanted=case.gradients,
    )
    assert_same_bits(held, before)
    assert_same_bits({"outputs": done.outputs}, {"outputs": outputs})
    torch.testing.assert_close(done.kept, kept, rtol=0, atol=0, equal_nan=True)


def test_final_states_are_new_tensors():
    """Also where a state is the old value of another, or the output of the last step."""
    for kind in (DelayCell, TwinCell, RNNCell):
        case = make(kind, 2, 1, 3, 4)
        done = forward(case, torch.float64)
        addresses = [t.data_ptr() for t in (*case.state, done.outputs, *done.states)]
        assert len(set(addresses)) == len(addresses)


def test_not_a_number_is_seen():
    """A row that is not a number stays so and touches no other."""
    case = make(LSTMCell, 5, 4, 6, 18)
    case.x[2, 1, 3] = torch.nan
    done = forward(case, torch.float32)
    broken = done.outputs.isnan()
    assert broken[2, 1:].all()
    assert not broken[2, 0].any()
    assert not broken[[0, 1, 3, 4]].any()
    got = backward(case, torch.float32, done)
    assert got["weight_h"].isnan().any()
    assert not got["x"][[0, 1, 3, 4]].isnan().any()


# what is refused


def test_what_compiled_code_cannot_run():
    cell = LSTMCell(3, 4)
    parameters, h = dict(cell.named_parameters()), torch.zeros(2, 4)

    def refusal(x, state=(h, h), parameters=parameters):
        return recurrence.refusal(cell.graph, parameters, x, list(state))

    assert refusal(torch.zeros(2, 5, 3)) is None
    assert refusal(torch.zeros(0, 5, 3)) == "x has no rows"
    assert refusal(torch.zeros(2, 5, 3, device="meta")) == "x is on meta; the compiled code is for the CPU"
    assert refusal(torch.zeros(2, 5, 3, dtype=torch.float16)) == (
        "x is torch.float16; the compiled code is for float32 and float64"
    )
    differ = "x, states and weights differ in type or device"
    assert refusal(torch.zeros(2, 5, 3), (h, h.double())) == differ
    assert refusal(torch.zeros(2, 5, 3).double()) == differ
    assert refusal(torch.zeros(2, 5, 3), parameters={n: p.double() for n, p in parameters.items()}) == differ
