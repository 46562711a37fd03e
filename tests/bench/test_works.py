from __future__ import annotations

import pytest

from elman.bench.works import Work, catalogue, select
from elman.cells import Cell
from elman.errors import OptionError
from elman.tasks.registry import find_preset


def names(*wanted: str) -> list[str]:
    return [work.name for work in select(wanted)]


def test_every_cell_is_measured() -> None:
    works = {work.name: work for work in catalogue()}
    assert len(works) == len(catalogue())
    for name in Cell.registry:
        assert works[name] == Work(name=name, cell=name, input_size=128, hidden_size=128, batch=128, steps=28)


def test_the_program_is_that_of_the_preset() -> None:
    (work,) = select(["mnist"])
    _, preset = find_preset("mnist")
    model = preset.model
    assert (work.cell, work.hidden_size, work.num_layers) == (model.cell, model.hidden_size, model.num_layers)
    assert (work.input_projection, work.bidirectional) == (model.input_projection, model.bidirectional)
    assert (work.batch, work.input_size, work.steps) == (preset.training.batch_size, 28, 28)
    assert preset.training.optimizer == "adam"


def test_without_names_those_of_no_group() -> None:
    assert names() == [work.name for work in catalogue() if not work.group]
    assert {"lstm", "own-cell", "mnist", "one-step", "cross-entropy"} <= {*names()}


def test_a_work_is_not_a_beginning_of_others() -> None:
    assert names("gru") == ["gru"]


def test_groups() -> None:
    times = [f"growth-time-{2**k}" for k in range(13)]
    assert names("growth-time") == times
    assert names("growth-time-64") == ["growth-time-64"]
    assert names("growth-time-64", "growth-time") == times
    grown = select(["growth"])
    assert {work.group for work in grown} == {"growth-time", "growth-batch", "growth-hidden"}
    assert [work.batch for work in grown if work.group == "growth-batch"] == [2**k for k in range(11)]
    assert [work.hidden_size for work in grown if work.group == "growth-hidden"] == [2**k for k in range(4, 12)]
    assert [work.steps for work in grown if work.group == "growth-time"] == [2**k for k in range(13)]


def test_the_order_is_that_of_the_catalogue() -> None:
    own = "elman.bench.own_cell:OwnCell"
    assert names(own, "one-step", "lstm") == ["lstm", "one-step", own]
    assert select([own]) == (Work(name=own, cell=own),)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lsmt", r"There is no work 'lsmt'\. Did you mean 'lstm'\?"),
        ("growth-tim", r"There is no work 'growth-tim'\. Did you mean 'growth-time'\?"),
    ],
)
def test_an_unknown_name(name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        select(["lstm", name])


def test_summaries() -> None:
    assert select(["bidirectional"])[0].summary == (
        "training: lstm, 256 units in both directions, input 28, batch 128, 28 steps"
    )
    assert select(["mnist"])[0].summary == "program: lstm, 128 units, input 28 to 128, batch 128, 28 steps"
    assert select(["language-model"])[0].summary == (
        "language-model: lstm, 2 x 200 units, input 200, batch 20, 35 steps, vocabulary 10,000, dropout 0.5"
    )
    assert select(["language-model-step"])[0].summary == (
        "next-word: lstm, 2 x 200 units, input 200, batch 1, 1 step, vocabulary 10,000"
    )
    assert select(["crf"])[0].summary == "crf: 45 tags, batch 32, 25 steps"
    assert select(["crf-tagger"])[0].summary == (
        "tagger: lstm, 200 units in both directions, input 150, batch 32, 25 steps, 45 tags"
    )
    assert select(["cross-entropy"])[0].summary == "cross-entropy: 700 rows of 200, vocabulary 10,000"
