"""The task of tagging: data, loss, metrics and predictions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support
from torch import Tensor, nn

from elman.data import (
    BucketedBatches,
    Scheme,
    TaggedData,
    by_length,
    convert,
    load_tagged,
    read_sentences,
    read_vectors,
)
from elman.errors import DataError, OptionError, describe
from elman.tasks import runs
from elman.tasks.base import Labeller
from elman.tasks.drawing import draw_linear, draw_recurrent
from elman.tasks.tagging.config import TaggingConfig
from elman.tasks.tagging.labelling import label_sentences, label_text, read_text
from elman.tasks.tagging.model import Tagger
from elman.tasks.tagging.prediction import TagPrediction
from elman.tasks.tagging.specification import Batch, EncodedSentences, Specification
from elman.training import GraphNode, StepResult, byte_bars

__all__ = ["Tagging", "load_tagger"]

_EVALUATION_BATCH = 64


class Tagging(Labeller[TaggingConfig]):
    """Learn which tag each word of a sentence, or each character of a text, has.

    Args:
        config: the configuration.
        data: what to learn from; None loads what the configuration names.
        model: a trained tagger to go on with; None makes a fresh one.

    Raises:
        DataError: the data cannot be used, or has other columns than the model was trained on.
    """

    name = "tagging"

    def __init__(self, config: TaggingConfig, data: TaggedData | None = None, model: nn.Module | None = None) -> None:
        self.data = _load(config) if data is None else data
        if model is None:
            model = _fresh(config, self.data)
        super().__init__(config, model)
        self.data = _in_scheme(self.data, self._specification.scheme)
        self._encoded = {
            split: EncodedSentences(self._specification, sentences) for split, sentences in self.data.splits.items()
        }
        seed = config.training.seed
        self._batches = BucketedBatches(self._encoded["train"].lengths.tolist(), config.training.batch_size, seed)

    @classmethod
    def from_config(cls, config: TaggingConfig, model: nn.Module | None = None) -> Self:
        """Load the data, and make a fresh model or use this one."""
        return cls(config, model=model)

    @classmethod
    def model_from(cls, config: TaggingConfig, description: Mapping[str, Any]) -> Tagger:
        """Make a tagger for the weights of a checkpoint."""
        return Tagger(config.model, Specification.from_json(description))

    def description(self) -> dict[str, Any]:
        """The specification of the model, and what tells these training sentences from others."""
        return {**self._specification.to_json(), "sentences": self.data.checksum}

    @property
    def monitor(self) -> tuple[str, Literal["max", "min"]]:  # type: ignore[override]  # it depends on the data
        """F1 of spans; accuracy where there are none."""
        return ("accuracy" if self._specification.scheme is None else "f1"), "max"

    @property
    def unit(self) -> str:
        """``words`` or ``characters``."""
        return f"{self._specification.level}s"

    def notes(self) -> list[str]:
        """The data and the model in a few lines."""
        known = self._specification
        sizes = ", ".join(f"{len(sentences):,} {name}" for name, sentences in self.data.splits.items())
        shape = f"{len(known.labels)} tags, {len(known.words.known):,} {self.unit} known"
        return [f"{self.data.name}: {sizes} sentences; {shape}. {self.size_of_model()}", *self.data.notes]

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the training sentences."""
        return self._batches.steps_per_epoch

    @property
    def samples_per_step(self) -> int:
        """Words in a batch, on average."""
        return max(1, round(int(self._encoded["train"].lengths.sum()) / self.steps_per_epoch))

    def batch(self, step: int) -> Batch:
        """The training batch of a step; some of its words are unknown, rare ones most often."""
        batch = self._encoded["train"].batch(self._batches.batch(step))
        generator = np.random.default_rng([self.config.training.seed, step, 1])
        unknown = torch.from_numpy(generator.random(batch.words.shape)) < self._unknown_rates[batch.words]
        return batch._replace(words=torch.where(unknown, 0, batch.words))

    @cached_property
    def _unknown_rates(self) -> Tensor:
        """How often each word of the vocabulary is read as unknown in training."""
        rate, occurrences = self.config.unknown_rate, self._encoded["train"].occurrences().double()
        return rate / (rate + occurrences.clamp(min=1) * (1 - rate))

    def loss(self, model: nn.Module, batch: Batch) -> StepResult:
        """Negative log-likelihood of the tags, over the number of words."""
        loss, _ = model(batch.to(_device(model)))
        return StepResult(loss, batch.steps)

    def evaluate_split(self, model: nn.Module, split: str) -> dict[str, Any] | None:
        """Precision, recall and F1 of spans, accuracy of tags, and the loss, on a split."""
        sentences = self.data.splits.get(split)
        if sentences is None:
            return None
        encoded, loss = self._encoded[split], 0.0
        answers: list[list[str]] = [[] for _ in sentences]
        with torch.inference_mode():
            for which in by_length(encoded.lengths.tolist(), _EVALUATION_BATCH):
                batch = encoded.batch(which).to(_device(model))
                mean, scores = model(batch)
                loss += mean.item() * batch.steps
                labels = self._tagger.decode(scores, batch)
                for row, length, own in zip(which, batch.lengths.tolist(), labels.tolist(), strict=True):
                    answers[row] = list(self._specification.tags(own[:length]))
        words = int(encoded.lengths.sum())
        return {**self._scores([list(s.tags) for s in sentences], answers), "loss": loss / words, self.unit: words}

    def _scores(self, truth: list[list[str]], answers: list[list[str]]) -> dict[str, Any]:
        """Precision, recall and F1 of the spans by seqeval, and how many of the tags are right; spans are in BIO."""
        if self._specification.scheme is not None:
            truth, answers = ([list(convert(tags, "BIO")) for tags in some] for some in (truth, answers))
        right = sum(a == b for own, tags in zip(truth, answers, strict=True) for a, b in zip(own, tags, strict=True))
        scores: dict[str, Any] = {"accuracy": right / sum(map(len, truth)), "sentences": len(truth)}
        if self._specification.scheme is None:
            return scores
        precision, recall, f1, _ = precision_recall_fscore_support(truth, answers, average="micro", zero_division=0)
        return {"f1": float(f1), "precision": float(precision), "recall": float(recall), **scores}

    @classmethod
    def predict(cls, model: nn.Module, files: Sequence[str]) -> Iterator[TagPrediction]:
        """Label text files."""
        for file in files:
            yield from cls.predict_text(model, read_text(file), file)

    @classmethod
    def predict_text(cls, model: nn.Module, text: str, source: str) -> Iterator[TagPrediction]:
        """Label a text."""
        yield from label_text(cast(Tagger, model), text, source)

    @classmethod
    def predict_columns(cls, model: nn.Module, files: Sequence[str]) -> Iterator[TagPrediction]:
        """Label files that hold a token a line."""
        tagger = cast(Tagger, model)
        for file in files:
            yield from label_sentences(tagger, read_sentences(file, tagger.specification.columns), file)

    def examples(self, model: nn.Module, count: int) -> list[TagPrediction]:
        """Label some test sentences, from the first to the last."""
        test = self.data.splits["test"]
        if not 1 <= count <= len(test):
            raise DataError(describe("--examples", expected=f"1 to {len(test)}, the test sentences", got=str(count)))
        chosen = [round(place) for place in np.linspace(0, len(test) - 1, count)]
        found = label_sentences(cast(Tagger, model), [test[k] for k in chosen], "test")
        return [
            replace(prediction, source=f"test sentence {k}", truth=self._as_predicted(test[k].tags))
            for k, prediction in zip(chosen, found, strict=True)
        ]

    def _as_predicted(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        return tags if self._specification.scheme is None else convert(tags, "BIO")

    def graph(self) -> Sequence[GraphNode]:
        """Embedding, recurrent layers with the step of their cell, readout, loss."""
        model, size = self._tagger, self._tagger.recurrent.input_size
        nodes, outputs = draw_recurrent(model.recurrent, "recurrent", "inputs/vectors")
        return [
            GraphNode("inputs/words", "Placeholder", shape=(-1, -1)),
            GraphNode("inputs/tags", "Placeholder", shape=(-1, -1)),
            GraphNode("inputs/vectors", "Embedding", ("inputs/words",), (-1, -1, size)),
            *nodes,
            GraphNode("readout/directions", "Concat", outputs),
            *draw_linear("readout", "readout/directions", len(self._specification.labels)),
            GraphNode("loss/tags", "CRF" if model.crf else "CrossEntropy", ("readout/output", "inputs/tags"), ()),
        ]

    @property
    def _tagger(self) -> Tagger:
        return cast(Tagger, self.model)

    @property
    def _specification(self) -> Specification:
        return self._tagger.specification


def load_tagger(run: str | os.PathLike[str]) -> Tagger:
    """Load the tagger that a run has learned: that of its best evaluation, or the last.

    Raises:
        CheckpointError: It is no run directory, or there is no checkpoint yet, or one that cannot be used.
        OptionError: Its task is another one.
    """
    return cast(Tagger, runs.load_run(Path(run), Tagging)[1])


def _load(config: TaggingConfig) -> TaggedData:
    validation = int(config.validation) if config.validation >= 1 else config.validation
    return load_tagged(
        config.data,
        word_column=config.word_column,
        tag_column=config.tag_column,
        feature_columns=config.feature_columns,
        scheme=config.scheme,
        validation=validation,
        seed=config.training.seed,
    )


def _in_scheme(data: TaggedData, scheme: Scheme | None) -> TaggedData:
    """The data with its spans in the scheme that the model has learned; plain labels stay what they are."""
    if data.scheme is None or scheme is None or data.scheme == scheme:
        return data
    splits = {
        split: [replace(sentence, tags=convert(sentence.tags, scheme)) for sentence in sentences]
        for split, sentences in data.splits.items()
    }
    return replace(data, splits=splits, scheme=scheme)


def _fresh(config: TaggingConfig, data: TaggedData) -> Tagger:
    """A tagger for the data, with the vectors of a file in place of those that were drawn, where there is one."""
    specified = partial(Specification.of, data, lower_case=config.lower_case, vocabulary_size=config.vocabulary_size)
    if config.vectors is None:
        return Tagger(config.model, specified())
    fold = str.lower if config.lower_case else str
    wanted = {fold(word) for sentences in data.splits.values() for s in sentences for word in s.tokens}
    with byte_bars() as progress:
        vectors = read_vectors(config.vectors, wanted, progress=progress)
    if (size := vectors.values.shape[1]) != config.model.embedding_size:
        expected = f"of --embedding-size {config.model.embedding_size}"
        raise OptionError(describe("--vectors", expected=expected, got=f"{size} numbers a word"))
    model = Tagger(config.model, specified(more_words=vectors.words))
    rows = [model.specification.words.number(word) for word in vectors.words]
    with torch.no_grad():
        model.embedding.weight[rows] = torch.from_numpy(vectors.values)
    return model


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
