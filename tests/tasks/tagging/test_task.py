from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seqeval.metrics import f1_score, precision_score, recall_score

from elman.cells import Cell
from elman.data import Sentence, TaggedData, convert
from elman.errors import CheckpointError, DataError, OptionError
from elman.tasks.tagging.config import TaggerConfig, TaggingConfig
from elman.tasks.tagging.task import Tagging
from elman.training import RunDirectory, TrainingConfig, load_checkpoint, train
from elman.training.progress import PlainReporter

MakeTask = Callable[..., Tagging]
CELLS = sorted(name for name, cell in Cell.registry.items() if cell.__module__.startswith("elman."))


class Quiet(PlainReporter):
    def __init__(self) -> None: ...

    def message(self, text: str) -> None: ...


def trained(make_task: MakeTask, path: Path, steps: int = 50, **options: Any) -> Tagging:
    config = TrainingConfig(steps=steps, batch_size=6, learning_rate=0.05, tensorboard=False, log_steps=1, threads=1)
    task = make_task(config, **options)
    train(task, config, RunDirectory.create(path / "run", {}, title="little"), reporter=Quiet())
    task.model.eval()
    return task


@pytest.mark.parametrize(("cell", "decoder"), [*((cell, "crf") for cell in CELLS), ("lstm", "softmax")])
def test_learns_the_little_language(make_task: MakeTask, tmp_path: Path, cell: str, decoder: str) -> None:
    task = make_task(cell=cell, decoder=decoder)
    before = task.evaluate_split(task.model.eval(), "test")
    assert before is not None
    assert before["f1"] < 0.7
    task = trained(make_task, tmp_path, cell=cell, decoder=decoder)
    after = task.evaluate_split(task.model, "test")
    assert after is not None
    assert after["f1"] > 0.9
    assert after["loss"] < 0.2 * before["loss"]


@pytest.mark.parametrize("decoder", ["crf", "softmax"])
def test_evaluation_is_that_of_the_sentences_one_by_one(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: str
) -> None:
    monkeypatch.setattr("elman.tasks.tagging.task._EVALUATION_BATCH", 4)  # the last batch is shorter
    task = trained(make_task, tmp_path, steps=7, decoder=decoder, character_size=3)
    model, sentences = task._tagger, task.data.splits["test"]
    answers, total = [], 0.0
    with torch.no_grad():
        for k, sentence in enumerate(sentences):
            batch = task._encoded["test"].batch([k])
            loss, scores = model(batch)
            total += loss.item() * len(sentence)
            answers.append([model.specification.labels[label] for label in model.decode(scores, batch)[0].tolist()])
    truth = [list(s.tags) for s in sentences]
    right = [a == b for own, tags in zip(truth, answers, strict=True) for a, b in zip(own, tags, strict=True)]
    assert 0 < sum(right) < len(right)  # all or nothing would pass too easily
    expected = {
        "f1": f1_score(truth, answers),
        "precision": precision_score(truth, answers),
        "recall": recall_score(truth, answers),
        "accuracy": np.mean(right),
        "loss": total / len(right),
        "sentences": 11,
        "words": len(right),
    }
    assert task.evaluate_split(task.model, "test") == pytest.approx(expected, rel=1e-6)


def test_metrics_do_not_depend_on_the_scheme_of_learning(make_task: MakeTask) -> None:
    """One tag of five is wrong in BIO; in BIOES three would be."""
    task = make_task()
    truth = [["B-NP", "E-NP", "S-VP", "O", "O"]]
    answers = [["S-NP", "S-VP", "E-VP", "O", "O"]]
    found = task._scores(truth, answers)
    assert found["accuracy"] == 4 / 5
    assert found["f1"] == pytest.approx(2 / 5)  # one span of three found, one of two there
    assert task._scores([["B-NP", "E-NP"]], [["B-NP", "I-NP"]])["f1"] == 1.0  # as conlleval reads it


def test_the_loss_is_a_mean_over_words(make_task: MakeTask) -> None:
    task = make_task()
    batch = task.batch(0)
    result = task.loss(task.model, batch)
    assert result.count == int(batch.lengths.sum())
    assert result.loss.item() == pytest.approx(task.model(batch)[0].item())


def test_plain_tags_have_no_spans(make_task: MakeTask, tmp_path: Path) -> None:
    task = trained(make_task, tmp_path, plain=True)
    found = task.evaluate_split(task.model, "test")
    assert found is not None
    assert set(found) == {"accuracy", "loss", "sentences", "words"}
    assert found["accuracy"] > 0.95
    assert task.monitor == ("accuracy", "max")
    assert make_task().monitor == ("f1", "max")


