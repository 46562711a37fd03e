"""From texts to ids: the vocabulary is counted in a first pass, the ids are given out block by block in a second."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.text.files import Text
from elman.data.text.vocabulary import Level, Vocabulary, count_entries
from elman.errors import DataError, describe

__all__ = ["DEFAULT_SIZE", "Encoder", "Encoding", "Ids", "id_type"]

DEFAULT_SIZE = 10_000  # entries; the Penn Treebank has exactly as many

Ids = NDArray[Any]  # one dimension; uint8, uint16 or uint32


@dataclass(frozen=True)
class Encoding:
    """What is known of a text once it is encoded.

    Attributes:
        vocabulary: Its words or characters.
        lengths: Ids of each split.
        checksum: Of the vocabulary and the training ids.
        notes: What was done to the text, a line each.
    """

    vocabulary: Vocabulary
    lengths: dict[str, int]
    checksum: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Encoder:
    """How a text becomes ids.

    Args:
        splits: The texts, by split; "train" is one of them.
        level: "word" or "character".
        size: Entries of a vocabulary that is counted, at most.
        vocabulary: The one to use; None to count the training text.
        progress: Called with (what is done, bytes so far, bytes in all).
    """

    splits: Mapping[str, Text]
    level: Level
    size: int
    vocabulary: Vocabulary | None
    progress: Callable[[str, int, int], None]

    def encode(self, sink: Callable[[str, Ids], None]) -> Encoding:
        """Encode all splits.

        Args:
            sink: Called with the name of a split and its next ids.

        Raises:
            DataError: A text that is not UTF-8, or is empty.
        """
        notes: list[str] = []
        vocabulary = self.vocabulary or self._counted(notes)
        kind = id_type(vocabulary)
        digest = hashlib.sha256(json.dumps(vocabulary.to_json()).encode())
        lengths, shares = {}, []
        for split in self.splits:
            length = unknown = 0
            for block in self._blocks(split, "encoding"):
                ids = vocabulary.encode(block)
                length += len(ids)
                unknown += int(np.count_nonzero(ids == vocabulary.unknown))
                narrow = ids.astype(kind)
                if split == "train":
                    digest.update(narrow.data)
                sink(split, narrow)
            if not length:
                raise DataError(describe(f"the {split} text", expected="at least a line", got="nothing"))
            lengths[split] = length
            if unknown:
                shares.append(f"{100 * unknown / length:.2g} % of {split}")
        if shares:
            notes.append(f"<unk> stands for {', '.join(shares)}")
        return Encoding(vocabulary, lengths, digest.hexdigest(), tuple(notes))

    def _counted(self, notes: list[str]) -> Vocabulary:
        counts = count_entries(self._blocks("train", "counting"), self.level)
        vocabulary = Vocabulary.by_frequency(counts, self.level, self.size)
        if not counts.keys() <= set(vocabulary.entries):
            notes.append(f"the vocabulary is limited to the {len(vocabulary):,} most frequent {self.level}s")
        return vocabulary

    def _blocks(self, split: str, doing: str) -> Iterator[str]:
        return self.splits[split].blocks(self.level, partial(self.progress, f"{doing} {split}"))


def id_type(vocabulary: Vocabulary) -> np.dtype[Any]:
    """The smallest numbers that hold the ids, the lowest byte first on any machine."""
    return np.dtype("<u1" if len(vocabulary) <= 1 << 8 else "<u2" if len(vocabulary) <= 1 << 16 else "<u4")
