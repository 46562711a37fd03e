"""What a tagger reads and answers, and sentences in its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data import Columns, Level, Scheme, Sentence, TaggedData
from elman.errors import CheckpointError, DataError, describe

__all__ = ["IGNORED", "Batch", "EncodedSentences", "Entries", "Specification"]

IGNORED = -100  #: the label of what is not there to be labelled

_LEVELS: Final[Mapping[str, Level]] = {"word": "word", "character": "character"}
_SCHEMES: Final[Mapping[str | None, Scheme | None]] = {None: None, "BIO": "BIO", "BIOES": "BIOES"}


class Entries:
    """Words, characters or tags by number; those that are not there are ``<unk>``, number 0.

    Example:
        >>> words = Entries.by_frequency(["the", "cat", "the"], size=2)
        >>> [words.number(word) for word in ("the", "cat", "dog")]
        [1, 2, 0]
    """

    def __init__(self, known: Iterable[str]) -> None:
        self.known = tuple(known)
        self._numbers = {entry: number for number, entry in enumerate(self.known, 1)}
        if len(self._numbers) < len(self.known) or not all(isinstance(entry, str) for entry in self.known):
            raise ValueError("entries must be text, each there once")

    @classmethod
    def by_frequency(cls, occurrences: Iterable[str], size: int | None = None) -> Self:
        """The most frequent entries, equally frequent ones in alphabetical order."""
        counts = Counter(occurrences)
        return cls(sorted(counts, key=lambda entry: (-counts[entry], entry))[:size])

    def __len__(self) -> int:
        return 1 + len(self.known)

    def number(self, entry: str) -> int:
        """The number of an entry."""
        return self._numbers.get(entry, 0)


class Batch(NamedTuple):
    """Sentences side by side, as the network reads them.

    Attributes:
        lengths: words of each sentence, ``(batch,)``; beyond them there are zeros, and `IGNORED` for labels.
        words: ``(batch, time)``.
        labels: ``(batch, time)``.
        features: entries of each further column, ``(columns, batch, time)``.
        spellings: characters of each different word of the batch, ``(words, characters)``.
        spelling_lengths: their number, ``(words,)``.
        spelled: which of these each word is, ``(batch, time)``.
    """

    lengths: Tensor
    words: Tensor
    labels: Tensor
    features: Tensor
    spellings: Tensor
    spelling_lengths: Tensor
    spelled: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the same on a device."""
        return Batch(*(tensor.to(device) for tensor in self))

    @property
    def steps(self) -> int:
        """Words in all sentences together."""
        return int(self.lengths.sum())


