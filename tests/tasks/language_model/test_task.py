from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from elman.data import Corpus
from elman.errors import CheckpointError, DataError, OptionError
from elman.tasks.language_model.config import LanguageModelConfig, NetworkConfig
from elman.tasks.language_model.model import LanguageModel
from elman.tasks.language_model.task import LanguageModelling
from elman.training import TrainingConfig

MakeCorpus = Callable[..., Corpus]
MakeTask = Callable[..., LanguageModelling]


@torch.no_grad()
def perplexity_by_hand(model: LanguageModel, ids: np.ndarray) -> float:
    """Word by word, with the state of the layers carried."""
    total, state = 0.0, None
    for word, following in zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True):
        log_p, state = model.log_probabilities(torch.tensor([[word]]), state)
        total -= float(log_p[0, 0, following])
    return math.exp(total / (len(ids) - 1))


def test_batches_hold_what_follows(make_task: MakeTask) -> None:
    task = make_task()
    ids = task.corpus.splits["train"].astype(np.int64)
    assert task.steps_per_epoch == 10  # 70 steps of each of three streams
    assert task.samples_per_step == 21
    for step in (0, 9, 10):
        batch = task.batch(step)
        begin = 7 * (step % 10)
        for b in range(3):
            start = 70 * b + begin
            assert batch.words[b].tolist() == ids[start : start + 7].tolist()
            assert batch.targets[b].tolist() == ids[start + 1 : start + 8].tolist()


@pytest.mark.parametrize("options", [{}, {"backward_steps": 12}, {"window": 8, "keep_last": True}])
def test_an_epoch_is_one_pass_with_the_state_carried(make_task: MakeTask, options: dict[str, Any]) -> None:
    """Without updates in between, the losses of all windows are those of the streams in one piece."""
    task = make_task(**options)
    ids = torch.from_numpy(task.corpus.splits["train"].astype(np.int64))
    rows = torch.stack([ids[70 * b : 70 * b + 71] for b in range(3)])
    log_p, _ = task.model.log_probabilities(rows[:, :-1])
    expected = F.nll_loss(log_p.flatten(0, 1), rows[:, 1:].flatten())
    for _ in range(2):  # in the second epoch the streams begin anew
        total = sum(
            float(result.loss.detach()) * result.count
            for result in (task.loss(task.model, task.batch(step)) for step in range(task.steps_per_epoch))
        )
        assert total / 210 == pytest.approx(float(expected.detach()), rel=1e-5)


def test_the_gradient_stops_at_the_border_of_a_window(make_task: MakeTask) -> None:
    task = make_task()
    task.loss(task.model, task.batch(0))
    assert all(not s.requires_grad for s in task._state)


@pytest.mark.parametrize(("loss", "factor"), [("mean", 1.0), ("sum-over-steps", 7.0)])
def test_the_classic_loss_is_summed_over_steps(make_task: MakeTask, loss: str, factor: float) -> None:
    task = make_task(loss=loss)
    result = task.loss(task.model, task.batch(0))
    assert (result.factor, result.count) == (factor, 21)


def test_the_factor_of_a_short_window(make_task: MakeTask) -> None:
    task = make_task(loss="sum-over-steps", window=8)
    assert task.loss(task.model, task.batch(task.steps_per_epoch - 1)).factor == 6.0  # 70 = 8 · 8 + 6


@pytest.mark.parametrize("window", [1, 5, 500])
def test_evaluation_is_the_same_in_all_windows(make_task: MakeTask, window: int) -> None:
    task = make_task(evaluation_window=window)
    found = task.evaluate_split(task.model.eval(), "test")
    assert found is not None
    assert list(found) == ["perplexity", "loss", "words"]
    assert found["words"] == 66
    assert found["perplexity"] == pytest.approx(perplexity_by_hand(task.model, task.corpus.splits["test"]), rel=1e-5)
    assert found["perplexity"] == math.exp(found["loss"])


def test_characters(make_task: MakeTask, make_corpus: MakeCorpus) -> None:
    task = make_task(corpus=make_corpus("character"), level="character")
    found = task.evaluate_split(task.model, "test")
    assert found is not None
    assert list(found) == ["perplexity", "bits_per_character", "loss", "characters"]
    assert 2 ** found["bits_per_character"] == pytest.approx(found["perplexity"])
    assert task.unit == "characters"


def test_evaluation_leaves_the_carried_state_alone(make_task: MakeTask) -> None:
    task = make_task()
    task.loss(task.model, task.batch(0))
    before = task.state_dict()
    task.evaluate(task.model)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


