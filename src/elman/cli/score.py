"""``elman score``: how likely a language model finds each word of a text."""

from __future__ import annotations

import heapq
import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Protocol

import tyro

from elman.cli.arguments import RunPath, parse
from elman.errors import DataError, describe

if TYPE_CHECKING:
    from elman.data import Vocabulary
    from elman.data.text.vocabulary import Level
    from elman.tasks import ScoredWord, Totals

__all__ = ["main"]

_LONGEST_LINE = 10_000  # words that are looked at together
_TABLE = 10  # rows
_CONTEXT = {"word": 4, "character": 24}  # entries before the word in a row

#: The style of a word of this probability or more.
_STYLES: Final = ((0.1, "dim"), (0.01, ""), (0.001, "yellow"), (0.0, "red"))
_MARKED = "bold underline"

_File = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="FILE")]]


def main(argv: Sequence[str]) -> int:
    """Run ``elman score RUN FILE``."""
    return parse(score, argv, "score")


def score(
    run: RunPath,
    file: _File,
    *,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    threads: int | None = None,
) -> int:
    """Say how likely a trained language model finds each word of a text, given all before it.

    On a terminal: the text in colours, the most surprising words of each line marked (its least likely one in twenty,
    at least one), then a table of the most surprising of all, and the perplexity.

    Elsewhere: a line for each word, log-probability, mark and word with tabs between them; * is a surprising word, ?
    one that the model does not know. Log-probabilities are natural logarithms. The text may be of any length.

    Args:
        run: The run directory of a language model, of words or of characters.
        file: A text file in UTF-8; - reads standard input.
        as_json: Print one JSON object: each word with what the model expected in its place, and the perplexity.
        threads: CPU threads; none: PyTorch's choice.
    """
    from elman.cli.threads import using_threads
    from elman.tasks import Totals, load_language_model, most_surprising, score_stream

    with using_threads(threads), ExitStack() as shown:
        model = load_language_model(run)
        report = _report(model.vocabulary, as_json)
        pieces = _text(file, model.vocabulary.level, _bar(_size(file), shown))
        totals = Totals()
        for line in _lines(word for scores in score_stream(model, pieces) for word in scores.words):
            marks = set(most_surprising(line))
            for place, word in enumerate(line):
                report.word(word, place in marks)
                totals += Totals(1, not word.known, word.log_probability)
        if totals.words == 0:
            raise DataError(describe(file, expected="a text", got="nothing in it"))
        report.end(totals)
    return 0


def _report(vocabulary: Vocabulary, as_json: bool) -> _Report:
    from rich.console import Console

    if as_json:
        return _Json(vocabulary.level)
    return _Terminal(vocabulary) if Console().is_terminal else _Lines()


class _Report(Protocol):
    """What is done with the scores, word by word."""

    def word(self, scored: ScoredWord, marked: bool) -> None: ...

    def end(self, totals: Totals) -> None: ...


class _Lines:
    """A line for each word."""

    def word(self, scored: ScoredWord, marked: bool) -> None:
        from elman.cli.texts import visible

        mark = "*" * marked + "?" * (not scored.known)
        sys.stdout.write(f"{scored.log_probability:.4f}\t{mark}\t{visible(scored.text)}\n")

    def end(self, totals: Totals) -> None:
        """Programs sum for themselves."""


