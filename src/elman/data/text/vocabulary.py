"""Words or characters as numbers: the vocabulary of a text."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from elman.errors import CheckpointError, DataError, OptionError, describe

__all__ = ["LARGEST_VOCABULARY", "Level", "Vocabulary", "count_entries", "read_vocabulary", "split_words"]

Level = Literal["word", "character"]

_UNKNOWN, _END = "<unk>", "<eos>"
_CODES = 0x110000  # Unicode has this many
LARGEST_VOCABULARY = 1 << 20  # entries; each is a row of the embedding and one of the readout
_LARGEST_FILE = 1 << 26  # bytes
_MOST_WORDS = 1 << 22  # counted at once: half a gigabyte

# What stands between two words when people read them, as in the Penn Treebank's own detokenisers.
_NOT_BEFORE = {*",.;:!?)]}%”’'", "...", "''", "n't", "'s", "'re", "'ve", "'ll", "'d", "'m"}
_NOT_AFTER = {*"([{“‘$#", "``"}


class _Rows(dict[str, int]):
    """Ids by word; a word that is not there is unknown."""

    def __init__(self, entries: Sequence[str], unknown: int) -> None:
        super().__init__(zip(entries, range(len(entries)), strict=True))
        self._unknown = unknown

    def __missing__(self, word: str) -> int:
        return self._unknown


@dataclass(frozen=True, eq=False)
class Vocabulary:
    r"""The words or characters that a model knows; the id of each is its place.

    At word level a text is what stands between whitespace, and ``<eos>`` for the end of each line; at character level
    it is its characters, the line's end ``"\n"`` among them. What the vocabulary lacks is ``<unk>``.

    Args:
        level: "word" or "character".
        entries: By id, each once. ``<unk>`` is one of them, at word level ``<eos>`` too.

    Raises:
        OptionError: Entries that do not fit the level, or that are not all different.

    Example:
        >>> vocabulary = Vocabulary("word", ("the", "<eos>", "cat", ".", "<unk>"))
        >>> vocabulary.encode("the cat sat .\n")
        array([0, 2, 4, 3, 1])
        >>> vocabulary.decode([0, 2, 4, 3, 1])
        'the cat <unk>.\n'
        >>> Vocabulary("character", ("a", "b", "<unk>")).encode("abc")
        array([0, 1, 2])
    """

    level: Level
    entries: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.level not in get_args(Level):
            raise OptionError(describe("level", expected="'word' or 'character'", got=repr(self.level)))
        if not 1 < len(self.entries) <= LARGEST_VOCABULARY:
            expected = f"2 to {LARGEST_VOCABULARY:,} entries"
            raise OptionError(describe("vocabulary", expected=expected, got=f"{len(self.entries):,}"))
        if not all(isinstance(entry, str) for entry in self.entries):
            raise OptionError(describe("vocabulary", expected="entries of text", got="others among them"))
        if len(set(self.entries)) < len(self.entries):
            twice = next(entry for entry, count in Counter(self.entries).items() if count > 1)
            raise OptionError(describe("vocabulary", expected="entries that differ", got=f"{twice!r} more than once"))
        if problem := next(filter(None, (_problem(entry, self.level) for entry in self.entries)), ""):
            raise OptionError(describe("vocabulary", expected=f"one {self.level} an entry", got=problem))
        for needed in _needed(self.level):
            if needed not in self.entries:
                raise OptionError(describe("vocabulary", expected=f"with {needed}", got="entries without it"))

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def unknown(self) -> int:
        """The id of ``<unk>``."""
        return self.entries.index(_UNKNOWN)

    @cached_property
    def end(self) -> int | None:
        """The id of ``<eos>``, the end of a line; None at character level."""
        return self.entries.index(_END) if self.level == "word" else None

    @classmethod
    def by_frequency(cls, counts: Mapping[str, int], level: Level, size: int) -> Vocabulary:
        """The most frequent entries, equally frequent ones in alphabetical order.

        Args:
            counts: How often each word or character occurs; ``<eos>`` is one of the words.
            level: "word" or "character".
            size: How many entries at most, with ``<unk>`` and ``<eos>``.

        Example:
            >>> Vocabulary.by_frequency({"b": 2, "a": 2, "c": 9, "d": 1}, "character", 4).entries
            ('c', 'a', 'b', '<unk>')
        """
        kept = heapq.nsmallest(size, counts, key=lambda entry: (-counts[entry], entry))
        for needed in _needed(level):
            if needed not in kept:
                # The least frequent one makes room; what the level needs is not given up for it.
                if len(kept) == size:
                    del kept[max(place for place, entry in enumerate(kept) if entry not in _needed(level))]
                kept.append(needed)
        return cls(level, tuple(kept))

    def encode(self, text: str) -> NDArray[np.int64]:
        r"""The ids of a text; each ``"\n"`` is ``<eos>`` at word level, a character at character level."""
        if self.level == "character":
            return self._rows_by_code[_codes(text)]
        words = split_words(text)
        return np.fromiter(map(self._rows.__getitem__, words), np.int64, len(words))

    def decode(self, ids: Iterable[int]) -> str:
        r"""The text of ids, as people read it: at word level with `spacing`, and ``"\n"`` for ``<eos>``.

        Raises:
            IndexError: An id that is not in the vocabulary.
        """
        pieces: list[str] = []
        before: int | None = None
        for value in ids:
            entry = int(value)
            if entry < 0:
                raise IndexError(f"id {entry} is not in the vocabulary")
            pieces += self.spacing(before, entry), "\n" if entry == self.end else self.entries[entry]
            before = entry
        return "".join(pieces)

    def spacing(self, before: int | None, entry: int) -> str:
        """What stands between two entries when people read them: a space, or nothing.

        Args:
            before: The id of the entry before; None at the start.
            entry: The id of the entry that follows.

        Example:
            >>> vocabulary = Vocabulary("word", ("it", "(", "'s", ")", "<eos>", "<unk>"))
            >>> [vocabulary.spacing(0, entry) for entry in range(5)]
            [' ', ' ', '', '', '']
        """
        if self.level == "character" or before is None or self.end in (before, entry):
            return ""
        return "" if self.entries[entry] in _NOT_BEFORE or self.entries[before] in _NOT_AFTER else " "

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {"level": self.level, "entries": list(self.entries)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Vocabulary:
        """Read what `to_json` gave, checked.

        Raises:
            CheckpointError: It is something else.
        """
        try:
            return cls(fields["level"], tuple(fields["entries"]))
        except (KeyError, TypeError, ValueError) as error:
            got = f"{type(fields).__name__} ({error})"
            raise CheckpointError(describe("The vocabulary", expected="a level and entries", got=got)) from error

    @cached_property
    def _rows(self) -> _Rows:
        return _Rows(self.entries, self.unknown)

    @cached_property
    def _rows_by_code(self) -> NDArray[np.int64]:
        rows = np.full(_CODES, self.unknown, np.int64)
        known = [(ord(entry), row) for row, entry in enumerate(self.entries) if entry != _UNKNOWN]
        codes, places = np.array(known, np.int64).T
        rows[codes] = places
        return rows


def split_words(text: str) -> list[str]:
    r"""The words of a text, ``<eos>`` for each ``"\n"``."""
    return text.replace("\n", f" {_END} ").split()


def count_entries(blocks: Iterable[str], level: Level) -> Counter[str]:
    """How often each word or character occurs in a text that comes in blocks, cut between words.

    Where the different words become too many for memory, the rarest so far are forgotten (Mikolov et al. 2013,
    word2vec); the frequent ones are counted exactly.
    """
    if level == "word":
        words: Counter[str] = Counter()
        for block in blocks:
            words.update(split_words(block))
            if len(words) > _MOST_WORDS:
                rarest = min(words.values())
                words = Counter({word: count for word, count in words.items() if count > rarest})
        return words
    codes = np.zeros(_CODES, np.int64)
    for block in blocks:
        codes += np.bincount(_codes(block), minlength=_CODES)
    return Counter({chr(code): int(codes[code]) for code in np.flatnonzero(codes)})


def read_vocabulary(path: str | os.PathLike[str], level: Level) -> Vocabulary:
    r"""Read a vocabulary from a file with an entry a line; what the level needs and the file lacks comes last.

    That is ``<unk>``, at word level ``<eos>``, and at character level the line's end, which no line can hold.

    Raises:
        DataError: Not UTF-8, too large, or a line that is blank, not one entry, or there already.
    """
    path = Path(path)
    lines = _lines(path)
    places: dict[str, int] = {}
    for number, entry in enumerate(lines, 1):
        problem = f"{entry!r}, which line {places[entry]:,} has too" if entry in places else _problem(entry, level)
        if problem:
            raise DataError(describe(f"{path}: line {number:,}", expected=f"one {level}", got=problem))
        places[entry] = number
    missing = [entry for entry in (*_needed(level), *("\n" * (level == "character"))) if entry not in places]
    try:
        return Vocabulary(level, (*places, *missing))
    except OptionError as error:
        raise DataError(f"{path}: {error}") from error


def _lines(path: Path) -> list[str]:
    """The lines of a vocabulary file, with either system's ends."""
    if not path.is_file():
        raise DataError(describe(f"vocabulary {path}", expected="a file", got="none of that name"))
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"the byte {error.object[error.start]:02x} at offset {error.start:,}"
        raise DataError(describe(f"vocabulary {path}", expected="UTF-8 text", got=got)) from error
    except OSError as error:
        got = error.strerror or str(error)
        raise DataError(describe(f"vocabulary {path}", expected="readable", got=got)) from error
    if len(content) > _LARGEST_FILE:
        raise DataError(describe(f"vocabulary {path}", expected=f"at most {_LARGEST_FILE:,} bytes", got="more"))
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _needed(level: Level) -> tuple[str, ...]:
    return (_END, _UNKNOWN) if level == "word" else (_UNKNOWN,)


def _problem(entry: str, level: Level) -> str:
    """What keeps this from being an entry; nothing where it is one."""
    if not entry:
        return "a blank one"
    if any(0xD800 <= ord(character) < 0xE000 for character in entry):
        return f"half a character, {entry!r}"
    fits = entry.split() == [entry] if level == "word" else len(entry) == 1 or entry == _UNKNOWN
    return "" if fits else repr(entry if len(entry) <= 40 else f"{entry[:40]}...")


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))
