"""Running text: to standard output, styled on a terminal, and from standard input."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

from rich.console import COLOR_SYSTEMS, Console
from rich.style import Style

from elman.errors import DataError, describe

__all__ = ["Page", "standard_input", "visible"]

# A text from outside may hold what a terminal takes for commands.
_CONTROLS = {code: chr(code).encode("unicode_escape").decode() for code in (*range(0x20), *range(0x7F, 0xA0))}
_LONGEST = 1 << 20  # characters of a line at a time


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a text with its control characters written out.

    Args:
        text: Any text.
        keep: Control characters that stay.

    Example:
        >>> visible("a\tb\x1b[2J")
        'a\\tb\\x1b[2J'
    """
    return text.translate({code: shown for code, shown in _CONTROLS.items() if chr(code) not in keep})


class Page:
    """Standard output for a text that grows: what is written is seen at once.

    On a terminal pieces have styles, and control characters are written out; elsewhere a text stays what it is.
    """

    def __init__(self) -> None:
        console = Console()
        self._last = "\n"
        self._escapes = console.is_terminal
        colors = None if console.legacy_windows else console.color_system  # an old Windows knows no escape codes
        self._colors = COLOR_SYSTEMS[colors] if colors else None
        self._no_color = console.no_color

    def write(self, text: str, style: str = "") -> None:
        """Write a piece, in one of rich's styles."""
        if not text:
            return
        self._last = text[-1]
        if self._escapes:
            text = visible(text, keep="\n\t")
        if style and self._colors is not None:
            made = Style.parse(style)
            made = made.without_color if self._no_color else made
            text = made.render(text, color_system=self._colors)
        sys.stdout.write(text)
        sys.stdout.flush()

    def end_line(self) -> None:
        """End the line, if one has begun."""
        if self._last != "\n":
            self.write("\n")


def standard_input() -> Iterator[str]:
    """The lines of standard input, as they come; a mark of the byte order at its start is left out.

    Raises:
        DataError: It is not UTF-8.
    """
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="\n")
    try:
        while line := stream.readline(_LONGEST):
            yield line
    except UnicodeDecodeError as error:
        got = f"the byte {error.object[error.start]:02x}"
        raise DataError(describe("standard input", expected="UTF-8 text", got=got)) from error
    finally:
        stream.detach()  # standard input itself stays open