def test_further_columns_are_read(make_task: MakeTask, tmp_path: Path) -> None:
    task = trained(make_task, tmp_path, features=True)
    found = task.evaluate_split(task.model, "test")
    assert found is not None
    assert found["f1"] > 0.95
    with pytest.raises(DataError, match="the columns that training had"):
        Tagging(task.config, replace(task.data, splits=without_features(task.data)), task.model)


def without_features(data: TaggedData) -> dict[str, list[Sentence]]:
    return {split: [Sentence(s.tokens, s.tags) for s in sentences] for split, sentences in data.splits.items()}


def test_every_training_sentence_once_an_epoch(make_task: MakeTask) -> None:
    task = make_task(TrainingConfig(epochs=2, batch_size=5, seed=3), options={"unknown_rate": 0.0})
    assert task.steps_per_epoch == 5
    own = sorted(tuple(task._encoded["train"].batch([k]).words[0].tolist()) for k in range(23))
    for epoch in range(2):
        batches = [task.batch(5 * epoch + k) for k in range(5)]
        rows = [words[:n] for b in batches for words, n in zip(b.words.tolist(), b.lengths.tolist(), strict=True)]
        assert sorted(tuple(row) for row in rows) == own
    assert task.samples_per_step == round(sum(map(len, own)) / 5)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.6])
def test_rare_words_are_often_unknown_in_training(make_data: Callable[..., TaggedData], rate: float) -> None:
    data = make_data()
    often = [Sentence((f"once{k}", f"thrice{k // 3}", "."), ("O", "O", "O")) for k in range(600)]
    data = replace(data, splits={**data.splits, "train": often, "validation": often})
    config = TaggingConfig(data="little", unknown_rate=rate, training=TrainingConfig(epochs=1, batch_size=600))
    task = Tagging(config, data)
    first, again, next_epoch = task.batch(0), task.batch(0), task.batch(1)
    assert torch.equal(first.words, again.words)  # a function of the step
    assert not torch.equal(first.words, next_epoch.words)
    unknown = (first.words == 0).double().mean(0).tolist()
    expected = [rate / (rate + count * (1 - rate)) for count in (1, 3, 600)]
    assert unknown == pytest.approx(expected, abs=0.07)
    assert (unknown[0] > unknown[1] > unknown[2]) == (rate > 0)
    assert (task._encoded["validation"].batch([0]).words > 0).all()


def test_a_model_from_the_description_gives_the_same(make_task: MakeTask, tmp_path: Path) -> None:
    task = trained(make_task, tmp_path, steps=3, features=True, character_size=3, cell="peephole")
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    model = Tagging.model_from(task.config, checkpoint.document.task)
    checkpoint.restore_model(model)
    batch = task._encoded["test"].batch([0, 3])
    for a, b in zip(model.eval()(batch), task.model(batch), strict=True):
        assert torch.equal(a, b)


