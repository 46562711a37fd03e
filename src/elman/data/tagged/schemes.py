"""Spans of tokens as a tag a token: BIO, BIOES and their relatives.

=========  =============================================================================================
BIO        ``B-X`` begins a span of the kind X, ``I-X`` goes on with it, ``O`` is outside
BIOES      ``E-X`` ends a span of two or more tokens, ``S-X`` is a span of one (BILOU: ``L-X``, ``U-X``;
           BMES: ``M-X`` in place of ``I-X``)
IOB1       BIO, but ``B-X`` only where a span follows on one of its own kind (CoNLL-2003)
=========  =============================================================================================

A kind may be missing where there is but one: ``B``, ``I``, ``O``. All of them are read by one rule, that of `spans`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from elman.errors import OptionError, describe

__all__ = ["Scheme", "complete", "convert", "detect", "is_tag", "respell", "spans"]

Scheme = Literal["BIO", "BIOES"]

_LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}


def detect(tags: Iterable[Sequence[str]]) -> Scheme | Literal["IOB1"] | None:
    """Find out which scheme the tags of a data set are in.

    BIO and IOB1 have the same tags; the one is chosen whose rules fewer of them break.

    Args:
        tags: Of each sentence; the more of them, the surer the answer.

    Returns:
        None where they are plain labels: where any tag is of no scheme, or none but ``O`` occurs.

    Example:
        >>> detect([["B-NP", "I-NP", "O"]]), detect([["S-NP", "O"]]), detect([["I-PER", "O", "I-LOC"]])
        ('BIO', 'BIOES', 'IOB1')
        >>> print(detect([["DET", "NOUN"]]))
        None
    """
    sentences = list(tags)
    different = {tag for sentence in sentences for tag in sentence}
    if not all(map(is_tag, different)) or not _is_scheme(different - {"O"}):
        return None
    if {tag[0] for tag in different} - set("BIO"):
        return "BIOES"
    without_begin = begins_in_vain = 0
    for sentence in sentences:
        for before, tag in pairwise(("O", *sentence)):
            follows = before[1:] == tag[1:] and before != "O"
            without_begin += tag[0] == "I" and not follows
            begins_in_vain += tag[0] == "B" and not follows
    return "IOB1" if begins_in_vain < without_begin else "BIO"


def _is_scheme(tags: set[str]) -> bool:
    """Whether letters stand for the places in a span: with kinds they do; single letters can be plain labels, too."""
    if all(len(tag) > 2 for tag in tags):
        return bool(tags)
    return "B" in tags and (tags <= {"B", "I"} or {"E", "S"} <= tags <= {"B", "I", "M", "E", "S"})


def is_tag(tag: str) -> bool:
    """Whether a tag is of one of the schemes: ``O``, or a letter and a kind.

    Example:
        >>> is_tag("B-NP"), is_tag("O"), is_tag("NN"), is_tag("B-")
        (True, True, False, False)
    """
    return tag == "O" or (tag[:1] in _LETTERS and (len(tag) == 1 or (tag[1] == "-" and len(tag) > 2)))


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Read the spans of a sentence, also from tags that break the rules, as predictions may.

    As conlleval does: a span goes on with ``I`` and ``E`` of its own kind; any other letter, another kind and whatever
    follows ``E`` or ``S`` begins a new one.

    Args:
        tags: Of one sentence, in any of the schemes.

    Returns:
        (kind, first, last + 1) of each, in their order.

    Raises:
        OptionError: A tag that is of no scheme.

    Source: conlleval, Tjong Kim Sang & Buchholz, "Introduction to the CoNLL-2000 Shared Task: Chunking", 2000.

    Example:
        >>> spans(["B-NP", "I-NP", "O", "I-VP", "I-NP"])
        [('NP', 0, 2), ('VP', 3, 4), ('NP', 4, 5)]
    """
    found = []
    open_kind, first = None, 0
    for place, tag in enumerate(tags):
        letter, kind = _parts(tag)
        if open_kind is not None and (kind != open_kind or letter not in "IE"):
            found.append((open_kind, first, place))
            open_kind = None
        if letter == "O":
            continue
        if open_kind is None:
            open_kind, first = kind, place
        if letter in "ES":
            found.append((kind, first, place + 1))
            open_kind = None
    if open_kind is not None:
        found.append((open_kind, first, len(tags)))
    return found


@lru_cache(maxsize=1 << 12)
def _parts(tag: str) -> tuple[str, str]:
    """The letter of a tag in BIOES, and its kind."""
    if not is_tag(tag):
        raise OptionError(describe("tag", expected="O, or B-, I-, E- or S- and a kind", got=repr(tag)))
    return _LETTERS.get(tag[0], "O"), tag[2:]


def respell(tags: Sequence[str]) -> tuple[str, ...]:
    """Write the letters of BILOU and BMES as those of BIOES, and change nothing else.

    Raises:
        OptionError: A tag that is of no scheme.

    Example:
        >>> respell(["U-LOC", "O", "B-PER", "M-PER", "L-PER"])
        ('S-LOC', 'O', 'B-PER', 'I-PER', 'E-PER')
    """
    return tuple(_parts(tag)[0] + tag[1:] for tag in tags)


def convert(tags: Sequence[str], to: Scheme) -> tuple[str, ...]:
    """Write the spans of a sentence in another scheme; in the same one, what breaks its rules is put right.

    Args:
        tags: Of one sentence, in any of the schemes.
        to: "BIO" or "BIOES".

    Raises:
        OptionError: A tag that is of no scheme.

    Example:
        >>> convert(["I-PER", "I-PER", "O", "U-LOC"], "BIO")
        ('B-PER', 'I-PER', 'O', 'B-LOC')
        >>> convert(["B-NP", "I-NP", "B-NP"], "BIOES")
        ('B-NP', 'E-NP', 'S-NP')
    """
    written = ["O"] * len(tags)
    for kind, first, end in spans(tags):
        suffix = f"-{kind}" if kind else ""
        written[first:end] = (letter + suffix for letter in _written(end - first, to))
    return tuple(written)


def complete(tags: Iterable[str], scheme: Scheme | None) -> tuple[str, ...]:
    """Return the tags that a model chooses from: with a scheme, every letter of every kind, whether it was seen or not.

    Args:
        tags: The tags that occur, in that scheme.
        scheme: None for plain labels, of which there are no others.

    Returns:
        Each once, in an order that depends on nothing else.

    Raises:
        OptionError: A tag that is of no scheme.

    Example:
        >>> complete(["O", "B-VP", "I-NP"], "BIO")
        ('O', 'B-NP', 'I-NP', 'B-VP', 'I-VP')
        >>> complete(["VERB", "NOUN", "VERB"], None)
        ('NOUN', 'VERB')
    """
    if scheme is None:
        return tuple(sorted(set(tags)))
    kinds = sorted({_parts(tag)[1] for tag in set(tags) - {"O"}})
    return ("O", *(f"{letter}-{kind}" if kind else letter for kind in kinds for letter in scheme if letter != "O"))


def _written(length: int, scheme: Scheme) -> Iterator[str]:
    """The letters of a span."""
    yield "S" if scheme == "BIOES" and length == 1 else "B"
    for left in range(length - 1, 0, -1):
        yield "E" if scheme == "BIOES" and left == 1 else "I"
