"""The tasks and their presets, by the names of the command line. Imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from elman.errors import OptionError, did_you_mean
from elman.tasks.classification.config import ClassificationConfig, ClassifierConfig
from elman.tasks.language_model.config import LanguageModelConfig, NetworkConfig
from elman.tasks.memory.config import MemoryConfig
from elman.tasks.sequence.config import SequenceModelConfig
from elman.tasks.tagging.config import TaggerConfig, TaggingConfig
from elman.training.config import TrainingConfig

if TYPE_CHECKING:
    from elman.tasks.base import Task

__all__ = ["TASKS", "Preset", "TaskEntry", "find_preset", "find_task"]


@dataclass(frozen=True)
class Preset:
    """A configuration with a name: ``elman train NAME``."""

    summary: str
    config: Any


@dataclass(frozen=True)
class TaskEntry:
    """A task as the command line knows it.

    Attributes:
        name: In configurations and reports.
        command: After ``elman train``.
        summary: One line.
        config: Class of its configuration.
        home: ``module:Class`` of the task, imported when it is used.
        presets: By name.
    """

    name: str
    command: str
    summary: str
    config: type[Any]
    home: str
    presets: Mapping[str, Preset]

    def load(self) -> type[Task[Any]]:
        """Import the class of the task."""
        module, _, name = self.home.partition(":")
        task: type[Task[Any]] = getattr(importlib.import_module(module), name)
        return task


#: How the language models of 2014 were trained: plain stochastic gradient descent at a rate of 1, clipped.
_CLASSIC = TrainingConfig(epochs=2, batch_size=20, optimizer="sgd", learning_rate=1.0, clip_norm=5.0)

#: A second thread gains nothing on networks as small as these.
_MEMORY = TrainingConfig(steps=3000, batch_size=64, learning_rate=1e-2, schedule="cosine", clip_norm=1.0, threads=1)


TASKS: Final[tuple[TaskEntry, ...]] = (
    TaskEntry(
        name="classification",
        command="classify",
        summary="Which class does a sequence belong to? Images row by row, or any labelled sequences.",
        config=ClassificationConfig,
        home="elman.tasks.classification.task:Classification",
        presets={
            "digits": Preset(
                "The 1,797 scans of 8x8 digits that come with scikit-learn: nothing to download, seconds to train.",
                ClassificationConfig(
                    data="digits",
                    model=ClassifierConfig(hidden_size=128),
                    # A second thread gains nothing on a network as small as this, and loses much on a busy machine.
                    training=TrainingConfig(epochs=30, batch_size=32, learning_rate=8e-3, schedule="cosine", threads=1),
                ),
            ),
            "mnist": Preset(
                "MNIST row by row: linear layer 28 to 128, LSTM 128; 10 epochs at a learning rate of 0.001, falling.",
                ClassificationConfig(
                    data="mnist",
                    validation=5000,
                    model=ClassifierConfig(hidden_size=128, input_projection=128, output_dropout=0.2),
                    training=TrainingConfig(epochs=10, learning_rate=1e-3, schedule="cosine"),
                ),
            ),
            "mnist-bidirectional": Preset(
                "MNIST row by row in both directions: LSTM 256 each; 400,000 images at a learning rate of 0.01.",
                ClassificationConfig(
                    data="mnist",
                    validation=5000,
                    model=ClassifierConfig(hidden_size=256, bidirectional=True),
                    training=TrainingConfig(samples=400_000, learning_rate=1e-2),
                ),
            ),
        },
    ),
    TaskEntry(
        name="language-model",
        command="language-model",
        summary="Which word, or which character, comes next? Any text.",
        config=LanguageModelConfig,
        home="elman.tasks.language_model.task:LanguageModelling",
        presets={
            "pydoc": Preset(
                "The English of Python's own documentation, which comes with Python: nothing to download, two minutes.",
                LanguageModelConfig(
                    data="pydoc",
                    model=NetworkConfig(
                        hidden_size=256, tied_weights=True, input_dropout=0.5, dropout=0.3, output_dropout=0.5
                    ),
                    training=TrainingConfig(
                        epochs=20, batch_size=20, learning_rate=4e-3, schedule="cosine", clip_norm=1.0
                    ),
                ),
            ),
            "ptb": Preset(
                "Penn Treebank as the tutorials have it: two LSTM layers of 200, dropout, two epochs.",
                LanguageModelConfig(
                    data="ptb",
                    loss="sum-over-steps",
                    keep_last=False,
                    model=NetworkConfig(init_scale=0.05, input_dropout=0.5, dropout=0.5, output_dropout=0.5),
                    training=_CLASSIC,
                ),
            ),
            "ptb-small": Preset(
                "Penn Treebank, two LSTM layers of 200 without dropout, 13 epochs (Zaremba et al. 2014).",
                LanguageModelConfig(
                    data="ptb",
                    window=20,
                    loss="sum-over-steps",
                    keep_last=False,
                    model=NetworkConfig(init_scale=0.1, initial_bias={"f": 0.0}),
                    training=replace(_CLASSIC, epochs=13, schedule="exponential", decay=0.5, decay_after=4),
                ),
            ),
            "ptb-medium": Preset(
                "Penn Treebank, two LSTM layers of 650 with dropout, 39 epochs (Zaremba et al. 2014): hours.",
                LanguageModelConfig(
                    data="ptb",
                    loss="sum-over-steps",
                    keep_last=False,
                    model=NetworkConfig(
                        hidden_size=650,
                        init_scale=0.05,
                        initial_bias={"f": 0.0},
                        input_dropout=0.5,
                        dropout=0.5,
                        output_dropout=0.5,
                    ),
                    training=replace(_CLASSIC, epochs=39, schedule="exponential", decay=0.8, decay_after=6),
                ),
            ),
            "shakespeare": Preset(
                "Tiny Shakespeare, character by character: two LSTM layers of 256.",
                LanguageModelConfig(
                    data="tinyshakespeare",
                    level="character",
                    window=64,
                    model=NetworkConfig(hidden_size=256, embedding_size=64, dropout=0.2, output_dropout=0.2),
                    training=TrainingConfig(
                        epochs=20, batch_size=50, learning_rate=4e-3, schedule="cosine", clip_norm=1.0
                    ),
                ),
            ),
        },
    ),
    TaskEntry(
        name="tagging",
        command="tags",
        summary="Which tag does each word of a sentence have, or each character of a text?",
        config=TaggingConfig,
        home="elman.tasks.tagging.task:Tagging",
        presets={
            "chunking": Preset(
                "CoNLL-2000: noun phrases, verb phrases and the like; two directions of 200, spelling, and a CRF.",
                TaggingConfig(
                    data="conll2000",
                    scheme="BIOES",
                    lower_case=True,
                    validation=0.05,
                    model=TaggerConfig(
                        character_size=25,
                        neighbour_loss=0.1,
                        input_dropout=0.5,
                        output_dropout=0.5,
                        variational=True,
                        recurrent_dropout=0.25,
                    ),
                    training=TrainingConfig(
                        epochs=20, batch_size=16, learning_rate=2e-3, schedule="cosine", clip_norm=5.0
                    ),
                ),
            ),
            "python-tokens": Preset(
                "The kind of token that each character of Python source belongs to: nothing to download, two minutes.",
                TaggingConfig(
                    data="python-tokens",
                    unknown_rate=0.0,
                    model=TaggerConfig(hidden_size=128, embedding_size=32),
                    training=TrainingConfig(
                        epochs=3, batch_size=32, learning_rate=4e-3, schedule="cosine", clip_norm=1.0
                    ),
                ),
            ),
        },
    ),
    TaskEntry(
        name="memory",
        command="memory",
        summary="The adding and the copy problem: what can be remembered, and for how long? Data is made.",
        config=MemoryConfig,
        home="elman.tasks.memory.task:Memory",
        presets={
            "adding": Preset(
                "The sum of the two numbers that are marked, of 100: an LSTM or a GRU learns it in a minute.",
                MemoryConfig(
                    data="adding",
                    model=SequenceModelConfig(hidden_size=64),
                    training=_MEMORY,
                ),
            ),
            "copy": Preset(
                "Ten symbols, to be written down again after 20 steps: a GRU learns it in two minutes.",
                MemoryConfig(
                    data="copy",
                    length=20,
                    model=SequenceModelConfig(hidden_size=128),
                    training=replace(_MEMORY, steps=4000),
                ),
            ),
        },
    ),
)


def find_task(name: str) -> TaskEntry:
    """Return the task of a name in a configuration.

    Raises:
        OptionError: There is none; the message names the nearest.
    """
    for task in TASKS:
        if task.name == name:
            return task
    raise OptionError(f"There is no task {name!r}. {did_you_mean(name, [task.name for task in TASKS])}")


def find_preset(name: str) -> tuple[TaskEntry, Any]:
    """Return the task and the configuration of a preset, or the task of a command with no configuration.

    Raises:
        OptionError: There is neither; the message names the nearest.

    Example:
        >>> task, config = find_preset("mnist")
        >>> task.name, config.model.hidden_size
        ('classification', 128)
    """
    for task in TASKS:
        if name == task.command:
            return task, None
        if name in task.presets:
            return task, task.presets[name].config
    known = [name for task in TASKS for name in (task.command, *task.presets)]
    raise OptionError(f"There is no preset or task {name!r}. {did_you_mean(name, known)}")
