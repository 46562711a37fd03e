"""The answer of a tagger to one sentence, or to one text of characters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from elman.data import Level, spans

__all__ = ["Span", "TagPrediction"]

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red", "bright_cyan", "bright_green", "bright_magenta")


class Span(NamedTuple):
    """A stretch of words (or characters) of one kind.

    Attributes:
        kind: such as ``NP``.
        start: its first word.
        end: the word after its last one.
        text: what it says.
    """

    kind: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class TagPrediction:
    """The tags of a sentence, or of a text of characters.

    Attributes:
        source: the file and line, or what else it came from.
        tokens: words; or characters.
        tags: one a token.
        probabilities: of each tag at its place.
        level: whether tokens are words or characters.
        spans_are_written: whether tags write spans, in BIO; they are labels without more otherwise.
        kinds: all that the model knows, so that each has its colour.
        truth: the tags they have, where that is known.
    """

    source: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    probabilities: tuple[float, ...]
    level: Level
    spans_are_written: bool
    kinds: tuple[str, ...]
    truth: tuple[str, ...] | None = None

    @property
    def spans(self) -> list[Span]:
        """The spans that the tags write; each token for itself where tags are labels without more."""
        found = spans(self.tags) if self.spans_are_written else [(tag, k, k + 1) for k, tag in enumerate(self.tags)]
        between = " " if self.level == "word" else ""
        return [Span(kind, start, end, between.join(self.tokens[start:end])) for kind, start, end in found]

    def as_json(self) -> dict[str, Any]:
        """Return the answer for programs; a text of characters as one string."""
        fields: dict[str, Any] = {
            "source": self.source,
            "tokens": list(self.tokens) if self.level == "word" else "".join(self.tokens),
            "tags": list(self.tags),
            "probabilities": [round(p, 6) for p in self.probabilities],
        }
        if self.spans_are_written:
            fields["spans"] = [span._asdict() for span in self.spans]
        return fields if self.truth is None else fields | {"truth": list(self.truth)}

    def as_conll(self) -> str:
        r"""Return columns: token, the tag it has where that is known, tag; and an empty line at the end.

        Of characters a line is a span and its kind, with a tab between them and ``\n`` and ``\t`` for white space.
        """
        if self.level == "character" and self.spans_are_written:
            return "".join(f"{_escaped(span.text)}\t{span.kind}\n" for span in self.spans) + "\n"
        separator = " " if self.level == "word" else "\t"
        columns = (self.tokens, self.tags) if self.truth is None else (self.tokens, self.truth, self.tags)
        rows = [separator.join((_escaped(token), *tags)) for token, *tags in zip(*columns, strict=True)]
        return "\n".join([*rows, "", ""])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show the text with its spans: coloured, in brackets where they are words; line by line without colours."""
        coloured = console.color_system is not None and not console.no_color
        if self.level == "word":
            yield self._sentence(self.tags)
            if self.truth is not None and self.truth != self.tags:
                yield Text("it is: ", style="dim").append_text(self._sentence(self.truth))
        elif coloured:
            yield self._painted()
        else:
            yield Text("\n".join(f"{span.kind:<10} {_escaped(span.text)}" for span in self.spans))

    def _sentence(self, tags: tuple[str, ...]) -> Text:
        line = Text()
        for piece, kind in _pieces(self.tokens, tags, self.spans_are_written):
            if kind is None:
                line.append(f"{piece} ")
            elif not self.spans_are_written:
                line.append(piece).append(f"/{kind} ", style=self._style(kind))
            else:
                line.append(f"[{kind} ", style=self._style(kind)).append(piece).append("] ", style=self._style(kind))
        line.rstrip()
        return line

    def _painted(self) -> Text:
        text = Text("".join(self.tokens))
        for kind, start, end, _ in self.spans:
            text.stylize(self._style(kind), start, end)
        return text

    def _style(self, kind: str) -> str:
        return _COLOURS[self.kinds.index(kind) % len(_COLOURS)] if kind in self.kinds else ""


def _pieces(
    tokens: tuple[str, ...], tags: tuple[str, ...], spans_are_written: bool
) -> Iterator[tuple[str, str | None]]:
    """Yield spans with their kinds, and single words between them with None."""
    place = 0
    for kind, start, end in spans(tags) if spans_are_written else [(tag, k, k + 1) for k, tag in enumerate(tags)]:
        yield from ((token, None) for token in tokens[place:start])
        yield " ".join(tokens[start:end]), kind
        place = end
    yield from ((token, None) for token in tokens[place:])


def _escaped(token: str) -> str:
    return token.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
