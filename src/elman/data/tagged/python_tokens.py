"""The tokens of Python's own source: a character of a program, and which kind of token it belongs to.

Every CPython brings the files along, and its `tokenize` says what is right, so that this data needs no network.
"""

from __future__ import annotations

import io
import keyword
import platform
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from elman.data.entry import Entry
from elman.data.tagged.characters import pieces_between
from elman.data.tagged.sentences import Sentence
from elman.errors import DataError, describe

__all__ = ["PYTHON_TOKENS", "python_splits", "tagged_source"]

PYTHON_TOKENS = Entry(
    name="python-tokens",
    description="characters of Python's standard library with their kind of token, differs between Python's versions",
    licence="PSF License Version 2",
)

_LARGEST = 40_000  # bytes of a module: many small ones say more than few large ones
_HELD = {
    "validation": ("calendar", "csv", "glob", "gzip", "shlex", "textwrap"),
    "test": ("heapq", "mimetypes", "queue", "socketserver", "timeit", "trace"),
}
_KINDS = {
    tokenize.NUMBER: "number",
    tokenize.STRING: "string",
    tokenize.OP: "operator",
    tokenize.COMMENT: "comment",
}
# From Python 3.12 on an f-string, from 3.14 on a t-string, is many tokens between these two.
_STRING_STARTS = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_STRING_ENDS = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}


class _Token(NamedTuple):
    """A token, by the places of its characters in the text."""

    kind: str
    begin: int
    end: int


def python_splits() -> tuple[dict[str, list[Sentence]], str]:
    """The sentences by split, and a note on where they are from; modules are held out whole.

    Raises:
        DataError: This Python lacks the source of its library, or it cannot be read.

    Example:
        >>> splits, note = python_splits()
        >>> sentence = splits["test"][0]
        >>> len(sentence.tokens) == len(sentence.tags) <= 256
        True
    """
    held = {name: split for split, names in _HELD.items() for name in names}
    splits: dict[str, list[Sentence]] = {"train": [], **{split: [] for split in _HELD}}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        if path.stem in sys.stdlib_module_names and path.stat().st_size <= _LARGEST:
            try:
                splits[held.get(path.stem, "train")] += _of_file(path)
            except OSError as error:
                got = error.strerror or str(error)
                raise DataError(describe(str(path), expected="readable", got=got)) from error
    if not all(splits.values()):
        cause = "Some systems leave it out of Python; give another --data."
        expected = "in the source of Python's standard library"
        raise DataError(describe(PYTHON_TOKENS.name, expected=expected, got="none", cause=cause))
    note = f"from the source of Python {platform.python_version()}; other versions have other text"
    return splits, note


def _of_file(path: Path) -> list[Sentence]:
    """The sentences of a module; none of one that is no Python for this version."""
    try:
        with tokenize.open(path) as file:
            return tagged_source(file.read())
    except (SyntaxError, tokenize.TokenError, UnicodeDecodeError):
        return []


def tagged_source(text: str) -> list[Sentence]:
    r"""Tag every character of a program with its kind of token, in BIO, and cut it into sentences.

    The kinds are keyword, name, number, string, operator and comment; what is between tokens is ``O``. Sentences are at
    most 256 characters and end where a logical line does, where one fits; in a longer one they end with a line, and the
    rest of a token that is cut there begins anew.

    Raises:
        SyntaxError: It is no Python.
        tokenize.TokenError: It ends within a token or brackets.

    Example:
        >>> sentence, = tagged_source("x = 12\n")
        >>> [tag for token, tag in zip(sentence.tokens, sentence.tags)]
        ['B-name', 'O', 'B-operator', 'O', 'B-number', 'I-number', 'O']
    """
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    tags = ["O"] * len(text)
    ends, depth = [], 0
    for token in _tokens(text, starts):
        if token.kind == "end of line":
            if depth == 0:
                ends.append(token.end)
            continue
        if token.kind == "operator":
            depth += (text[token.begin] in "([{") - (text[token.begin] in ")]}")
        tags[token.begin : token.end] = [f"I-{token.kind}"] * (token.end - token.begin)
        tags[token.begin] = f"B-{token.kind}"
    return [_piece(text, tags, begin, end) for begin, end in pieces_between(len(text), ends, starts)]


def _piece(text: str, tags: list[str], begin: int, end: int) -> Sentence:
    first = tags[begin].replace("I-", "B-", 1)  # the rest of a token that is cut here
    return Sentence(tuple(text[begin:end]), (first, *tags[begin + 1 : end]))


def _tokens(text: str, starts: list[int]) -> Iterator[_Token]:
    """The tokens of a program, and the ends of its lines outside of tokens; an f-string is one string."""
    depth, first = 0, 0  # how many f-strings are open, one in the other, and where the first of them began
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        begin, end = (starts[row - 1] + column for row, column in (token.start, token.end))
        if token.type == tokenize.ERRORTOKEN:
            raise SyntaxError(f"no token: {token.string!r}")
        if token.type in _STRING_STARTS:
            first = first if depth else begin
            depth += 1
        elif token.type in _STRING_ENDS:
            depth -= 1
            if depth == 0:
                yield _Token("string", first, end)
        elif depth == 0 and begin < end:
            if token.type == tokenize.NAME:
                yield _Token("keyword" if keyword.iskeyword(token.string) else "name", begin, end)
            elif token.type in _KINDS:
                yield _Token(_KINDS[token.type], begin, end)
            elif token.type in (tokenize.NEWLINE, tokenize.NL):
                yield _Token("end of line", begin, end)
