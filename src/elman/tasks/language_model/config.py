"""What people choose about a language model. Imports no torch, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Gt

from elman.errors import OptionError
from elman.tasks.recurrent_config import RecurrentConfig
from elman.training.config import PositiveInt, Probability, TrainingConfig

__all__ = ["LanguageModelConfig", "NetworkConfig"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(RecurrentConfig):
    """The network: embedding, recurrent layers, linear readout over the vocabulary."""

    hidden_size: PositiveInt = 200
    """Units of each recurrent layer."""

    num_layers: PositiveInt = 2
    """Recurrent layers on each other."""

    embedding_size: PositiveInt | None = None
    """Numbers that a word is turned into; none: as many as --hidden-size."""

    tied_weights: bool = False
    """One matrix for the embedding and the readout."""

    variational: bool = False
    """Let the three kinds of dropout above drop the same features of a row at all steps of a window (Gal and Ghahramani
    2016)."""

    recurrent_dropout: Probability = 0.0
    """Probability of dropout on the hidden values that gates multiply with their matrices, the same units at all steps
    of a window."""

    weight_drop: Probability = 0.0
    """Probability of dropout on the weights between hidden values, drawn for each window (Merity et al. 2018)."""

    zoneout: dict[str, Probability] = field(default_factory=dict)
    """Probabilities, by state, with which a unit keeps its old value at a step: h 0.05 c 0.5 (Krueger et al. 2017)."""

    init_scale: Annotated[float, Gt(0)] | None = None
    """Draw all initial weights from ±this, uniformly; none: each layer's own way."""

    def _conflicts(self) -> Iterator[str]:
        """Say what contradicts what, by the flags."""
        yield from super()._conflicts()
        if self.tied_weights and self.embedding_size not in (None, self.hidden_size):
            yield (
                f"--tied-weights needs --embedding-size and --hidden-size to be the same, got {self.embedding_size} "
                f"and {self.hidden_size}."
            )


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """Learn which word, or which character, comes next in a text."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    data: str
    """What to learn from: pydoc, ptb, tinyshakespeare, a text file, or a folder with train.txt, valid.txt, test.txt
    (or ptb.train.txt, ...)."""

    level: Literal["word", "character"] = "word"
    """What is predicted: words, as whitespace sets them apart, with <eos> at the end of a line; or characters."""

    vocabulary_size: PositiveInt | None = None
    """How many of the most frequent words are known, the rest is <unk>; none: 10,000."""

    vocabulary: Path | None = None
    """A file with the known words, one a line; none: the most frequent of the training text."""

    window: PositiveInt = 35
    """Words that each stream goes on between two updates, the state carried over (k1 of truncated back-propagation)."""

    backward_steps: PositiveInt | None = None
    """Words that the gradient goes back, --window or more (k2); none: --window."""

    keep_last: bool = True
    """Also learn from the last words of an epoch where they are fewer than --window."""

    loss: Literal["mean", "sum-over-steps"] = "mean"
    """What the gradient is of, and --clip-norm bounds: the mean over all words of a batch; or the sum over the words of
    a stream and the mean over the streams, as the classic language models have it (--window times as much)."""

    evaluation_window: PositiveInt = 500
    """Words at a time in evaluation, one stream, the state carried over; 1 is word by word, slow and the same."""

    model: NetworkConfig = field(default_factory=NetworkConfig)
    """The network."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(epochs=10, batch_size=20, clip_norm=0.25))
    """The training."""

    def __post_init__(self) -> None:
        """Name conflicts between fields by their flags."""
        problems = []
        if self.backward_steps is not None and self.backward_steps < self.window:
            problems.append(
                f"--backward-steps must be at least --window, got {self.backward_steps} and {self.window}: every word "
                "is learned from, and the gradient of the last goes back over all of its window."
            )
        if self.vocabulary is not None and self.vocabulary_size is not None:
            problems.append("--vocabulary says which words are known: leave out --vocabulary-size.")
        if problems:
            raise OptionError(" ".join(problems))
