"""Sentences held out of others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elman.data.tagged.sentences import Sentence
from elman.errors import OptionError, describe

__all__ = ["hold_out_sentences"]


def hold_out_sentences(
    sentences: Sequence[Sentence], size: int | float, seed: int
) -> tuple[list[Sentence], list[Sentence]]:
    """Split off some sentences; both parts keep the order of the data.

    Args:
        sentences: What to split.
        size: How many (int), or which fraction of them (float between 0 and 1).
        seed: The same seed takes the same sentences.

    Returns:
        The rest, of which there is one at least, and the ones held out.

    Raises:
        OptionError: A size that cannot be had, or a negative seed.

    Example:
        >>> sentences = [Sentence((word,)) for word in "abcde"]
        >>> rest, held_out = hold_out_sentences(sentences, 2, seed=1)
        >>> len(rest), len(held_out)
        (3, 2)
    """
    total = len(sentences)
    if isinstance(size, float) and not 0 < size < 1:
        expected = "a fraction between 0 and 1, or a whole number of sentences"
        raise OptionError(describe("size of a hold-out", expected=expected, got=str(size)))
    count = round(size * total) if isinstance(size, float) else size
    if not 1 <= count < total:
        got = str(count) if isinstance(size, int) else f"{size} of {total:,}, which is {count}"
        raise OptionError(describe("size of a hold-out", expected=f"from 1 to {total - 1:,} sentences", got=got))
    if seed < 0:
        raise OptionError(describe("seed", expected="zero or positive", got=str(seed)))
    # Three words: the order of an epoch is drawn from [seed, epoch], and a seed of its own would equal [seed, 0].
    chosen = np.random.default_rng([seed, 0, 1]).permutation(total)[:count]
    held = np.zeros(total, dtype=bool)
    held[chosen] = True
    return (
        [sentence for sentence, out in zip(sentences, held, strict=True) if not out],
        [sentence for sentence, out in zip(sentences, held, strict=True) if out],
    )
