"""What the value of ``--data`` is where tags are wanted: a name, a folder or a file, and the sentences in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from elman.data.entry import find
from elman.data.tagged.characters import cut_text
from elman.data.tagged.columns import Columns, TokenFile, read_columns
from elman.data.tagged.conll2000 import CONLL2000
from elman.data.tagged.folders import split_files
from elman.data.tagged.lines import text_lines
from elman.data.tagged.python_tokens import PYTHON_TOKENS, python_splits
from elman.data.tagged.schemes import convert
from elman.data.tagged.sentences import Sentence, TaggedData
from elman.data.tagged.spelling import Wanted, checked_scheme, in_scheme
from elman.data.tagged.split import hold_out_sentences
from elman.data.text.source import TEXTS
from elman.data.text.vocabulary import Level
from elman.errors import DataError, OptionError, describe, did_you_mean

__all__ = ["TAGGED", "load_tagged", "read_sentences"]

TAGGED = (PYTHON_TOKENS.name, CONLL2000.name)
_ACCEPTED = f"{', '.join(TAGGED)}, a folder with train.txt, valid.txt and test.txt, or a file with a token a line"

# Data without test sentences of its own always gives up the same ones, whatever the seed of the run.
_TEST_FRACTION = 0.1
_TEST_SEED = 0

_SHOWN = 5  # tags that a note names


def load_tagged(
    source: str,
    *,
    word_column: int | str | None = None,
    tag_column: int | str | None = None,
    feature_columns: Sequence[int | str] = (),
    scheme: Wanted = "given",
    validation: int | float = 0.1,
    seed: int = 0,
) -> TaggedData:
    """Load sentences for tagging from whatever ``--data`` names.

    Spans come in BIO or BIOES: IOB1, BILOU and BMES are converted, and tags that break the rules of their scheme are
    put right as conlleval reads them, which leaves every span as it is; notes say how many.

    Args:
        source: "python-tokens", "conll2000", the path of a folder with a file a split, or of a file.
        word_column: Where the words are: a number from 0 on, or from the right below 0; in CoNLL-U also a name. None
            for the first column, in CoNLL-U FORM.
        tag_column: Likewise; None for the last column, in CoNLL-U UPOS.
        feature_columns: Further columns to read.
        scheme: The scheme to have spans in; "given" for that of the data.
        validation: Count or fraction of the training sentences to hold out where the data has no validation sentences
            of its own; 0 for none.
        seed: Chooses the validation sentences; the test sentences never depend on it.

    Raises:
        DataError: Nothing there, or nothing that can be used; the message says what was found, and in which line.
        OptionError: Columns or a scheme that the data does not have, or a validation size that cannot be had.

    Example:
        >>> data = load_tagged("python-tokens")
        >>> data.level, data.scheme, sorted(data.splits)
        ('character', 'BIO', ['test', 'train', 'validation'])
    """
    checked_scheme(scheme)
    columns = Columns(word_column, tag_column, tuple(feature_columns))
    if source == PYTHON_TOKENS.name:
        return _python_tokens(columns, scheme)
    try:
        path = find(CONLL2000) if source == CONLL2000.name else _existing(source)
        if not path.is_dir() and not path.is_file():
            raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="neither a folder nor a file"))
        paths = split_files(path) if path.is_dir() else {"train": path}
    except OSError as error:  # a folder that may not be listed, a name that is too long
        raise DataError(describe(f"--data {source}", expected="readable", got=error.strerror or str(error))) from error
    files = _read(paths, columns)
    sentences, chosen, notes = in_scheme(files, scheme)
    splits, held_out = _split(sentences, path.name, validation, seed)
    name = source if source in TAGGED else path.resolve().name
    data = TaggedData(name, splits, "word", chosen, columns=files["train"].columns)
    return replace(data, notes=(*notes, *held_out, *_unknown_tags(data)))


def read_sentences(
    source: str | Path | TextIO, columns: Columns | None = None, *, level: Level = "word"
) -> list[Sentence]:
    r"""Read sentences to tag, or with tags to compare with.

    Args:
        source: A file, or a text stream such as standard input.
        columns: Where in a line words, tags and features are, such as those of the data that a model was trained with;
            a file that lacks the column of the tags has none. None for words in the first column and tags in the last.
        level: "word" for a file with a token a line; "character" for running text, which is cut at the ends of lines.

    Returns:
        Their tags are as in the file, in whatever scheme; empty where it has none.

    Raises:
        DataError: No sentences, or what no text has.
        OptionError: A column of words or features that is not there.

    Example:
        >>> import io
        >>> read_sentences(io.StringIO("He PRP\nreckons VBZ\n"), Columns(words=0, tags=2, features=(1,)))
        [Sentence(tokens=('He', 'reckons'), tags=(), features=(('PRP', 'VBZ'),))]
    """
    place = Path(source) if isinstance(source, str) else source
    if level == "word":
        return read_columns(place, columns or Columns(), tagged=False).sentences
    text = "".join(f"{line}\n" for _, line in text_lines(place))
    if not text:
        raise DataError(describe(str(source), expected="a text", got="nothing in it"))
    return cut_text(text)


def _existing(source: str) -> Path:
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="the home of nobody")) from error
    if path.exists():
        return path
    others = {"digits": "classify", "mnist": "classify", **dict.fromkeys(TEXTS, "language-model")}
    if source in others:
        cause = f"Train with it by `elman train {others[source]} --data {source}`."
        raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="data without tags", cause=cause))
    near = "" if path.name != source else did_you_mean(source, TAGGED)
    raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="nothing of that name", cause=near))


def _python_tokens(columns: Columns, wanted: Wanted) -> TaggedData:
    if columns != Columns():
        cause = "They are for files with a token a line."
        raise OptionError(describe(f"columns of {PYTHON_TOKENS.name}", expected="left out", got="some", cause=cause))
    splits, note = python_splits()
    if wanted == "BIOES":
        for split, sentences in splits.items():
            splits[split] = [Sentence(each.tokens, convert(each.tags, "BIOES")) for each in sentences]
    return TaggedData(PYTHON_TOKENS.name, splits, "character", "BIOES" if wanted == "BIOES" else "BIO", (note,))


def _read(paths: Mapping[str, Path], columns: Columns) -> dict[str, TokenFile]:
    """The files of a data set, all of as many columns as the training file has."""
    files: dict[str, TokenFile] = {}
    for split in sorted(paths, key=lambda split: split != "train"):
        files[split] = read_columns(paths[split], columns, tagged=True)
        if files[split].width != files["train"].width:
            expected = f"{files['train'].width}, as {paths['train'].name} has"
            raise DataError(describe(f"{paths[split]}: columns", expected=expected, got=str(files[split].width)))
    return files


def _split(
    sentences: Mapping[str, list[Sentence]], name: str, validation: int | float, seed: int
) -> tuple[dict[str, list[Sentence]], list[str]]:
    """The splits, with test and validation sentences held out where the data has none, and notes on that."""
    splits, notes = dict(sentences), []
    if "test" not in splits:
        try:
            splits["train"], splits["test"] = hold_out_sentences(splits["train"], _TEST_FRACTION, _TEST_SEED)
        except OptionError as error:  # nobody asked for this size: it is the data that is too small for it
            raise DataError(f"There are no test sentences, and none can be held out: {error}") from error
        notes.append(f"{name} has no test sentences of its own: the same tenth is always held out")
    if "validation" not in splits and validation != 0:
        try:
            splits["train"], splits["validation"] = hold_out_sentences(splits["train"], validation, seed)
        except OptionError as error:
            raise OptionError(f"--validation: {error}") from error
        notes.append(f"{len(splits['validation']):,} training sentences are held out for validation")
    return {split: splits[split] for split in ("train", "validation", "test") if split in splits}, notes


def _unknown_tags(data: TaggedData) -> list[str]:
    """Notes on tags that no model can learn."""
    notes = []
    for split, sentences in data.splits.items():
        if unknown := sorted({tag for sentence in sentences for tag in sentence.tags} - set(data.tags)):
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            notes.append(f"the training sentences lack tags of {split}: {', '.join(unknown[:_SHOWN])}{more}")
    return notes
