"""The English of Python's own documentation topics: a small text that every CPython brings along."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from textwrap import dedent

from elman.data.entry import Entry
from elman.errors import DataError, describe

__all__ = ["PYDOC", "english", "pydoc_splits"]

PYDOC = Entry(
    name="pydoc",
    description="the English of Python's own documentation topics, differs between Python's versions",
    licence="PSF License Version 2",
)

_SHARE = 20  # a twentieth of the text each for validation and test
_SHORTEST = 4  # words of a sentence
_LONGEST_CODE = 12  # characters that may stand in one

_CODE = re.compile(r"^\s*(>>>|\.\.\. |[|+]|\(Pdb\))|::=|^[=+\-* ]{4,}$", re.MULTILINE)
_MARK = re.compile(r"^( *)(\*|\d+\.|\(\d+\)|\[\d+\]) +")  # of a list or a footnote
_LABEL = re.compile(
    r"^(?:(?:New|Added|Changed|Deprecated)[^.:]*? version [\w.]+(?:, [^:]*)?|Note|Warning|See also|Availability): *"
)
_LITERAL = re.compile(r'""([^"]+)""|"([^"]+)"|“([^”]+)”|‘([^’]+)’(?!\w)')
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(?=[\w_])([^*]+?)(?<=\w)\1(?![\w*])")
_TOKEN = re.compile(r"(?:e\.g|i\.e|etc|cf|vs)\.|\w+(?:[-'./:]\w+)*(?:\(\))?|\.\.\.|\S")
_CONTRACTION = re.compile(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))$")
_NAME = re.compile(r"[\w.]+(?:\(\))?")
_STOPS = frozenset(".?!")
_FOREIGN = frozenset('"=<>{}|\\^~@&*_+[]/`')  # what a sentence does not have outside quotation marks


def pydoc_splits() -> tuple[dict[str, str], str]:
    """The text by split, and a note on where it is from.

    Raises:
        DataError: This Python lacks its topics.

    Example:
        >>> splits, note = pydoc_splits()
        >>> splits["train"].splitlines()[0]
        'Assert statements are a convenient way to insert debugging assertions into a program :'
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        cause = "Some systems leave it out of Python; give another --data."
        raise DataError(describe("pydoc", expected="in Python's pydoc_data", got="none", cause=cause)) from error
    note = f"from the documentation of Python {platform.python_version()}; other versions have other text"
    return _split(english(topics)), note


def english(topics: Mapping[str, str]) -> dict[str, list[str]]:
    r"""The sentences of documentation topics: no code, tables, grammar or headings, and each sentence once.

    Args:
        topics: Plain text as Sphinx writes it, by name.

    Returns:
        The sentences of each topic, tokens set apart by a space, topics in alphabetical order.

    Example:
        >>> topic = 'Calls\n*****\n\nThis calls the\n*primary* (see "Callable").\n\n   f(x) # not English.\n'
        >>> english({"calls": topic})
        {'calls': ['This calls the primary ( see “ Callable ” ) .']}
    """
    seen: set[str] = set()
    found = {}
    for name in sorted(topics):
        sentences = [sentence for block in re.split(r"\n\s*\n", topics[name]) for sentence in _sentences(block)]
        found[name] = list(dict.fromkeys(sentence for sentence in sentences if sentence not in seen))
        seen.update(sentences)
    return found


def _split(sentences: Mapping[str, list[str]]) -> dict[str, str]:
    """Whole topics to validation and test, as long as each keeps to its share of what was read so far."""
    sizes = {name: sum(map(len, lines)) for name, lines in sentences.items()}
    splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    held = dict.fromkeys(("validation", "test"), 0)
    read = 0
    for name, lines in sentences.items():
        read += sizes[name]
        behind = min(held, key=lambda split: held[split])
        fits = held[behind] + sizes[name] <= read // _SHARE
        splits[behind if fits else "train"] += lines
        if fits:
            held[behind] += sizes[name]
    return {split: "".join(f"{line}\n" for line in lines) for split, lines in splits.items()}


def _sentences(block: str) -> Iterator[str]:
    """The sentences of a block between blank lines; none where it is something else."""
    if _CODE.search(block):
        return
    lines = dedent(_MARK.sub(lambda mark: " " * len(mark[0]), block.expandtabs())).splitlines()
    while lines and _is_term(lines):
        lines = dedent("\n".join(lines[1:])).splitlines()
    text = re.sub(r"(?<=\w)-\n\s*(?=\w)", "-", "\n".join(lines))
    text = re.sub(r"\s*\[\d+\]", "", _LABEL.sub("", " ".join(text.split())))
    tokens = list(_tokens(text))
    begin = 0
    for end in range(1, len(tokens) + 1):
        following = tokens[end] if end < len(tokens) else ""
        if _ends(tokens[begin:end], following):
            if _is_english(tokens[begin:end]):
                yield " ".join(tokens[begin:end])
            begin = end


def _is_term(lines: list[str]) -> bool:
    """Whether the first line is what a definition list explains: the other lines are indented under it."""
    return len(lines) > 1 and all(line.startswith(" ") for line in lines[1:] if line)


def _tokens(text: str) -> Iterator[str]:
    """Words and punctuation; what is quoted stays between quotation marks."""
    place = 0
    for match in _LITERAL.finditer(text):
        yield from _plain(text[place : match.start()])
        quoted = match[1] or match[2]
        yield from ("“", *(_tokens(match[3] or match[4]) if quoted is None else _code(quoted)), "”")
        place = match.end()
    yield from _plain(text[place:])


def _plain(text: str) -> Iterator[str]:
    text = _EMPHASIS.sub(r"\2", text.replace("’", "'").replace("…", "..."))
    for token in _TOKEN.findall(text):
        yield from filter(None, _CONTRACTION.split(token))


def _code(literal: str) -> list[str]:
    """A name, an operator or some words as they are; longer code as a mark that no sentence has."""
    words = literal.split()
    return words if len(literal) <= _LONGEST_CODE or all(map(_NAME.fullmatch, words)) else ["`"]


def _ends(tokens: list[str], following: str) -> bool:
    """Whether a sentence ends here."""
    if tokens[-1] == ")" and tokens[0] == "(":
        return tokens[-2] in _STOPS
    begins = not following or following in {"“", "("} or following[0].isupper()
    return (tokens[-1] in _STOPS and begins) or (tokens[-1] == ":" and not following)


def _is_english(tokens: list[str]) -> bool:
    """Whether tokens read as a sentence: mostly words, and no signs of code outside quotation marks."""
    if not (tokens[0] in {"“", "("} or tokens[0][0].isupper()):
        return False
    depth, words, others = 0, 0, 0
    for token in tokens:
        depth += (token == "“") - (token == "”")
        if token == "`" or (depth == 0 and token in _FOREIGN):
            return False
        words += token.isalpha()
        others += not token.isalpha() and len(token) > 1
    return words >= max(_SHORTEST, 2 * others) and tokens.count("(") == tokens.count(")")
