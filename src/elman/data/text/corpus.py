"""A text as data for a language model: a vocabulary, and the ids of its splits."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np

from elman.data.text.encoding import DEFAULT_SIZE, Encoder, Encoding, Ids
from elman.data.text.files import TextFile
from elman.data.text.id_files import mapped_ids
from elman.data.text.source import open_text
from elman.data.text.vocabulary import LARGEST_VOCABULARY, Level, Vocabulary, read_vocabulary
from elman.errors import OptionError, describe

__all__ = ["Corpus", "load_corpus"]


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as the ids of its words or characters.

    Attributes:
        name: For people.
        vocabulary: What the ids mean.
        splits: "train", and where there are any "validation" and "test": read-only ids (length,) of uint8, uint16 or
            uint32, the smallest that holds the vocabulary. Those of files are mapped, not in memory.
        checksum: Of the vocabulary and the training ids: the same text read the same way has the same on any machine.
        notes: What was done to the text, a line each.
    """

    name: str
    vocabulary: Vocabulary
    splits: Mapping[str, Ids]
    checksum: str
    notes: tuple[str, ...]

    def release(self) -> None:
        """Let go of the pages of mapped ids that were read so far; they are mapped again when they are read again.

        The system counts them as memory of this process for as long as it does not need them itself. A long training
        that calls this now and then stays small, however large the text.
        """
        for ids in self.splits.values():
            if isinstance(ids.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                ids.base.madvise(mmap.MADV_DONTNEED)


def load_corpus(
    source: str,
    *,
    level: Level = "word",
    vocabulary_size: int | None = None,
    vocabulary: Vocabulary | str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Corpus:
    """Load a text for a language model; a file is read once, and its ids are kept in elman's cache.

    Args:
        source: "pydoc", "ptb", "tinyshakespeare", a folder with ``train.txt`` and optional ``valid.txt`` and
            ``test.txt`` (or the same after ``ptb.``), or a text file, whose last tenth is held out. All UTF-8.
        level: "word": what stands between whitespace, and ``<eos>`` for a line's end; or "character".
        vocabulary_size: Entries at most, counted in the training text with ``<unk>`` and ``<eos>``; the rest becomes
            ``<unk>``. None for 10,000.
        vocabulary: The vocabulary to use, such as a model's, or a file with an entry a line; None to count one.
        progress: Called with (what is done, bytes so far, bytes in all) while a text is read.

    Raises:
        DataError: Nothing there, no UTF-8, too short, or ids that cannot be kept.
        OptionError: A vocabulary of another level, or a size out of range or for a vocabulary that is given.

    Example:
        >>> corpus = load_corpus("pydoc")
        >>> sorted(corpus.splits), corpus.splits["train"].dtype.name
        (['test', 'train', 'validation'], 'uint16')
        >>> corpus.vocabulary.decode(corpus.splits["train"][:8])
        'Assert statements are a convenient way to insert'
    """
    given = _given(vocabulary, level, vocabulary_size)
    size = DEFAULT_SIZE if vocabulary_size is None else vocabulary_size
    text = open_text(source)
    encoder = Encoder(text.splits, level, size, given, progress or (lambda what, done, total: None))
    files = {split: part.path for split, part in text.splits.items() if isinstance(part, TextFile)}
    if files:
        chosen = size if given is None else hashlib.sha256(json.dumps(given.to_json()).encode()).hexdigest()
        cut = len(set(files.values())) < len(files)  # one file in parts, not the same text under several names
        encoding, splits = mapped_ids(files, {"level": level, "vocabulary": chosen, "cut": cut}, encoder.encode)
    else:
        encoding, splits = _in_memory(encoder)
    return Corpus(text.name, encoding.vocabulary, splits, encoding.checksum, (*text.notes, *encoding.notes))


def _given(vocabulary: Vocabulary | str | os.PathLike[str] | None, level: Level, size: int | None) -> Vocabulary | None:
    if level not in get_args(Level):
        raise OptionError(describe("level", expected="'word' or 'character'", got=repr(level)))
    if size is not None and not 3 <= size <= LARGEST_VOCABULARY:
        expected = f"3 to {LARGEST_VOCABULARY:,} entries, <unk> and <eos> among them"
        raise OptionError(describe("vocabulary size", expected=expected, got=f"{size:,}"))
    if vocabulary is None:
        return None
    if size is not None:
        raise OptionError(describe("vocabulary size", expected="left out where a vocabulary is given", got=f"{size:,}"))
    if not isinstance(vocabulary, Vocabulary):
        return read_vocabulary(vocabulary, level)
    if vocabulary.level != level:
        expected, got = f"of level {level!r}", repr(vocabulary.level)
        raise OptionError(describe("vocabulary", expected=expected, got=got))
    return vocabulary


def _in_memory(encoder: Encoder) -> tuple[Encoding, dict[str, Ids]]:
    pieces: dict[str, list[Ids]] = {split: [] for split in encoder.splits}
    encoding = encoder.encode(lambda split, ids: pieces[split].append(ids))
    splits = {split: np.concatenate(parts) for split, parts in pieces.items()}
    for ids in splits.values():
        ids.flags.writeable = False
    return encoding, splits
