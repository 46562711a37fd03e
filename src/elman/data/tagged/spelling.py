"""The tags of a data set's files brought into one scheme, and what there is to say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, get_args

from elman.data.tagged.columns import TokenFile
from elman.data.tagged.schemes import Scheme, convert, detect, is_tag, respell
from elman.data.tagged.sentences import Sentence
from elman.errors import OptionError, describe

__all__ = ["Wanted", "checked_scheme", "in_scheme"]

Wanted = Literal["given", "BIO", "BIOES"]


def checked_scheme(scheme: str) -> None:
    """Refuse what is no scheme to have spans in.

    Raises:
        OptionError: It is none.
    """
    if scheme not in get_args(Wanted):
        raise OptionError(describe("scheme", expected="given, BIO or BIOES", got=repr(scheme)))


def in_scheme(
    files: Mapping[str, TokenFile], wanted: Wanted
) -> tuple[dict[str, list[Sentence]], Scheme | None, list[str]]:
    """Bring the tags of all files into one scheme.

    Args:
        files: By split.
        wanted: "given" for the scheme that they are in, where it is BIO or BIOES.

    Returns:
        The sentences by split, their scheme (None for plain labels), and notes on what was done.

    Raises:
        OptionError: A scheme is wanted for plain labels.
    """
    given = detect([sentence.tags for file in files.values() for sentence in file.sentences])
    if given is None:
        stranger = _stranger(files)
        if wanted != "given":
            expected = "left as given where tags are plain labels"
            raise OptionError(describe("scheme", expected=expected, got=wanted, cause=stranger))
        return {split: file.sentences for split, file in files.items()}, None, [stranger] if stranger else []
    own: Scheme = "BIO" if given == "IOB1" else given
    scheme = own if wanted == "given" else wanted
    notes = [f"the spans were in {given} and are in {scheme} now"] if given != scheme else []
    splits = {}
    for split, file in files.items():
        repaired = [convert(sentence.tags, own) for sentence in file.sentences]
        if given != "IOB1":
            notes += _repairs(file, repaired, own)
        tags = repaired if own == scheme else [convert(each, scheme) for each in repaired]
        splits[split] = [replace(sentence, tags=new) for sentence, new in zip(file.sentences, tags, strict=True)]
    return splits, scheme, notes


def _repairs(file: TokenFile, repaired: list[tuple[str, ...]], scheme: Scheme) -> list[str]:
    """A note on the tags that break the rules of their scheme."""
    count, first = 0, 0
    for sentence, line, right in zip(file.sentences, file.lines, repaired, strict=True):
        if sentence.tags == right:
            continue
        wrong = sum(a != b for a, b in zip(respell(sentence.tags), right, strict=True))
        first = first or (line if wrong else 0)
        count += wrong
    if not count:
        return []
    where = f"the first in the sentence of line {first:,}"
    return [f"{file.name}: {count:,} tags broke the rules of {scheme} and were put right, {where}"]


def _stranger(files: Mapping[str, TokenFile]) -> str:
    """A note on the first tag that is of no scheme, where others are of one: it may be a slip."""
    tags = {tag for file in files.values() for sentence in file.sentences for tag in sentence.tags}
    if not any(len(tag) > 1 and is_tag(tag) for tag in tags):
        return ""
    for file in files.values():
        for sentence, line in zip(file.sentences, file.lines, strict=True):
            for tag in sentence.tags:
                if tag != "O" and not (len(tag) > 1 and is_tag(tag)):
                    where = f"{file.name}, the sentence of line {line:,}"
                    return f"The tags are plain labels, since {tag!r} is of no scheme ({where})."
    return ""
