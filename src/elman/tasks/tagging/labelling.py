"""A trained tagger at work on texts of the user's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

from elman.data import Sentence, by_length, convert, cut_text
from elman.data.text.files import TextFile
from elman.errors import DataError, describe
from elman.tasks.tagging.model import Tagger
from elman.tasks.tagging.prediction import TagPrediction
from elman.tasks.tagging.specification import EncodedSentences

__all__ = ["label_sentences", "label_text", "read_text"]

_AT_ONCE = 512  # sentences that are sorted by length together; the answers to them come at once
_BATCH = 32


def label_text(model: Tagger, text: str, source: str = "text") -> Iterator[TagPrediction]:
    """Label a text.

    For a tagger of words each line is a sentence, and its words are what stands between white space: punctuation is set
    off by spaces, as in the training data; blank lines are left out. A tagger of characters labels all of the text at
    once, in pieces as `elman.data.cut_text` makes them for training.

    Args:
        model: the tagger, as `elman.tasks.load_tagger` gives it.
        text: any text.
        source: what the predictions say they come from.
    """
    if model.specification.level == "character":
        yield _joined(label_sentences(model, cut_text(text) or [Sentence(())], source), source)
        return
    lines = [(number, tuple(line.split())) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    names = [f"{source}:{number}" for number, _ in lines]
    yield from label_sentences(model, (Sentence(words) for _, words in lines), names)


def label_sentences(
    model: Tagger, sentences: Iterable[Sentence], source: str | Sequence[str]
) -> Iterator[TagPrediction]:
    """Label sentences, in their order.

    Args:
        model: the tagger.
        sentences: with the further columns that it was trained with; tags are not looked at.
        source: what each prediction says it comes from, or one name for all, to which a number is added.

    Raises:
        DataError: a further column is missing.
    """
    model.eval()
    device, remaining, number = next(model.parameters()).device, iter(sentences), 0
    while some := [Sentence(s.tokens, features=s.features) for s in islice(remaining, _AT_ONCE)]:
        encoded = EncodedSentences(model.specification, some)
        answers: dict[int, tuple[list[int], list[float]]] = {}
        with torch.inference_mode():
            for which in by_length(encoded.lengths.tolist(), _BATCH):
                batch = encoded.batch(which).to(device)
                scores = model.scores(batch)
                labels = model.decode(scores, batch)
                probabilities = model.probabilities(scores, labels, batch)
                answers |= zip(which, zip(labels.tolist(), probabilities.tolist(), strict=True), strict=True)
        for row, sentence in enumerate(some):
            labels_of_row, probabilities_of_row = answers[row]
            size = len(sentence.tokens)
            name = f"{source}:{number + 1}" if isinstance(source, str) else source[number]
            yield _prediction(model, name, sentence.tokens, labels_of_row[:size], probabilities_of_row[:size])
            number += 1


def read_text(file: str) -> str:
    """Read a text file.

    Raises:
        DataError: it is missing, or not UTF-8 text.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        got = "a folder" if path.is_dir() else "nothing there"
        raise DataError(describe(file, expected="a text file", got=got, cause="A text itself goes after --text."))
    return "".join(TextFile(path, 0, path.stat().st_size).blocks("character", lambda done, total: None))


def _prediction(
    model: Tagger, source: str, tokens: tuple[str, ...], labels: Sequence[int], probabilities: Sequence[float]
) -> TagPrediction:
    known = model.specification
    tags = known.tags(labels)
    return TagPrediction(
        source=source,
        tokens=tokens,
        tags=tags if known.scheme is None else convert(tags, "BIO"),
        probabilities=tuple(probabilities),
        level=known.level,
        spans_are_written=known.scheme is not None,
        kinds=known.kinds,
    )


def _joined(pieces: Iterator[TagPrediction], source: str) -> TagPrediction:
    """The predictions of the pieces of a text as one."""
    found = list(pieces)
    return TagPrediction(
        source=source,
        tokens=tuple(token for piece in found for token in piece.tokens),
        tags=tuple(tag for piece in found for tag in piece.tags),
        probabilities=tuple(p for piece in found for p in piece.probabilities),
        level=found[0].level,
        spans_are_written=found[0].spans_are_written,
        kinds=found[0].kinds,
    )