def test_vectors_from_a_file(make_data: Callable[..., TaggedData], tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("cat 1 2 3 4 5\nbird 5 4 3 2 1\nunheard 9 9 9 9 9\n", encoding="utf-8")
    network = TaggerConfig(hidden_size=7, embedding_size=5)
    config = TaggingConfig(data="little", lower_case=True, vectors=path, model=network)
    task = Tagging(config, make_data())
    model = task._tagger
    for word, values in (("cat", [1, 2, 3, 4, 5]), ("bird", [5, 4, 3, 2, 1])):
        assert model.embedding.weight[model.specification.words.number(word)].tolist() == values
    assert "unheard" not in model.specification.words.known
    assert model.embedding.weight.requires_grad
    with pytest.raises(OptionError, match="--vectors must be of --embedding-size 6, got 5 numbers a word"):
        Tagging(replace(config, model=TaggerConfig(embedding_size=6)), make_data())


def test_words_of_a_vectors_file_that_only_test_sentences_have(
    make_data: Callable[..., TaggedData], tmp_path: Path
) -> None:
    data = make_data()
    data = replace(data, splits={**data.splits, "test": [Sentence(("zebra",), ("B-NP",))]})
    path = tmp_path / "vectors.txt"
    path.write_text("zebra 1 2 3 4 5\n", encoding="utf-8")
    config = TaggingConfig(data="little", vectors=path, model=TaggerConfig(embedding_size=5))
    model = Tagging(config, data)._tagger
    assert model.embedding.weight[model.specification.words.number("zebra")].tolist() == [1, 2, 3, 4, 5]


def test_predictions_of_test_sentences(make_task: MakeTask, tmp_path: Path) -> None:
    task = trained(make_task, tmp_path)
    answers = task.examples(task.model, 3)
    assert [answer.source for answer in answers] == ["test sentence 0", "test sentence 5", "test sentence 10"]
    for answer, k in zip(answers, (0, 5, 10), strict=True):
        assert answer.truth == answer.tags == task.data.splits["test"][k].tags
    with pytest.raises(DataError, match="--examples must be 1 to 11"):
        task.examples(task.model, 12)


@pytest.mark.parametrize("decoder", ["crf", "softmax"])
def test_threads_do_not_change_a_bit(make_task: MakeTask, tmp_path: Path, decoder: str) -> None:
    weights = []
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            task = make_task(decoder=decoder, hidden_size=33, character_size=9, num_layers=2, dropout=0.3)
            config = TrainingConfig(steps=4, batch_size=6, tensorboard=False)
            path = tmp_path / f"{threads}"
            train(task, config, RunDirectory.create(path, {}, title="little"), reporter=Quiet())
        finally:
            torch.set_num_threads(before)
        weights.append(task.model.state_dict())
    for other in weights[1:]:
        for name, weight in weights[0].items():
            assert torch.equal(weight, other[name]), name


@pytest.mark.parametrize("decoder", ["crf", "softmax"])
def test_a_run_that_stopped_goes_on_to_the_same_bits(make_task: MakeTask, tmp_path: Path, decoder: str) -> None:
    """Dropout, the order of batches and unknown words, all of them drawn, stop within an epoch."""
    options = {"decoder": decoder, "character_size": 3, "input_dropout": 0.4, "variational": True}
    config = TrainingConfig(steps=9, batch_size=6, tensorboard=False, threads=1)

    def go(name: str, steps: int) -> Mapping[str, torch.Tensor]:
        task = make_task(config, **options)
        run = tmp_path / name
        directory = RunDirectory.open(run) if run.exists() else RunDirectory.create(run, {}, title="little")
        train(task, replace(config, steps=steps), directory, reporter=Quiet())
        return load_checkpoint(directory.last).tensors

    whole = go("whole", 9)
    for steps in (3, 4, 9):
        pieces = go("pieces", steps)
    assert whole.keys() == pieces.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, pieces[name]), name


def test_the_picture_of_the_model(make_task: MakeTask) -> None:
    nodes = {node.name: node for node in make_task().graph()}
    assert nodes["loss/tags"].op == "CRF"
    assert all(source in nodes for node in nodes.values() for source in node.inputs)


def test_what_is_said_before_training(make_task: MakeTask) -> None:
    first, second = make_task().notes()
    assert first.startswith("little: 23 train, 7 validation, 11 test sentences; 5 tags, 10 words known. Model: ")
    assert second == "made of dice"


def test_resuming_with_other_tags_of_the_same_words_is_refused(make_task: MakeTask, tmp_path: Path) -> None:
    task = trained(make_task, tmp_path, steps=3)
    sentences = [replace(s, tags=tuple(reversed(s.tags))) for s in task.data.splits["train"]]
    other = Tagging(task.config, replace(task.data, splits={**task.data.splits, "train": sentences}))
    config = replace(other.config.training, steps=5)
    with pytest.raises(CheckpointError, match="does not fit: sentences was"):
        train(other, config, RunDirectory.open(tmp_path / "run"), reporter=Quiet())


@pytest.mark.parametrize(("own", "other"), [("BIO", "BIOES"), ("BIOES", "BIO")])
def test_sentences_in_another_scheme_are_measured_alike(
    make_data: Callable[..., TaggedData], own: str, other: str
) -> None:
    data = {scheme: in_scheme(make_data(), scheme) for scheme in (own, other)}
    torch.manual_seed(0)
    task = Tagging(TaggingConfig(data="little", model=TaggerConfig(hidden_size=7, embedding_size=5)), data[own])
    again = Tagging(task.config, data[other], model=task.model)
    assert again.evaluate_split(task.model.eval(), "test") == task.evaluate_split(task.model, "test")


def in_scheme(data: TaggedData, scheme: Any) -> TaggedData:
    splits = {name: [replace(s, tags=convert(s.tags, scheme)) for s in part] for name, part in data.splits.items()}
    return replace(data, splits=splits, scheme=scheme)