@dataclass(frozen=True, eq=False)
class Specification:
    """What a tagger reads and answers; stands in every checkpoint.

    Attributes:
        level: whether a step is a word or a character.
        scheme: how the tags of spans are written; None where tags are labels without more.
        labels: the tags, by number.
        words: known words (or characters, at that level).
        lower_case: whether words are read in lower case.
        characters: known characters of the spelling of words.
        features: known entries of each further column.
        columns: where words, tags and features were in the files of training; None where it learned from no such files.
    """

    level: Level
    scheme: Scheme | None
    labels: tuple[str, ...]
    words: Entries
    lower_case: bool
    characters: Entries
    features: tuple[Entries, ...]
    columns: Columns | None

    @classmethod
    def of(
        cls,
        data: TaggedData,
        *,
        lower_case: bool = False,
        vocabulary_size: int | None = None,
        more_words: Iterable[str] = (),
    ) -> Self:
        """Collect what there is in the training sentences, and the tags of all.

        Args:
            data: the sentences; those of ``train`` say which words, characters and entries are known.
            lower_case: whether to read words in lower case.
            vocabulary_size: how many of the most frequent words to know; None for all.
            more_words: words to know besides.
        """
        sentences = data.splits["train"]
        fold = str.lower if lower_case else str
        words = Entries.by_frequency((fold(word) for s in sentences for word in s.tokens), vocabulary_size)
        known = dict.fromkeys((*words.known, *more_words))
        tags = {tag for some in data.splits.values() for s in some for tag in s.tags}
        columns = len(sentences[0].features)
        return cls(
            level=data.level,
            scheme=data.scheme,
            labels=tuple(dict.fromkeys((*data.tags, *sorted(tags)))),
            words=Entries(known),
            lower_case=lower_case,
            characters=Entries.by_frequency(c for word in {w for s in sentences for w in s.tokens} for c in word),
            features=tuple(
                Entries.by_frequency(entry for s in sentences for entry in s.features[column])
                for column in range(columns)
            ),
            columns=data.columns,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            **vars(self),
            "labels": list(self.labels),
            "words": list(self.words.known),
            "characters": list(self.characters.known),
            "features": [list(entries.known) for entries in self.features],
            "columns": None if self.columns is None else vars(self.columns),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave, checked.

        Raises:
            CheckpointError: it is something else.
        """
        try:
            columns = fields["columns"]
            return cls(
                level=_LEVELS[fields["level"]],
                scheme=_SCHEMES[fields["scheme"]],
                labels=Entries(fields["labels"]).known,
                words=Entries(fields["words"]),
                lower_case=bool(fields["lower_case"]),
                characters=Entries(fields["characters"]),
                features=tuple(Entries(entries) for entries in fields["features"]),
                columns=columns and Columns(columns["words"], columns["tags"], tuple(columns["features"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            expected, got = "the description of a tagger", f"{sorted(fields)} ({error})"
            raise CheckpointError(describe("The task of the checkpoint", expected=expected, got=got)) from error

    def fold(self, word: str) -> str:
        """A word as the vocabulary has it."""
        return word.lower() if self.lower_case else word

    @cached_property
    def label_numbers(self) -> Mapping[str, int]:
        """The tags' numbers."""
        return {label: number for number, label in enumerate(self.labels)}

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of spans; of plain tags the tags themselves."""
        if self.scheme is None:
            return self.labels
        return tuple(sorted({label[2:] for label in self.labels if label != "O"}))

    def tags(self, labels: Iterable[int]) -> tuple[str, ...]:
        """The tags of numbers."""
        return tuple(self.labels[label] for label in labels)


class _Lines:
    """Lines of numbers of different lengths, one after another in memory."""

    def __init__(self, lines: Sequence[Sequence[int]]) -> None:
        self.lengths = torch.tensor([len(line) for line in lines], dtype=torch.int64)
        self._starts = torch.tensor([0, *accumulate(map(len, lines))], dtype=torch.int64)
        numbers = np.fromiter((number for line in lines for number in line), np.int64)
        self.numbers = torch.from_numpy(numbers)

    def padded(self, which: Tensor, beyond: int = 0) -> Tensor:
        """Some lines side by side, at least one step long."""
        lengths = self.lengths[which]
        steps = torch.arange(max(1, int(lengths.max())))
        inside = steps < lengths[:, None]
        lines = torch.full(inside.shape, beyond)
        lines[inside] = self.numbers[(self._starts[which][:, None] + steps)[inside]]
        return lines


class EncodedSentences:
    """Sentences in the numbers of a specification.

    Args:
        specification: what the tagger knows.
        sentences: with tags or without.

    Raises:
        DataError: there are no sentences, or the tags or further columns are not those that the tagger knows.
    """

    def __init__(self, specification: Specification, sentences: Sequence[Sentence]) -> None:
        if not sentences:
            raise DataError(describe("sentences", expected="one or more", got="none"))
        self._specification = specification
        self._words = _Lines([[specification.words.number(specification.fold(w)) for w in s.tokens] for s in sentences])
        self._labels = _Lines([self._numbers_of_tags(sentence) for sentence in sentences])
        self._features = [
            _Lines([[entries.number(entry) for entry in s.features[column]] for s in sentences])
            for column, entries in enumerate(specification.features)
        ]
        # The first is the word of no characters, which stands where there is no word.
        different = {w: k for k, w in enumerate(dict.fromkeys(("", *(w for s in sentences for w in s.tokens))))}
        self._spelled = _Lines([[different[word] for word in s.tokens] for s in sentences])
        self._spellings = _Lines([[specification.characters.number(c) for c in word] for word in different])

    def _numbers_of_tags(self, sentence: Sentence) -> list[int]:
        wanted = len(self._specification.features)
        if len(sentence.features) < wanted:
            expected, got = (
                f"with the columns that training had ({wanted} beside words and tags)",
                f"{len(sentence.features)}",
            )
            raise DataError(
                describe("sentences", expected=expected, got=got, cause="Use --columns, and files of them.")
            )
        if not sentence.tags:
            return [IGNORED] * len(sentence.tokens)
        unknown = sorted(set(sentence.tags) - self._specification.label_numbers.keys())
        if unknown:
            expected, got = f"among the {len(self._specification.labels)} of training", ", ".join(unknown)
            raise DataError(describe("tags", expected=expected, got=got, cause="Is it data of the same make?"))
        return [self._specification.label_numbers[tag] for tag in sentence.tags]

    @property
    def lengths(self) -> Tensor:
        """Words of each sentence."""
        return self._words.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def occurrences(self) -> Tensor:
        """How often each known word occurs."""
        return torch.bincount(self._words.numbers, minlength=len(self._specification.words))

    def batch(self, which: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Some of the sentences side by side."""
        rows = torch.as_tensor(which)
        words = self._words.padded(rows)
        different, spelled = torch.unique(self._spelled.padded(rows), return_inverse=True)
        features = [column.padded(rows) for column in self._features]
        return Batch(
            lengths=self._words.lengths[rows],
            words=words,
            labels=self._labels.padded(rows, IGNORED),
            features=torch.stack(features) if features else words.new_empty(0, *words.shape),
            spellings=self._spellings.padded(different),
            spelling_lengths=self._spellings.lengths[different],
            spelled=spelled,
        )
