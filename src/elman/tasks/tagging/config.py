"""What people choose about a tagger. Imports no torch, so that ``--help`` is quick."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Lt

from elman.errors import OptionError
from elman.tasks.recurrent_config import RecurrentConfig
from elman.training.config import PositiveInt, Probability, TrainingConfig

__all__ = ["TaggerConfig", "TaggingConfig"]


@dataclass(frozen=True, kw_only=True)
class TaggerConfig(RecurrentConfig):
    """The network: embedding, recurrent features of characters, recurrent layers, and a tag for each step."""

    hidden_size: PositiveInt = 200
    """Units of each recurrent layer and direction."""

    bidirectional: bool = True
    """Also read the sentence from its end to its beginning."""

    decoder: Literal["crf", "softmax"] = "crf"
    """How tags are chosen: the best sequence of tags (a linear-chain CRF), or the best tag of each step by itself."""

    embedding_size: PositiveInt = 100
    """Numbers that a word (or the character that is labelled) is turned into."""

    character_size: PositiveInt | None = None
    """Units, in each direction, of a recurrent layer over the characters of each word; none: words are read whole."""

    character_embedding_size: PositiveInt = 30
    """Numbers that a character of a word is turned into, for --character-size."""

    feature_size: PositiveInt = 20
    """Numbers that an entry of each of --feature-columns is turned into."""

    neighbour_loss: Annotated[float, Ge(0), Lt(math.inf)] = 0.0
    """Weight of a second loss in training: to predict the next word from the forward direction, and the word before
    from the backward one (Rei 2017); it takes no outside text, and nothing of it is left when tags are predicted."""

    variational: bool = False
    """Let the three kinds of dropout above drop the same features of a sentence at all its steps (Gal and Ghahramani
    2016)."""

    recurrent_dropout: Probability = 0.0
    """Probability of dropout on the hidden values that gates multiply with their matrices, the same units at all steps
    of a sentence."""

    def _conflicts(self) -> Iterator[str]:
        """Say what contradicts what, by the flags."""
        yield from super()._conflicts()
        if self.neighbour_loss and self.num_layers > 1:
            yield (
                "--neighbour-loss needs --num-layers 1: what a second layer reads has seen the words that it would "
                "predict."
            )


@dataclass(frozen=True, kw_only=True)
class TaggingConfig:
    """Learn which tag each word of a sentence, or each character of a text, has."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    data: str
    """What to learn from: python-tokens, conll2000, a folder with train, valid (or dev) and test files, or one file, in
    CoNLL columns or CoNLL-U."""

    word_column: int | str | None = None
    """Column of the words, from 0 on, or its name in CoNLL-U; none: the first, in CoNLL-U FORM."""

    tag_column: int | str | None = None
    """Column of the tags, from 0 on, -1 the last, or its name in CoNLL-U; none: the last, in CoNLL-U UPOS."""

    feature_columns: tuple[int | str, ...] = ()
    """Further columns that the network reads, such as parts of speech."""

    scheme: Literal["given", "BIO", "BIOES"] = "given"
    """How the tags of spans are written while learning; given: as in the data (IOB1 becomes BIO)."""

    lower_case: bool = False
    """Read words in lower case; --character-size sees them as they are."""

    vocabulary_size: PositiveInt | None = None
    """How many of the most frequent words are known, the rest is <unk>; none: all of the training sentences."""

    unknown_rate: Probability = 0.5
    """Probability r with which a word that training has once is read as <unk> there, so that this is learned, too; one
    that it has n times with r / (r + n (1 - r)) (Kiperwasser and Goldberg 2016)."""

    vectors: Path | None = None
    """A text file of word vectors to begin with, one word a line (GloVe, word2vec, fastText), of --embedding-size."""

    validation: Annotated[float, Ge(0)] = 0.1
    """Training sentences held out to watch the training where there is no file of them: a number, or under 1 a share;
    0 for none."""

    model: TaggerConfig = field(default_factory=TaggerConfig)
    """The network."""

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=20, batch_size=32, learning_rate=2e-3, clip_norm=5.0)
    )
    """The training."""

    def __post_init__(self) -> None:
        """Name conflicts between fields by their flags."""
        if self.validation >= 1 and self.validation != int(self.validation):
            raise OptionError(f"--validation must be a whole number or a share under 1, got {self.validation}.")
