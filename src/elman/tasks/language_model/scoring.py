"""How likely a language model finds each word of a text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data import Vocabulary
from elman.data.text.vocabulary import Level, split_words
from elman.tasks.language_model.model import LanguageModel
from elman.tasks.language_model.reading import Reading, checked_numbers, checked_words, require_ready

__all__ = ["ScoredWord", "Scores", "Totals", "metrics", "most_surprising", "score", "score_stream", "unknown_words"]

_LONGEST_WINDOW = 256  # words
_LARGEST_WINDOW = 1 << 23  # log-probabilities
_SURPRISING = 20  # one of so many words

_Window = tuple[Sequence[str], NDArray[np.int64]]


class ScoredWord(NamedTuple):
    r"""A word of a text, and what a model made of it, given all before it.

    Attributes:
        text: As it stands in the text; at word level ``<eos>`` is the end of a line.
        word: Its id.
        known: Whether the vocabulary has it; if not, the log-probability is that of ``<unk>``.
        log_probability: Natural logarithm.
        expected: The likeliest word at this place.
        expected_log_probability: Its log-probability.
    """

    text: str
    word: int
    known: bool
    log_probability: float
    expected: str
    expected_log_probability: float


@dataclass(frozen=True)
class Totals:
    """Sums over words; they add up.

    Attributes:
        words: How many, unknown ones and ends of lines among them; characters at character level.
        unknown: How many of them the vocabulary lacks.
        log_probability: Of all of them together.

    Example:
        >>> Totals(words=2, unknown=1, log_probability=-1.0) + Totals(words=1, unknown=0, log_probability=-2.0)
        Totals(words=3, unknown=1, log_probability=-3.0)
    """

    words: int = 0
    unknown: int = 0
    log_probability: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.words + other.words, self.unknown + other.unknown, self.log_probability + other.log_probability
        )

    def metrics(self, level: Level) -> dict[str, float]:
        """Perplexity, at character level bits per character, and the mean loss in nats: at least one word is needed."""
        return metrics(-self.log_probability / self.words, level)


@dataclass(frozen=True)
class Scores:
    """The scores of a text, or of a part of one.

    Attributes:
        words: One for each word.
        reading: The text up to its end: what to go on from.
    """

    words: tuple[ScoredWord, ...]
    reading: Reading

    @property
    def totals(self) -> Totals:
        """Sums over the words."""
        unknown = sum(not word.known for word in self.words)
        return Totals(len(self.words), unknown, math.fsum(word.log_probability for word in self.words))


def score(
    model: LanguageModel, text: str | Sequence[int] | NDArray[np.integer[Any]], reading: Reading | None = None
) -> Scores:
    """Score a text that fits in memory.

    Args:
        model: The model, in evaluation mode.
        text: As people write it, at word level with whitespace between words and punctuation; or the ids of its words.
        reading: What stands before it; None for nothing.

    Raises:
        OptionError: An id that the vocabulary does not have, or a model that is in training mode.
        DivergenceError: The model gives no numbers.

    Example:
        >>> from elman.tasks.language_model.config import NetworkConfig
        >>> vocabulary = Vocabulary("word", ("the", "cat", "<eos>", "<unk>"))
        >>> model = LanguageModel(NetworkConfig(hidden_size=8), vocabulary).eval()
        >>> scores = score(model, "the dog sat")
        >>> [word.text for word in scores.words if not word.known], scores.totals.words
        (['dog', 'sat'], 3)
    """
    vocabulary = model.vocabulary
    if isinstance(text, str):
        windows = _windows(vocabulary, [text])
    else:
        ids, size = checked_words(model, text), _window_size(vocabulary)
        parts = (ids[k : k + size] for k in range(0, len(ids), size))
        windows = (([vocabulary.entries[k] for k in part.tolist()], part) for part in parts)
    reading = Reading.begin(model) if reading is None else reading
    words: list[ScoredWord] = []
    for part in _scored(model, windows, reading):
        words += part.words
        reading = part.reading
    return Scores(tuple(words), reading)


def score_stream(model: LanguageModel, pieces: Iterable[str], reading: Reading | None = None) -> Iterator[Scores]:
    """Score a text of any length as it comes, in memory that does not grow with it.

    Args:
        model: The model, in evaluation mode.
        pieces: The text, cut anywhere: the lines of an open file, or blocks of it.
        reading: What stands before it; None for nothing.

    Yields:
        The scores of the next words, a few hundred at most; together those of `score`.
    """
    yield from _scored(model, _windows(model.vocabulary, pieces), reading or Reading.begin(model))


def most_surprising(words: Sequence[ScoredWord]) -> list[int]:
    """Places of the least likely words: one of twenty, at least one, and of a single word none.

    Example:
        >>> scored = [ScoredWord("a", 0, True, value, "b", -0.5) for value in (-1.0, -7.0, -7.0)]
        >>> most_surprising(scored)
        [1]
    """
    count = max(1, len(words) // _SURPRISING) if len(words) > 1 else 0
    return sorted(sorted(range(len(words)), key=lambda k: words[k].log_probability)[:count])


def unknown_words(vocabulary: Vocabulary, text: str) -> list[str]:
    """The words of a text that a vocabulary lacks, each once, in their order.

    Example:
        >>> unknown_words(Vocabulary("character", ("a", "b", "<unk>")), "abcdc")
        ['c', 'd']
    """
    ids = vocabulary.encode(text)
    words = list(_entries(vocabulary.level, [text]))
    return list(dict.fromkeys(words[k] for k in np.flatnonzero(ids == vocabulary.unknown)))


def metrics(loss: float, level: Level) -> dict[str, float]:
    """What a mean loss in nats is as perplexity, and at character level as bits per character.

    Example:
        >>> metrics(1.5, "character")
        {'perplexity': 4.48..., 'bits_per_character': 2.16..., 'loss': 1.5}
    """
    perplexity = math.exp(loss) if loss < 700 else math.inf
    bits = {"bits_per_character": loss / math.log(2)} if level == "character" else {}
    return {"perplexity": perplexity, **bits, "loss": loss}


def _windows(vocabulary: Vocabulary, pieces: Iterable[str]) -> Iterator[_Window]:
    words, size = _entries(vocabulary.level, pieces), _window_size(vocabulary)
    between = " " if vocabulary.level == "word" else ""
    while window := list(islice(words, size)):
        yield window, vocabulary.encode(between.join(window))


def _entries(level: Level, pieces: Iterable[str]) -> Iterator[str]:
    """The words or characters of a text that is cut anywhere."""
    if level == "character":
        for piece in pieces:
            yield from piece
        return
    rest = ""
    for piece in pieces:
        words = split_words(rest + piece)
        rest = words.pop() if words and not (piece or rest)[-1].isspace() else ""
        yield from words
    yield from split_words(rest)


def _window_size(vocabulary: Vocabulary) -> int:
    """Words at a time: few of a large vocabulary, so that their log-probabilities take no more memory."""
    return max(1, min(_LONGEST_WINDOW, _LARGEST_WINDOW // len(vocabulary)))


def _scored(model: LanguageModel, windows: Iterable[_Window], reading: Reading) -> Iterator[Scores]:
    entries, unknown = model.vocabulary.entries, model.vocabulary.unknown
    for texts, ids in windows:
        given, likeliest, expected, reading = _log_probabilities(model, ids, reading)
        words = zip(texts, ids.tolist(), given.tolist(), expected.tolist(), likeliest.tolist(), strict=True)
        yield Scores(
            tuple(ScoredWord(text, k, k != unknown, value, entries[best], top) for text, k, value, best, top in words),
            reading,
        )


@torch.no_grad()
def _log_probabilities(
    model: LanguageModel, ids: NDArray[np.int64], reading: Reading
) -> tuple[Tensor, Tensor, Tensor, Reading]:
    """Log-probabilities of the words of a window, those of the likeliest words, these words, and the text so far."""
    require_ready(model)
    words = torch.from_numpy(ids).to(model.embedding.weight.device)
    (rows,), state = model.log_probabilities(words[None], reading.state)
    # The row of a word is that of the word before it: the first one's comes with the reading.
    first, others = _looked_up(reading.log_probabilities[None], words[:1]), _looked_up(rows[:-1], words[1:])
    given, likeliest, expected = (torch.cat(pair) for pair in zip(first, others, strict=True))
    return checked_numbers(given), likeliest, expected, Reading(state, checked_numbers(rows[-1].clone()), int(ids[-1]))


def _looked_up(rows: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    best = rows.max(dim=1)
    return rows.gather(1, words[:, None])[:, 0], best.values, best.indices
