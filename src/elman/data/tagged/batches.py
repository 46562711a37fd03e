"""Batches of sequences of like length: little padding, and still a new order every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from elman.errors import DataError, OptionError, describe

__all__ = ["BucketedBatches", "by_length"]

Indices = np.ndarray[Any, np.dtype[np.int64]]

# Sequences are sorted by their length times a random factor of up to this much more, so that a batch has other
# neighbours in every epoch.
_JITTER = 0.1


class BucketedBatches:
    """Batches of sequences of like length as a pure function of the step, so that resuming needs nothing else.

    Each epoch has its own batches in its own order, drawn from (seed, epoch), and has every sequence once; one of its
    batches, any of them, may be smaller than the others.

    Args:
        lengths: Of each sequence.
        batch_size: Sequences in a batch.
        seed: The same seed gives the same batches.

    Raises:
        OptionError: A batch size below one or a negative seed.
        DataError: No sequences.

    Example:
        >>> batches = BucketedBatches([3, 40, 4, 41, 42], batch_size=2, seed=0)
        >>> batches.steps_per_epoch
        3
        >>> sorted(index for step in (3, 4, 5) for index in batches.batch(step).tolist())    # the second epoch
        [0, 1, 2, 3, 4]
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = _checked_lengths(lengths)
        self.batch_size = _checked_batch_size(batch_size)
        if seed < 0:
            raise OptionError(describe("seed", expected="zero or positive", got=str(seed)))
        self.seed = seed
        self._epoch = -1
        self._batches: list[Indices] = []

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the sequences."""
        return math.ceil(len(self.lengths) / self.batch_size)

    def batch(self, step: int) -> Indices:
        """The sequences of a step, counted from 0 over all epochs: int64 ``(batch,)``."""
        if step < 0:
            raise OptionError(describe("step", expected="zero or positive", got=str(step)))
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._batches, self._epoch = self._drawn(epoch), epoch
        return self._batches[position]

    def _drawn(self, epoch: int) -> list[Indices]:
        generator = np.random.default_rng([self.seed, epoch])
        count, steps = len(self.lengths), self.steps_per_epoch
        order = np.argsort(self.lengths * generator.uniform(1, 1 + _JITTER, count), kind="stable")
        sizes = np.full(steps, self.batch_size)
        sizes[generator.integers(steps)] -= steps * self.batch_size - count
        batches = np.split(order, np.cumsum(sizes)[:-1])
        return [batches[place] for place in generator.permutation(steps)]


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[Indices]:
    """Go through all sequences once, the longest first, so that what does not fit in memory is known at once.

    Args:
        lengths: Of each sequence.
        batch_size: Sequences in a batch; the last one may have fewer.

    Raises:
        OptionError: A batch size below one.
        DataError: No sequences.

    Example:
        >>> [batch.tolist() for batch in by_length([3, 40, 4, 41, 42], batch_size=2)]
        [[4, 3], [1, 2], [0]]
    """
    order = np.argsort(-_checked_lengths(lengths), kind="stable")
    size = _checked_batch_size(batch_size)
    return (order[start : start + size] for start in range(0, len(order), size))


def _checked_lengths(lengths: Sequence[int]) -> Indices:
    if len(lengths) == 0:
        raise DataError(describe("sequences to batch", expected="one or more", got="none"))
    return np.asarray(lengths, dtype=np.int64)


def _checked_batch_size(batch_size: int) -> int:
    if batch_size < 1:
        raise OptionError(describe("batch_size", expected="one or more", got=str(batch_size)))
    return batch_size