class _Json:
    """One object, written as it grows."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self._before = '{"scores": ['

    def word(self, scored: ScoredWord, marked: bool) -> None:
        fields = {
            "text": scored.text,
            "known": scored.known,
            "surprising": marked,
            "log_probability": scored.log_probability,
            "expected": scored.expected,
            "expected_log_probability": scored.expected_log_probability,
        }
        sys.stdout.write(self._before + json.dumps(fields))
        self._before = ", "

    def end(self, totals: Totals) -> None:
        sums = {f"{self._level}s": totals.words, "unknown": totals.unknown, **totals.metrics(self._level)}
        sys.stdout.write(f"], {json.dumps(sums)[1:]}\n")


class _Terminal:
    """The text in colours, a table of the most surprising words, and the sums."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        from elman.cli.texts import Page

        self._page = Page()
        self._vocabulary = vocabulary
        self._context: deque[str] = deque(maxlen=_CONTEXT[vocabulary.level])
        self._before: int | None = None
        self._worst: list[tuple[float, int, str, ScoredWord]] = []
        self._count = 0

    def word(self, scored: ScoredWord, marked: bool) -> None:
        style = next(style for least, style in _STYLES if math.exp(scored.log_probability) >= least)
        style = f"{style} {_MARKED}" if marked else style
        space = self._vocabulary.spacing(self._before, scored.word)
        # Of equally likely words the first: the heap gives up what is likelier or later.
        entry = (-scored.log_probability, -self._count, "".join(self._context), scored)
        (heapq.heappushpop if len(self._worst) == _TABLE else heapq.heappush)(self._worst, entry)
        if _ends_line(scored):
            self._page.write("↵" if marked else "", style)
            self._page.write("\n")
            self._context.clear()
        else:
            self._page.write(space)
            self._page.write(scored.text, style)
            self._context.append(space + scored.text)
        self._before, self._count = scored.word, self._count + 1

    def end(self, totals: Totals) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        self._page.end_line()
        shades = [Text(f"{least:g} or more" if least else "less", style) for least, style in _STYLES]
        legend = Text("  ").join([Text("probability"), *shades, Text("most surprising of the line", _MARKED)])
        table = Table("before", "word", "log p", "expected", "p", box=None, pad_edge=False)
        for column in (0, 2, 4):
            table.columns[column].justify = "right"
        for surprise, _, context, word in sorted(self._worst, reverse=True):
            known, expected = "" if word.known else " (unknown)", f"{math.exp(word.expected_log_probability):.3f}"
            cells = (_cell(context), _cell(word.text) + known, f"{-surprise:.2f}", _cell(word.expected), expected)
            table.add_row(*(Text(cell, overflow="ellipsis", no_wrap=True) for cell in cells))
        level = self._vocabulary.level
        numbers = {f"{level}s": f"{totals.words:,}", "unknown": f"{totals.unknown:,}"}
        numbers |= {name: f"{value:.4f}" for name, value in totals.metrics(level).items()}
        width = max(map(len, numbers))
        console = Console(highlight=False)
        console.print("", legend, "", table, "", sep="\n")
        for name, value in numbers.items():
            console.print(f"{name:<{width}}  {value}")


def _lines(words: Iterable[ScoredWord]) -> Iterator[list[ScoredWord]]:
    """The words of each line; of a very long one, so many at a time."""
    line: list[ScoredWord] = []
    for word in words:
        line.append(word)
        if _ends_line(word) or len(line) == _LONGEST_LINE:
            yield line
            line = []
    if line:
        yield line


def _ends_line(word: ScoredWord) -> bool:
    return word.text in {"\n", "<eos>"}


def _cell(text: str) -> str:
    """A text in a table, where a space alone would not be seen."""
    from elman.cli.texts import visible

    return repr(text) if text.isspace() else visible(text.strip())


def _text(file: str, level: Level, advance: Callable[[int], None]) -> Iterator[str]:
    """The text line by line; at word level the last one ends as the others do. Tells how many bytes are done."""
    from elman.cli.texts import standard_input
    from elman.data.text.files import TextFile

    if file != "-":
        path = Path(file).expanduser()
        for block in TextFile(path, 0, path.stat().st_size).blocks(level, lambda done, total: None):
            for line in block.splitlines(keepends=True):
                yield line
                advance(len(line.encode()))
        return
    piece = "\n"
    for piece in standard_input():
        yield piece
        advance(len(piece.encode()))
    if level == "word" and not piece.endswith("\n"):
        yield "\n"


def _bar(total: int | None, shown: ExitStack) -> Callable[[int], None]:
    """A bar on standard error, where that is a terminal and the text itself is not on one."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    hidden = not console.is_terminal or Console().is_terminal
    # Left to itself rich would send the lines of standard output to the bar's console.
    bars = shown.enter_context(Progress(console=console, transient=True, disable=hidden, redirect_stdout=False))
    task = bars.add_task("scoring", total=total)
    return lambda size: bars.advance(task, size)


def _size(file: str) -> int | None:
    """Bytes of a file; None for standard input, of which nobody knows."""
    if file == "-":
        return None
    path = Path(file).expanduser()
    if not path.is_file():
        got = "a folder" if path.is_dir() else "neither a file nor a folder" if path.exists() else "nothing there"
        cause = "A text from a pipe is read from standard input: -" if path.exists() and not path.is_dir() else ""
        raise DataError(describe(file, expected="a text file", got=got, cause=cause))
    return path.stat().st_size