def test_no_such_split(make_task: MakeTask, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus()
    alone = Corpus("toy", corpus.vocabulary, {"train": corpus.splits["train"]}, checksum="abc", notes=())
    assert make_task(corpus=alone).evaluate_split(make_task().model, "validation") is None


def test_a_loss_beyond_numbers(make_task: MakeTask) -> None:
    assert make_task().metrics({"loss": 1e4})["perplexity"] == math.inf


def test_state_goes_through_a_checkpoint(make_task: MakeTask) -> None:
    task, other = make_task(cell="lstm"), make_task(cell="lstm")
    other.model.load_state_dict(task.model.state_dict())
    assert task.state_dict() == {}
    task.loss(task.model, task.batch(0))
    saved = {name: value.clone() for name, value in task.state_dict().items()}
    assert sorted(saved) == ["state.c", "state.h"]
    other.load_state_dict(saved)
    assert torch.equal(
        other.loss(other.model, other.batch(1)).loss.detach(), task.loss(task.model, task.batch(1)).loss.detach()
    )
    other.load_state_dict({})
    assert other.state_dict() == {}


@pytest.mark.parametrize("change", ["shape", "name"])
def test_a_state_that_does_not_fit(make_task: MakeTask, change: str) -> None:
    task = make_task(cell="lstm")
    good = torch.zeros(3, 2, 1, 6)
    bad: dict[str, Tensor] = {"state.h": good[:2], "state.c": good} if change == "shape" else {"state.h": good}
    with pytest.raises(CheckpointError, match="The carried state must be"):
        task.load_state_dict(bad)


def test_description_makes_the_model_again(make_task: MakeTask) -> None:
    task = make_task(tied_weights=True)
    description = json.loads(json.dumps(task.description()))
    model = LanguageModelling.model_from(task.config, description)
    assert model.vocabulary.entries == task.corpus.vocabulary.entries
    model.load_state_dict(task.model.state_dict())
    assert description["text"] == "abc"
    for broken in ({}, {"vocabulary": None}, {"vocabulary": {"level": "word"}}):
        with pytest.raises(CheckpointError):
            LanguageModelling.model_from(task.config, broken)


def test_a_trained_model_needs_no_file_of_its_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (text := tmp_path / "text.txt").write_text("the cat sat\n" * 100)
    (words := tmp_path / "words.txt").write_text("the\ncat\n")
    training = TrainingConfig(steps=1, batch_size=2)
    config = LanguageModelConfig(
        data=str(text), vocabulary=words, model=NetworkConfig(hidden_size=4), training=training
    )
    model = LanguageModelling.from_config(config).model
    words.unlink()
    task = LanguageModelling.from_config(config, model)
    assert task.corpus.vocabulary.entries == ("the", "cat", "<eos>", "<unk>")
    assert len(list((tmp_path / "cache" / "elman" / "text").glob("*/corpus.json"))) == 1  # encoded once


def test_too_short_a_text(make_task: MakeTask) -> None:
    with pytest.raises(DataError, match="Every stream must be at least one step"):
        make_task(training={"batch_size": 300})


@pytest.mark.parametrize(("lengths", "split"), [((211, 1, 67), "validation"), ((211, 53, 1), "test")])
def test_a_split_of_one_word_is_refused_before_training(
    make_task: MakeTask, make_corpus: MakeCorpus, lengths: tuple[int, int, int], split: str
) -> None:
    with pytest.raises(DataError, match=f"toy: {split} must be at least two words, got 1"):
        make_task(corpus=make_corpus(lengths=lengths))


def test_a_trained_model_is_measured_on_a_text_too_short_to_train_on(
    make_task: MakeTask, make_corpus: MakeCorpus
) -> None:
    task, short = make_task(training={"batch_size": 20}), make_corpus(lengths=(9, 2, 30))
    found = LanguageModelling(task.config, short, task.model).evaluate_split(task.model, "test")
    assert found is not None
    assert found["words"] == 29


def test_patience_needs_a_validation_split(make_task: MakeTask, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus()
    alone = Corpus("toy", corpus.vocabulary, {"train": corpus.splits["train"]}, checksum="abc", notes=())
    with pytest.raises(OptionError, match="--patience counts evaluations, but the text has no validation split"):
        make_task(corpus=alone, training={"patience": 2})


def test_notes(make_task: MakeTask) -> None:
    task = make_task(cell="rnn", num_layers=1)  # embedding 7 · 6, RNN 6 · (6 + 6 + 1), readout 6 · 7 + 7
    assert task.notes() == ["toy: 211 train, 53 validation, 67 test words; 7 known. Model: 169 parameters.", "a note"]


def test_the_graph_is_drawn(make_task: MakeTask) -> None:
    from elman.training import graph_def

    assert len(graph_def(make_task().graph()).node) > 20


def test_every_parameter_has_a_name(make_task: MakeTask) -> None:
    names = [name for name, _, _ in make_task(cell="rnn", num_layers=1).parameters_by_name()]
    assert {"embedding/weight", "readout/weight", "readout/bias"} < set(names)
