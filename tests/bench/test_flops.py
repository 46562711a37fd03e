"""The operations of a work, against torch's count of those that it does and against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from elman.bench.example import Example
from elman.bench.flops import needed
from elman.bench.plain import plain
from elman.bench.works import Work, select


def counted(work: Work) -> int:
    """What torch counts when plain operations do the work, also for initial states that want gradients."""
    example = Example.of(work)
    module = plain(example.model)
    with FlopCounterMode(display=False) as counter:
        if work.kind == "cross-entropy":
            module(example.x.requires_grad_(), example.target).backward()
        else:
            wanted = work.kind != "inference"
            layers = (work.batch, work.num_layers, 1 + work.bidirectional, work.hidden_size)
            state = [torch.zeros(layers, requires_grad=wanted) for _ in example.layer.cell.states]
            outputs = module(example.x[:, : work.steps], state)[0]
            if wanted:
                outputs.backward(example.target)
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", ["training", "inference"])
@pytest.mark.parametrize(
    "deep", [{}, {"num_layers": 3}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True}]
)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "gru-reset-before", "elman.bench.own_cell:OwnCell"])
def test_as_torch_counts(cell, deep, kind) -> None:
    steps = 1 if kind == "inference" else 5
    work = Work(name="", kind=kind, cell=cell, input_size=7, hidden_size=11, batch=3, steps=steps, **deep)
    assert needed(work) == counted(work) > 0


def test_a_loss_as_torch_counts() -> None:
    work = Work(name="", kind="cross-entropy", cell="", input_size=5, classes=13, batch=7, steps=1)
    assert needed(work) == counted(work) == 3 * 2 * 7 * 5 * 13


def test_a_linear_layer_in_front_is_folded_where_that_is_less() -> None:
    work = Work(name="", input_size=28, input_projection=128, batch=128)
    folding = 3 * 2 * 28 * 128 * 4 * 128  # the product of both weights, and both gradients
    assert needed(work) == needed(replace(work, input_projection=None)) + folding
    few = replace(work, batch=1, steps=2)
    assert needed(few) == counted(few)
    assert needed(few) < needed(replace(few, input_projection=None)) + folding


def test_a_program_has_a_readout() -> None:
    program = Work(name="", kind="program", bidirectional=True, batch=16)
    assert needed(program) == needed(replace(program, kind="training")) + 3 * 2 * 16 * 256 * 10


def test_a_tagger_has_a_readout_and_a_chain() -> None:
    chain = Work(name="", kind="crf", cell="", classes=9, batch=4, steps=6)
    assert needed(chain) == 3 * 2 * 4 * 5 * 9 * 9
    tagger = Work(name="", kind="tagger", bidirectional=True, classes=9, batch=4, steps=6)
    readout = 3 * 2 * 4 * 6 * 256 * 9
    assert needed(tagger) == needed(replace(tagger, kind="training")) + readout + needed(chain)


@pytest.mark.parametrize("kind", ["language-model", "next-word"])
def test_a_language_model_as_torch_counts(kind) -> None:
    steps = 3 if kind == "language-model" else 1
    work = Work(name="", kind=kind, input_size=5, hidden_size=7, num_layers=2, classes=13, batch=4, steps=steps)
    example = Example.of(work)
    module, x = plain(example.model), example.x[:, :steps]
    state = [torch.zeros(4, 2, 1, 7, requires_grad=work.learns) for _ in range(2)]
    with FlopCounterMode(display=False) as counter:
        if work.learns:
            module(x, example.target, state)[0].backward()
        else:
            module(x, state)
    assert needed(work) == counter.get_total_flops() > 0


@pytest.mark.parametrize(
    ("name", "floor"),  # milliseconds at 440 GFLOP/s, worked out when the shapes were chosen
    [
        ("lstm", 5.34),
        ("mnist", 3.70),
        ("bidirectional", 27.5),
        ("two-layers-200", 5.6),
        ("two-layers-650", 59),
        ("cross-entropy", 19.1),
        ("language-model", 25.2),
        ("language-model-medium", 126.6),
    ],
)
def test_floors(name, floor) -> None:
    (work,) = select([name])
    assert needed(work) / 440e9 * 1e3 == pytest.approx(floor, rel=5e-3)
