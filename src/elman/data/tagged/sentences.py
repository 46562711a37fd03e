"""Sequences with a tag on every token, and a data set of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from elman.data.tagged.schemes import Scheme, complete
from elman.errors import DataError, describe

if TYPE_CHECKING:
    from elman.data.tagged.columns import Columns
    from elman.data.text.vocabulary import Level

__all__ = ["Sentence", "TaggedData"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """Tokens in their order, and what is known of each.

    Args:
        tokens: Words; or characters.
        tags: One a token; empty where the text has none.
        features: Further columns, such as parts of speech: one tuple a column, one entry a token.

    Example:
        >>> sentence = Sentence(("He", "reckons"), ("B-NP", "B-VP"), (("PRP", "VBZ"),))
        >>> len(sentence), sentence.features[0][1]
        (2, 'VBZ')
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] = ()
    features: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, eq=False)
class TaggedData:
    """A data set for tagging.

    Args:
        name: What to call it.
        splits: "train", "test", and where there is any "validation"; all sentences have tags and the same features.
        level: What a token is, "word" or "character".
        scheme: Of the tags as they are here; None for plain labels.
        notes: What was done to the data on the way in, a line each, for the user to see.
        columns: Where the words, tags and features were in the files; None where they came from elsewhere.

    Raises:
        DataError: A split without sentences.
    """

    name: str
    splits: Mapping[str, Sequence[Sentence]]
    level: Level
    scheme: Scheme | None
    notes: tuple[str, ...] = ()
    columns: Columns | None = None

    def __post_init__(self) -> None:
        for split, sentences in self.splits.items():
            if not sentences:
                raise DataError(describe(f"{self.name}: {split}", expected="one or more sentences", got="none"))

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """What a model chooses from, by what occurs in training; see `complete`."""
        return complete((tag for sentence in self.splits["train"] for tag in sentence.tags), self.scheme)

    @cached_property
    def checksum(self) -> str:
        """Of the training sentences: the same ones, read the same way, have the same on any machine."""
        digest = hashlib.sha256()
        for sentence in self.splits["train"]:
            digest.update(json.dumps([sentence.tokens, sentence.tags, sentence.features]).encode())
        return digest.hexdigest()
