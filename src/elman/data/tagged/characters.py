"""Running text as sequences of its characters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from elman.data.tagged.sentences import Sentence

__all__ = ["cut_text", "pieces_between"]

_LONGEST = 256  # characters; a longer line is cut


def cut_text(text: str) -> list[Sentence]:
    r"""Cut a text into sequences of at most 256 characters, where lines end; together they are the text.

    Example:
        >>> [len(piece) for piece in cut_text("x = 1\n" * 100)]
        [252, 252, 96]
    """
    ends = [place + 1 for place, character in enumerate(text) if character == "\n"]
    return [Sentence(tuple(text[begin:end])) for begin, end in pieces_between(len(text), ends)]


def pieces_between(length: int, ends: Iterable[int], others: Iterable[int] = ()) -> list[tuple[int, int]]:
    """Cut a text into pieces of at most 256 characters, as long as they may be.

    Args:
        length: Of the text.
        ends: Where it is best to cut.
        others: Where to cut what is too long otherwise; what still is, is cut anywhere.

    Returns:
        (begin, end) of each, which follow on each other.

    Example:
        >>> pieces_between(700, [100, 200, 580], [400, 440])
        [(0, 200), (200, 440), (440, 580), (580, 700)]
    """
    best, second = sorted(ends), sorted(others)
    pieces, begin = [], 0
    while begin < length:
        limit = begin + _LONGEST
        end = length if length <= limit else _last(best, begin, limit) or _last(second, begin, limit) or limit
        pieces.append((begin, end))
        begin = end
    return pieces


def _last(places: Sequence[int], begin: int, limit: int) -> int | None:
    """The last place after `begin` and up to `limit`."""
    index = bisect_right(places, limit) - 1
    return places[index] if index >= 0 and places[index] > begin else None
