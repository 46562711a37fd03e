"""Pretrained vectors of words from a text file, as word2vec, GloVe and fastText write them."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Collection
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elman.data.tagged.lines import byte_lines
from elman.errors import DataError, describe

__all__ = ["WordVectors", "read_vectors"]

_LONGEST = 1 << 18  # bytes of a line
_LARGEST = 1 << 13  # numbers of a vector
_HINT = "Is it a text file? Vectors in word2vec's binary form have to be saved as text first."


class WordVectors(NamedTuple):
    """Words that a file has a vector for.

    Attributes:
        words: Each once, in the order of the file.
        values: float32 ``(words, size)``.
    """

    words: tuple[str, ...]
    values: np.ndarray[Any, np.dtype[np.float32]]


def read_vectors(
    path: str | os.PathLike[str],
    words: Collection[str],
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> WordVectors:
    """Read the vectors of some words; the others, of which there may be millions, are passed over.

    Args:
        path: A text file, plain or packed with gzip: a word and its numbers a line, spaces between them. A first line
            of two whole numbers says how many words follow, and the size of a vector (word2vec, fastText); without it
            the first word decides on the size (GloVe).
        words: The words to look for, spelled as the file spells them.
        progress: Called with (what is done, bytes so far, bytes in all).

    Returns:
        The words that were found. Where a word has several vectors, the first one counts.

    Raises:
        DataError: A line with too few numbers, numbers that are none or not finite as float32, none of the words, or
            another count of words than promised.
    """
    path = Path(path)
    report = None if progress is None else partial(progress, f"reading {path.name}")
    lines = byte_lines(path, longest=_LONGEST, progress=report)
    first = next(lines, (1, b""))[1].removeprefix(codecs.BOM_UTF8)
    promised, size = _header(path, first)
    wanted = {word.encode(): word for word in words}
    found: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
    count = 0
    for number, line in lines if promised is not None else chain([(1, first)], lines):
        line = line.rstrip(b"\r\n ")
        if not line:
            continue
        count += 1
        spaces = line.count(b" ")
        if spaces < size:
            raise _ragged(path, number, size, spaces)
        # The word may have spaces itself: then it is what is left of its numbers.
        word = line.partition(b" ")[0] if spaces == size else line.rsplit(b" ", size)[0]
        name = wanted.get(word)
        if name is not None and name not in found:
            found[name] = _values(path, number, line[len(word) + 1 :], size)
    _check_count(path, promised, count)
    if not found:
        cause = "Are they spelled alike, in lower case for one?"
        expected = f"vectors of some of the {len(wanted):,} words"
        raise DataError(describe(str(path), expected=expected, got="none of them", cause=cause))
    return WordVectors(tuple(found), np.stack(list(found.values())))


def _header(path: Path, line: bytes) -> tuple[int | None, int]:
    """The words that a file promises, None where it does not, and the size of its vectors."""
    fields = line.split()
    is_header = len(fields) == 2 and all(field.isdigit() for field in fields)
    promised, size = (int(fields[0]), int(fields[1])) if is_header else (None, line.rstrip(b"\r\n ").count(b" "))
    if not 1 <= size <= _LARGEST:
        what, expected = f"{path}, line 1: numbers of a vector", f"1 to {_LARGEST:,}, with a space before each"
        raise DataError(describe(what, expected=expected, got=f"{size:,}", cause=_HINT))
    return promised, size


def _values(path: Path, number: int, text: bytes, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The numbers of a line."""
    try:
        with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which is refused below
            values = np.array([float(field) for field in text.split(b" ")], dtype=np.float64).astype(np.float32)
    except ValueError as error:
        cause = "" if text.isascii() else _HINT
        raise DataError(
            describe(f"{path}, line {number:,}", expected="a word and numbers", got=str(error), cause=cause)
        ) from error
    if len(values) != size:
        raise _ragged(path, number, size, len(values))
    if not np.isfinite(values).all():
        raise DataError(describe(f"{path}, line {number:,}", expected="finite as float32", got="numbers that are not"))
    return values


def _ragged(path: Path, number: int, size: int, got: int) -> DataError:
    what = f"{path}, line {number:,}: the numbers"
    return DataError(describe(what, expected=f"{size}, as in the first line", got=str(got), cause=_HINT))


def _check_count(path: Path, promised: int | None, count: int) -> None:
    if promised is not None and count != promised:
        cause = "The file was cut off." if count < promised else ""
        what = f"{path}: words"
        raise DataError(describe(what, expected=f"{promised:,}, as its first line says", got=f"{count:,}", cause=cause))
