"""The lines of a text file, plain or packed with gzip, one by one and checked one by one."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TextIO

from elman.data.text.files import why_no_text
from elman.errors import DataError, describe

__all__ = ["byte_lines", "text_lines"]

_LONGEST = 1 << 16  # bytes of a line of text
_LARGEST = 1 << 30  # bytes of a text, unpacked
_EVERY = 1 << 10  # lines from one report of progress to the next

# A terminal obeys control characters, of which texts have the tab and the form feed alone; lone surrogates are what
# Python reads where a stream is not in its encoding.
_FOREIGN = re.compile("[\x00-\x08\x0a\x0b\x0d-\x1f\x7f-\x9f\ud800-\udfff]")


def byte_lines(
    path: Path, *, longest: int, largest: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[int, bytes]]:
    """Each line with its number, from 1 on; with its line feed.

    Args:
        path: A file, plain or packed with gzip, told apart by its first bytes.
        longest: Bytes of a line at most.
        largest: Bytes of all lines at most; None for any number of them.
        progress: Called with (bytes so far, bytes in all), as the file is on disk.

    Raises:
        DataError: A file that cannot be read, damaged, or too large, or a line that is too long.
    """
    total = 0
    try:
        with path.open("rb") as raw:
            size = path.stat().st_size
            file = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw
            for number in count(1):
                line = file.readline(longest + 1)
                if not line:
                    break
                total += len(line)
                if len(line) > longest:
                    raise _too_long(str(path), number, longest)
                if largest is not None and total > largest:
                    raise _too_large(str(path), largest)
                yield number, line
                if progress is not None and number % _EVERY == 0:
                    progress(raw.tell(), size)
            if progress is not None:
                progress(size, size)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(describe(str(path), expected="a whole gzip file", got=f"a damaged one ({error})")) from error
    except OSError as error:
        raise DataError(describe(str(path), expected="readable", got=error.strerror or str(error))) from error


def text_lines(source: Path | TextIO) -> Iterator[tuple[int, str]]:
    """Each line with its number, from 1 on; without its end, be it LF or CRLF, and without a mark of the byte order.

    Args:
        source: A file in UTF-8, plain or packed with gzip; or a text stream, such as standard input.

    Raises:
        DataError: A file that cannot be read, is not UTF-8 or larger than a gibibyte, a line that is longer than
            65,536 bytes, or a control character other than tab and form feed.
    """
    name = str(source) if isinstance(source, Path) else getattr(source, "name", "the text")
    for number, line in _decoded(source) if isinstance(source, Path) else _streamed(source, name):
        text = line.removesuffix("\n").removesuffix("\r")
        if number == 1:
            text = text.removeprefix("\ufeff")
        if found := _FOREIGN.search(text):
            got = f"the character U+{ord(found[0]):04X} (line {number:,})"
            raise DataError(describe(name, expected="UTF-8 text without control characters", got=got))
        yield number, text


def _decoded(path: Path) -> Iterator[tuple[int, str]]:
    start = b""
    for number, line in byte_lines(path, longest=_LONGEST, largest=_LARGEST):
        start = start or line[:8]
        try:
            yield number, line.decode()
        except UnicodeDecodeError as error:
            byte = line[error.start : error.start + 1].hex()
            got, cause = f"the byte {byte} (line {number:,})", why_no_text(start, byte)
            raise DataError(describe(str(path), expected="UTF-8 text", got=got, cause=cause)) from error


def _streamed(stream: TextIO, name: str) -> Iterator[tuple[int, str]]:
    total = 0
    try:
        for number in count(1):
            line = stream.readline(_LONGEST + 1)
            if not line:
                return
            total += len(line)
            if len(line) > _LONGEST:
                raise _too_long(name, number, _LONGEST)
            if total > _LARGEST:
                raise _too_large(name, _LARGEST)
            yield number, line
    except UnicodeDecodeError as error:
        got = f"the byte {error.object[error.start]:02x}"
        raise DataError(describe(name, expected="UTF-8 text", got=got)) from error
    except OSError as error:
        raise DataError(describe(name, expected="readable", got=error.strerror or str(error))) from error


def _too_long(name: str, number: int, longest: int) -> DataError:
    cause = "Is it a text with a token a line?"
    return DataError(
        describe(f"{name}: line {number:,}", expected=f"at most {longest:,} bytes", got="a longer one", cause=cause)
    )


def _too_large(name: str, largest: int) -> DataError:
    cause = "Tagged data is held in memory; cut it into smaller files."
    return DataError(describe(name, expected=f"at most {largest:,} bytes of text", got="more", cause=cause))
