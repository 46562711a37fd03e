"""A file with a token a line: CoNLL columns and CoNLL-U."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TextIO

from elman.data.tagged.lines import text_lines
from elman.data.tagged.sentences import Sentence
from elman.errors import DataError, OptionError, describe, did_you_mean

__all__ = ["Columns", "TokenFile", "read_columns"]

_CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_UNANNOTATED = "_"  # in CoNLL-U
_WORD = re.compile(r"[0-9]+")
_NO_WORD = re.compile(r"[0-9]+(-|\.)[0-9]+")  # a range of words that is written as one, or an empty node
_LONGEST = 1 << 16  # tokens of a sentence


@dataclass(frozen=True)
class Columns:
    """Where in a line words, tags and features are.

    A column is a number from 0 on, from the right below 0 (-1 is the last one); in CoNLL-U also a name, such as XPOS.

    Args:
        words: None for the first one, in CoNLL-U FORM.
        tags: None for the last one, in CoNLL-U UPOS.
        features: Further columns.
    """

    words: int | str | None = None
    tags: int | str | None = None
    features: tuple[int | str, ...] = ()


@dataclass(frozen=True)
class TokenFile:
    """What a file held.

    Attributes:
        name: Of the file.
        sentences: In their order; their tags are empty where the file has none.
        lines: The line that each sentence begins in, from 1 on.
        columns: Where the parts were, as numbers from 0 on; its tags are None where there were none.
        width: Columns of the file.
    """

    name: str
    sentences: list[Sentence]
    lines: list[int]
    columns: Columns
    width: int


@dataclass(frozen=True)
class _Layout:
    """The form of the lines of a file.

    Args:
        name: Of the file.
        width: Its columns.
        line: The line that this was learnt from.
        separator: A tab; or nothing, for spaces and tabs, any number of them.
        conllu: Whether comments, ranges and empty nodes are left out.
    """

    name: str
    width: int
    line: int
    separator: str
    conllu: bool

    def fields(self, number: int, line: str) -> list[str]:
        """The columns of a line."""
        fields = _split(line, self.separator)
        if len(fields) != self.width:
            expected = (
                "ten, set apart by tabs, as CoNLL-U has" if self.conllu else f"{self.width}, as in line {self.line:,}"
            )
            cause = "Comments are for CoNLL-U." if line.startswith("#") else ""
            raise self._refusal(number, "columns", expected, str(len(fields)), cause)
        if not all(fields):
            raise self._refusal(number, "columns", "set apart by a tab each", "an empty one")
        return fields

    def is_word(self, number: int, identifier: str) -> bool:
        """Whether a line of CoNLL-U is a word of its own."""
        if _WORD.fullmatch(identifier):
            return True
        if _NO_WORD.fullmatch(identifier):
            return False
        raise self._refusal(number, "ID", "a number such as 3, 3-4 or 3.1", repr(identifier))

    def _refusal(self, number: int, what: str, expected: str, got: str, cause: str = "") -> DataError:
        return DataError(describe(f"{self.name}, line {number:,}: {what}", expected=expected, got=got, cause=cause))


def read_columns(source: Path | TextIO, columns: Columns, *, tagged: bool) -> TokenFile:
    """Read a file with a token a line, an empty line after each sentence.

    CoNLL-U is told by ten columns that begin with a number, or by the name of the file; there comments, ranges of words
    and empty nodes are left out. Elsewhere columns are set apart by tabs, or by spaces where the first line has no tab,
    and lines with ``-DOCSTART-`` are left out.

    Args:
        source: The file, or a text stream.
        columns: Where in a line the parts are.
        tagged: Whether it must have tags; otherwise they are read where the column is there.

    Raises:
        DataError: No sentences, a line of another number of columns than the first, or what no text has.
        OptionError: A column that is not there, or two parts in the same one.
    """
    lines = text_lines(source)
    head = []
    for numbered in lines:
        head.append(numbered)
        if numbered[1].strip(" \t") and not numbered[1].startswith(("#", "-DOCSTART-")):
            break
    layout = _layout(source, head)
    found = _resolved(columns, layout, tagged)
    sentences, begins = [], []
    for begin, rows in _blocks(chain(head, lines), layout):
        sentences.append(_sentence(rows, found))
        begins.append(begin)
    if not sentences:
        raise _empty(layout.name)
    if found.tags is not None and layout.conllu and all(set(each.tags) == {_UNANNOTATED} for each in sentences):
        if tagged:
            raise DataError(describe(f"{layout.name}: {_CONLLU[int(found.tags)]}", expected="annotated", got="_ alone"))
        sentences = [replace(sentence, tags=()) for sentence in sentences]
        found = replace(found, tags=None)
    return TokenFile(layout.name, sentences, begins, found, layout.width)


def _split(line: str, separator: str) -> list[str]:
    if separator:
        return [field.strip(" ") for field in line.split(separator)]
    fields = line.split(" ")  # split() would cut at U+00A0 as well
    return fields if all(fields) and "\t" not in line else [field for field in re.split("[ \t]+", line) if field]


def _layout(source: Path | TextIO, head: list[tuple[int, str]]) -> _Layout:
    """Learn the form of a file from its first lines, of which the last one is the first with a token for sure."""
    name = str(source) if isinstance(source, Path) else getattr(source, "name", "the text")
    tokens = [(number, line) for number, line in head if line.strip(" \t") and not line.startswith("-DOCSTART-")]
    if not tokens:
        raise _empty(name)
    number, line = tokens[-1]
    separator = "\t" if "\t" in line else ""
    fields = _split(line, separator)
    is_conllu = len(fields) == len(_CONLLU) and bool(separator) and fields[0][0:1].isdigit()
    if is_conllu or (isinstance(source, Path) and ".conllu" in source.suffixes):
        return _Layout(name, len(_CONLLU), number, "\t", conllu=True)
    return _Layout(name, len(fields), number, separator, conllu=False)


def _empty(name: str) -> DataError:
    return DataError(describe(name, expected="one or more sentences, a token a line", got="none"))


def _blocks(lines: Iterator[tuple[int, str]], layout: _Layout) -> Iterator[tuple[int, list[list[str]]]]:
    """The lines of each sentence in their columns, and the number of the first."""
    rows: list[list[str]] = []
    begin = 0
    for number, line in chain(lines, [(0, "")]):
        if not line.strip(" \t") or line.startswith("-DOCSTART-"):
            if rows:
                yield begin, rows
            rows = []
            continue
        if layout.conllu and line.startswith("#"):
            continue
        fields = layout.fields(number, line)
        if layout.conllu and not layout.is_word(number, fields[0]):
            continue
        begin = begin if rows else number
        rows.append(fields)
        if len(rows) > _LONGEST:
            cause = "An empty line ends a sentence; are there none?"
            expected = f"at most {_LONGEST:,} tokens"
            raise DataError(
                describe(f"{layout.name}, line {begin:,}: the sentence", expected=expected, got="more", cause=cause)
            )


def _sentence(rows: list[list[str]], columns: Columns) -> Sentence:
    parts = list(zip(*rows, strict=True))

    def part(column: int | str) -> tuple[str, ...]:
        return tuple(map(sys.intern, parts[int(column)]))  # one copy of each word, however often it occurs

    tags = () if columns.tags is None else part(columns.tags)
    return Sentence(part(columns.words or 0), tags, tuple(map(part, columns.features)))


def _resolved(columns: Columns, layout: _Layout, tagged: bool) -> Columns:
    """The columns as numbers from 0 on; a single one is words, wherever they are elsewhere."""
    if layout.width == 1 and tagged:
        cause = "A line has a token and its tag, set apart by a space or a tab."
        raise DataError(describe(f"{layout.name}: columns", expected="two or more", got="one", cause=cause))
    if layout.width == 1 and not columns.features:
        return Columns(words=0)
    words = _place("word", "FORM" if columns.words is None and layout.conllu else columns.words or 0, layout)
    if layout.conllu and words == _CONLLU.index("ID"):
        cause = "Was the run trained on columns of another kind?"
        got = f"ID, as {layout.name} is CoNLL-U"
        raise OptionError(describe("word column", expected="a column of words, such as FORM", got=got, cause=cause))
    features = tuple(_place("feature", column, layout) for column in columns.features)
    tags: int | None
    if columns.tags is not None and not tagged and _is_beyond(columns.tags, layout):
        tags = None
    elif columns.tags is not None:
        tags = _place("tag", columns.tags, layout)
    else:
        tags = _CONLLU.index("UPOS") if layout.conllu else layout.width - 1
        if not tagged and tags in (words, *features):
            tags = None
    parts = [words, *([] if tags is None else [tags]), *features]
    if len(set(parts)) < len(parts):
        got = f"words in {words}, tags in {tags}, features in {', '.join(map(str, features)) or 'none'}"
        raise OptionError(describe(f"columns for {layout.name}", expected="different from each other", got=got))
    return Columns(words, tags, features)


def _is_beyond(column: int | str, layout: _Layout) -> bool:
    return isinstance(column, int) and not -layout.width <= column < layout.width


def _place(part: str, column: int | str, layout: _Layout) -> int:
    """The number of a column."""
    if isinstance(column, str):
        if layout.conllu and column.upper() in _CONLLU:
            return _CONLLU.index(column.upper())
        expected = "a column of CoNLL-U" if layout.conllu else f"a number for {layout.name}, which is no CoNLL-U"
        cause = did_you_mean(column.upper(), _CONLLU) if layout.conllu else ""
        raise OptionError(describe(f"{part} column", expected=expected, got=repr(column), cause=cause))
    if _is_beyond(column, layout):
        expected = f"from 0 to {layout.width - 1}, or from -{layout.width} to -1, as {layout.name} has {layout.width}"
        raise OptionError(describe(f"{part} column", expected=expected, got=str(column)))
    return column % layout.width
