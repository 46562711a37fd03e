"""Texts that may be larger than memory: read in blocks, and checked as they are read."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import BinaryIO, Protocol

from elman.data.text.vocabulary import Level
from elman.errors import DataError, describe

__all__ = ["Text", "TextFile", "TextInMemory", "cut_in_parts", "why_no_text"]

Progress = Callable[[int, int], None]  # called with the bytes so far and the bytes in all

_BLOCK = 1 << 20  # bytes
_LONGEST_WORD = 1 << 20  # characters

# By their first bytes; UTF-16 and UTF-32 begin with the mark of their byte order.
_KINDS = {
    b"\x1f\x8b": "It is packed: unpack it with gunzip.",
    b"PK\x03\x04": "It is a zip archive: unpack it.",
    b"BZh": "It is packed: unpack it with bunzip2.",
    b"\xfd7zXZ\x00": "It is packed: unpack it with unxz.",
    b"\x28\xb5\x2f\xfd": "It is packed: unpack it with unzstd.",
    b"%PDF": "It is a PDF: save its text.",
    b"\xff\xfe": "It looks like UTF-16: iconv -f UTF-16 -t UTF-8.",
    b"\xfe\xff": "It looks like UTF-16: iconv -f UTF-16 -t UTF-8.",
}


class Text(Protocol):
    """What comes in blocks that together are a text."""

    def blocks(self, level: Level, progress: Progress) -> Iterator[str]:
        """The text; at word level cut between words, and the last line ends as the others do."""


@dataclass(frozen=True)
class TextInMemory:
    """A short text.

    Args:
        text: All of it, lines that end in a line feed.
    """

    text: str

    def blocks(self, level: Level, progress: Progress) -> Iterator[str]:
        """The text, whole at either level: there is no progress to speak of."""
        yield self.text


@dataclass(frozen=True)
class TextFile:
    """A file of UTF-8, or some of its lines; may be larger than memory.

    Args:
        path: The file.
        begin: The first byte, at the start of a line.
        end: The byte after the last one.
    """

    path: Path
    begin: int
    end: int

    def blocks(self, level: Level, progress: Progress) -> Iterator[str]:
        """The text; a mark of the byte order at the file's start is left out.

        Args:
            level: At "word" level the text is cut between words, and the last line ends as the others do.
            progress: Called with (bytes so far, bytes in all).

        Raises:
            DataError: Not UTF-8, no text, a file that has become shorter, or at word level no whitespace.
        """
        try:
            yield from self._words(progress) if level == "word" else self._decoded(progress)
        except OSError as error:
            got = error.strerror or str(error)
            raise DataError(describe(str(self.path), expected="readable", got=got)) from error

    def _words(self, progress: Progress) -> Iterator[str]:
        kept, last = "", "\n"
        for text in self._decoded(progress):
            kept, last = kept + text, text[-1:] or last
            cut = 1 + max(map(kept.rfind, "\n \t"))
            if cut:
                yield kept[:cut]
                kept = kept[cut:]
            elif len(kept) > _LONGEST_WORD:
                expected = f"words of at most {_LONGEST_WORD:,} characters between whitespace"
                cause = "Is it a text? It can be read by characters."
                raise DataError(describe(str(self.path), expected=expected, got="a longer one", cause=cause))
        if last != "\n":
            yield kept + "\n"

    def _decoded(self, progress: Progress) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        place, at_start = self.begin, self.begin == 0
        with self.path.open("rb") as file:
            file.seek(self.begin)
            while place < self.end:
                block = file.read(min(_BLOCK, self.end - place))
                if not block:
                    cause = "It was cut off while it was read."
                    got = f"{place:,}"
                    raise DataError(describe(str(self.path), expected=f"{self.end:,} bytes", got=got, cause=cause))
                begin = place - len(decoder.getstate()[0])  # of what is decoded now
                place += len(block)
                try:
                    text = decoder.decode(block, final=place == self.end)
                except UnicodeDecodeError as error:
                    raise self._refusal(begin + error.start) from error
                if "\0" in text:
                    raise self._refusal(begin + len(text[: text.index("\0")].encode()))
                if at_start and text:
                    text, at_start = text.removeprefix("\ufeff"), False
                progress(place - self.begin, self.end - self.begin)
                yield text

    def _refusal(self, offset: int) -> DataError:
        """The error for a byte that no text has; the lines before it are counted only now."""
        line, left = 1, offset
        with self.path.open("rb") as file:
            start = file.read(8)
            file.seek(0)
            while left and (block := file.read(min(_BLOCK, left))):
                line += block.count(b"\n")
                left -= len(block)
            byte = file.read(1).hex()
        got = f"the byte {byte} at offset {offset:,} (line {line:,})"
        return DataError(describe(str(self.path), expected="UTF-8 text", got=got, cause=why_no_text(start, byte)))


def why_no_text(start: bytes, byte: str) -> str:
    r"""Say what a file probably is that holds a byte which no UTF-8 text has.

    Args:
        start: Its first bytes.
        byte: The byte, in hexadecimal.

    Example:
        >>> why_no_text(b"PK\x03\x04", "ff")
        'It is a zip archive: unpack it.'
    """
    cause = next((cause for magic, cause in _KINDS.items() if start.startswith(magic)), "")
    return cause or ("It is no text." if byte == "00" else "Latin-1? iconv -f LATIN1 -t UTF-8 converts it.")


def cut_in_parts(path: Path, shares: Sequence[float]) -> list[TextFile]:
    """Cut a file into contiguous parts, each at the end of a line, or of a word where a text has no lines.

    Args:
        path: The file.
        shares: Of the bytes, for each part; together 1.

    Raises:
        DataError: It is too short for that.
    """
    size = path.stat().st_size
    cuts = [0]
    with path.open("rb") as file:
        for share in list(accumulate(shares))[:-1]:
            cuts.append(_cut(file, max(cuts[-1], round(size * share) - 1), size))
    cuts.append(size)
    if any(begin >= end for begin, end in pairwise(cuts)):
        raise DataError(
            describe(
                str(path),
                expected=f"long enough to be cut into {len(shares)} parts between lines or words",
                got=f"{size:,} bytes",
                cause="Give more text, or a folder with train.txt, valid.txt and test.txt.",
            )
        )
    return [TextFile(path, begin, end) for begin, end in pairwise(cuts)]


def _cut(file: BinaryIO, place: int, size: int) -> int:
    """Return where to cut at or after a place: the end of the first line there, else of a word, else of the file."""
    file.seek(place)
    word_end = size
    while block := file.read(_BLOCK):
        line = block.find(b"\n") + 1
        if line and place + line < size:
            return place + line
        word = block.find(b" ") + 1
        if word and word_end == size:
            word_end = place + word
        place += len(block)
    return word_end
