"""The task of language models: data, loss and metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from elman.data import Corpus, Streams, Vocabulary, Window, load_corpus
from elman.errors import CheckpointError, DataError, OptionError, describe
from elman.tasks import runs
from elman.tasks.base import Task
from elman.tasks.drawing import draw_linear, draw_recurrent
from elman.tasks.language_model.config import LanguageModelConfig
from elman.tasks.language_model.model import LanguageModel
from elman.tasks.language_model.scoring import metrics
from elman.training import GraphNode, StepResult, byte_bars

__all__ = ["LanguageModelling", "load_language_model"]


_RELEASE = 100  # steps after which what was read of the text is let go: a text larger than memory stays small


class Batch(NamedTuple):
    """A window of text: words, the word after each, and how the window lies in the streams."""

    words: Tensor
    targets: Tensor
    window: Window


class LanguageModelling(Task[LanguageModelConfig]):
    """Learn which word comes next.

    The training text is cut into ``batch_size`` streams, which are read side by side, window by window; the state at
    the end of a window is the one that the next begins with, and the gradient does not cross the border.

    Args:
        config: the configuration.
        corpus: the text; None loads what the configuration names.
        model: a trained model to go on with; None makes a fresh one.

    Raises:
        DataError: the text cannot be used, or a split is too short.
        OptionError: ``patience`` is given and there is no validation split.

    Example:
        >>> from elman.training import TrainingConfig
        >>> config = LanguageModelConfig(data="pydoc", training=TrainingConfig(epochs=1, batch_size=20))
        >>> task = LanguageModelling(config)
        >>> task.batch(0).words.shape
        torch.Size([20, 35])
    """

    name = "language-model"
    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("perplexity", "min")

    def __init__(
        self, config: LanguageModelConfig, corpus: Corpus | None = None, model: nn.Module | None = None
    ) -> None:
        self.corpus = _load(config, model) if corpus is None else corpus
        for split, ids in self.corpus.splits.items():  # now, not after an epoch
            if len(ids) < 2:
                what, got = f"{self.corpus.name}: {split}", f"{len(ids)}"
                raise DataError(describe(what, expected=f"at least two {self.unit}", got=got))
        super().__init__(config, LanguageModel(config.model, self.corpus.vocabulary) if model is None else model)
        self._ids = self.corpus.splits["train"]
        self._state: Sequence[Tensor] | None = None
        if model is None:
            self._check_training()

    @cached_property
    def _streams(self) -> Streams:
        """The training text in streams; another text that a trained model is measured on may be too short for it."""
        return Streams.cut(
            len(self._ids) - 1,  # the last word is only a target
            self.config.training.batch_size,
            window=self.config.window,
            backward_steps=self.config.backward_steps,
            keep_last=self.config.keep_last,
        )

    def _check_training(self) -> None:
        """Refuse before anything is written what training would stumble over."""
        _ = self._streams
        if self.config.training.patience is not None and "validation" not in self.corpus.splits:
            raise OptionError("--patience counts evaluations, but the text has no validation split.")

    @classmethod
    def from_config(cls, config: LanguageModelConfig, model: nn.Module | None = None) -> Self:
        """Load the text, and make a fresh model or use this one."""
        return cls(config, model=model)

    @classmethod
    def model_from(cls, config: LanguageModelConfig, description: Mapping[str, Any]) -> LanguageModel:
        """Make a model for the weights of a checkpoint."""
        try:
            fields = dict(description["vocabulary"])
        except (KeyError, TypeError, ValueError) as error:
            expected, got = "the description of a language model", f"{sorted(description)}"
            raise CheckpointError(describe("The task of the checkpoint", expected=expected, got=got)) from error
        return LanguageModel(config.model, Vocabulary.from_json(fields))

    def description(self) -> dict[str, Any]:
        """Return the vocabulary, and what tells this training text from another."""
        return {"vocabulary": self._language_model.vocabulary.to_json(), "text": self.corpus.checksum}

    def notes(self) -> list[str]:
        """The data and the model in a few lines."""
        corpus = self.corpus
        sizes = ", ".join(f"{len(ids):,} {name}" for name, ids in corpus.splits.items())
        known = f"{len(corpus.vocabulary):,} known"
        return [f"{corpus.name}: {sizes} {self.unit}; {known}. {self.size_of_model()}", *corpus.notes]

    @property
    def unit(self) -> str:
        """``words`` or ``characters``."""
        return f"{self.corpus.vocabulary.level}s"

    @property
    def steps_per_epoch(self) -> int:
        """Windows in one pass over the training text."""
        return self._streams.windows

    @property
    def samples_per_step(self) -> int:
        """Words in a window of all streams."""
        return self.config.training.batch_size * self.config.window

    def batch(self, step: int) -> Batch:
        """The window of a step."""
        if step % _RELEASE == 0:
            self.corpus.release()
        return _read(self._ids, self._streams.window(step))

    def loss(self, model: nn.Module, batch: Batch) -> StepResult:
        """Cross-entropy of a window; its last state is carried to the next."""
        loss, self._state = _run(model, batch, self._state)
        count, streams = batch.window.counted, len(batch.words)
        factor = 1.0 if self.config.loss == "mean" else count / streams
        return StepResult(loss, count, factor=factor)

    def metrics(self, means: Mapping[str, float]) -> dict[str, float]:
        """Perplexity, bits per character, and the cross-entropy in nats."""
        return metrics(means["loss"], self.corpus.vocabulary.level)

    def evaluate_split(self, model: nn.Module, split: str) -> dict[str, Any] | None:
        """Perplexity of a split, read from its first word to the last as one stream."""
        ids = self.corpus.splits.get(split)
        if ids is None:
            return None
        streams = Streams.cut(len(ids) - 1, 1, window=self.config.evaluation_window)
        total, state = 0.0, None
        with torch.inference_mode():
            for number in range(streams.windows):
                batch = _read(ids, streams.window(number))
                loss, state = _run(model, batch, state)
                total += loss.item() * batch.window.counted
        return {**self.metrics({"loss": total / (len(ids) - 1)}), self.unit: len(ids) - 1}

    def state_dict(self) -> dict[str, Tensor]:
        """The state carried to the next window."""
        if self._state is None:
            return {}
        return {
            f"state.{name}": s for name, s in zip(self._language_model.recurrent.cell.states, self._state, strict=True)
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        recurrent = self._language_model.recurrent
        expected = recurrent.initial_state(self.config.training.batch_size)
        names = [f"state.{name}" for name in recurrent.cell.states]
        if not state:
            self._state = None
            return
        found = {name: tuple(s.shape) for name, s in state.items()}
        wanted = {name: tuple(s.shape) for name, s in zip(names, expected, strict=True)}
        if found != wanted:
            cause = "Has --batch-size or --cell changed?"
            raise CheckpointError(describe("The carried state", expected=f"{wanted}", got=f"{found}", cause=cause))
        device = expected[0].device
        self._state = type(expected)(*(state[name].to(device) for name in names))

    def graph(self) -> Sequence[GraphNode]:
        """Embedding, recurrent layers with the step of their cell, readout, loss."""
        model = self._language_model
        vocabulary, size = model.embedding.weight.shape
        nodes, outputs = draw_recurrent(model.recurrent, "recurrent", "embedding/vectors")
        return [
            GraphNode("inputs/words", "Placeholder", shape=(-1, -1)),
            GraphNode("inputs/next_words", "Placeholder", shape=(-1, -1)),
            GraphNode("embedding/weight", "Parameter", shape=(vocabulary, size)),
            GraphNode("embedding/vectors", "Gather", ("embedding/weight", "inputs/words"), (-1, -1, size)),
            *nodes,
            *draw_linear("readout", outputs[0], vocabulary),
            GraphNode("loss/cross_entropy", "CrossEntropy", ("readout/output", "inputs/next_words"), ()),
        ]

    @property
    def _language_model(self) -> LanguageModel:
        return cast(LanguageModel, self.model)


def load_language_model(run: str | os.PathLike[str]) -> LanguageModel:
    """Load the model that a run has learned, ready to read, write and score: that of its best evaluation, or the last.

    Raises:
        CheckpointError: It is no run directory, or there is no checkpoint yet, or one that cannot be used.
        OptionError: Its task is another one.
    """
    return cast(LanguageModel, runs.load_run(Path(run), LanguageModelling)[1])


def _load(config: LanguageModelConfig, model: nn.Module | None) -> Corpus:
    """Load the text; for a trained model, in its vocabulary."""
    size, vocabulary = config.vocabulary_size, config.vocabulary
    own = None if model is None or vocabulary is None else cast(LanguageModel, model).vocabulary
    with byte_bars() as progress:
        load = partial(load_corpus, config.data, level=config.level, progress=progress)
        corpus = load(vocabulary_size=size, vocabulary=own or vocabulary)  # whose file may not be there any more
        if model is None or corpus.vocabulary.entries == cast(LanguageModel, model).vocabulary.entries:
            return corpus
        return load(vocabulary=cast(LanguageModel, model).vocabulary)


def _read(ids: np.ndarray[Any, np.dtype[Any]], window: Window) -> Batch:
    words, targets = (torch.from_numpy(ids[window.positions + k].astype(np.int64)) for k in (0, 1))
    return Batch(words, targets, window)


def _run(model: nn.Module, batch: Batch, state: Sequence[Tensor] | None) -> tuple[Tensor, Any]:
    """Return the mean loss of a window and the state to carry, cut off from its past."""
    device, window = next(model.parameters()).device, batch.window
    masks = {"reset": window.reset, "lengths": window.lengths, "counted": window.mask()}
    loss, state = model(
        batch.words.to(device),
        batch.targets.to(device),
        None if window.first else state,
        **{name: None if mask is None else mask.to(device) for name, mask in masks.items()},
        carry=window.carry,
    )
    return loss, None if state is None else type(state)(*(s.detach() for s in state))
