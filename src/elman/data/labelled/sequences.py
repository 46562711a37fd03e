"""Labelled sequences in memory: what a classifier trains on, how it is split and how it is cut into batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from elman.errors import DataError, OptionError, ShapeError, describe

if TYPE_CHECKING:
    from elman.data.labelled.images import ImageFormat

__all__ = [
    "TEST_FRACTION",
    "TEST_NOTE",
    "TEST_SEED",
    "LabelledData",
    "LabelledSequences",
    "ShuffledBatches",
    "hold_out",
    "in_order",
    "split",
]

# Data without test images of its own always gives up the same ones, whatever the seed of the run.
TEST_FRACTION = 0.2
TEST_SEED = 0
TEST_NOTE = "no test sequences of its own: the same fifth is always held out"


@dataclass(frozen=True, eq=False)
class LabelledSequences:
    """Sequences with one label each.

    Args:
        x: (N, T, F), uint8 (images: T rows of F pixels, kept as bytes) or float32.
        y: (N,) int64, the class of each sequence.
        lengths: (N,) int64, the steps of each sequence that count (0 to T); None where all T do.

    All tensors are on the CPU.

    Raises:
        ShapeError: A tensor of another shape or dtype.
        DataError: A length outside 0 to T.

    Example:
        >>> sequences = LabelledSequences(torch.zeros(3, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 0]))
        >>> len(sequences), sequences.steps, sequences.features
        (3, 28, 28)
    """

    x: Tensor
    y: Tensor
    lengths: Tensor | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 3 or self.x.dtype not in (torch.uint8, torch.float32):
            raise ShapeError(
                describe("x", expected="(N, T, F) uint8 or float32", got=f"{tuple(self.x.shape)} {self.x.dtype}")
            )
        for name, values in (("y", self.y), ("lengths", self.lengths)):
            if values is not None and (values.shape != self.x.shape[:1] or values.dtype != torch.int64):
                raise ShapeError(
                    describe(
                        name,
                        expected=f"({len(self.x)},) int64, one for each of the {len(self.x)} rows of x",
                        got=f"{tuple(values.shape)} {values.dtype}",
                    )
                )
        if self.lengths is not None and len(self.lengths) > 0:
            low, high = (int(value) for value in torch.aminmax(self.lengths))
            if low < 0 or high > self.steps:
                raise DataError(describe("lengths", expected=f"from 0 to T={self.steps}", got=f"{low} to {high}"))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def steps(self) -> int:
        """T, the time steps of a sequence (the rows of an image)."""
        return self.x.shape[1]

    @property
    def features(self) -> int:
        """F, the numbers in one time step (the pixels of a row)."""
        return self.x.shape[2]

    def select(self, indices: Tensor | slice) -> LabelledSequences:
        """Take some of the sequences: a copy for indices (int64, in their order), a view for a slice."""
        lengths = None if self.lengths is None else _take(self.lengths, indices)
        return LabelledSequences(_take(self.x, indices), _take(self.y, indices), lengths)


def _take(values: Tensor, indices: Tensor | slice) -> Tensor:
    if isinstance(indices, slice):
        return values[indices]
    # NumPy takes a batch in 12 us on one thread; torch spreads it over its threads, and where another process has one
    # of their cores, the batch waits for it: 8 ms measured.
    return torch.from_numpy(values.numpy().take(indices.numpy(), axis=0))


@dataclass(frozen=True, eq=False)
class LabelledData:
    """A data set for classification: its splits, its classes, and how its numbers are to be scaled.

    Args:
        name: What to call it.
        train: The sequences to learn from.
        validation: Held out of the training sequences to watch the training; None where none was asked for.
        test: Touched by the final evaluation alone.
        classes: The name of each class; labels are positions in it.
        scale: The model multiplies x by it (1/255 for bytes, 1/16 for the bundled digits, 1 for floats).
        image: The form of the training images; None where x is not images.
        notes: What was done to the data on the way in, a line each, for the user to see.

    Raises:
        DataError: An empty split, fewer than two classes, a label without a class.
        ShapeError: Splits that differ in their features or dtype.
    """

    name: str
    train: LabelledSequences
    validation: LabelledSequences | None
    test: LabelledSequences
    classes: tuple[str, ...]
    scale: float
    image: ImageFormat | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise DataError(
                describe(f"{self.name}: classes", expected="two or more different ones", got=repr(self.classes))
            )
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise DataError(describe(f"{self.name}: scale", expected="finite and positive", got=str(self.scale)))
        for split_name, sequences in self.splits().items():
            self._check_split(split_name, sequences)

    def splits(self) -> dict[str, LabelledSequences]:
        """The splits that there are, by name: train, validation, test."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: sequences for name, sequences in named.items() if sequences is not None}

    def _check_split(self, name: str, sequences: LabelledSequences) -> None:
        what = f"{self.name}: {name}"
        if len(sequences) == 0 or sequences.steps == 0 or sequences.features == 0:
            raise DataError(describe(what, expected="not empty", got=f"x {tuple(sequences.x.shape)}"))
        mine, first = (sequences.features, sequences.x.dtype), (self.train.features, self.train.x.dtype)
        if mine != first:
            raise ShapeError(
                describe(
                    what,
                    expected=f"of {first[0]} features and {first[1]} as train is",
                    got=f"{mine[0]} features and {mine[1]}",
                )
            )
        low, high = (int(value) for value in torch.aminmax(sequences.y))
        if low < 0 or high >= len(self.classes):
            raise DataError(
                describe(
                    f"{what} labels", expected=f"from 0 to {len(self.classes) - 1}, one a class", got=f"{low} to {high}"
                )
            )


def hold_out(sequences: LabelledSequences, size: int | float, seed: int) -> tuple[LabelledSequences, LabelledSequences]:
    """Split off some sequences, the same share of every class; both parts keep the order of the data.

    Args:
        sequences: What to split.
        size: How many (int), or which fraction of them (float between 0 and 1).
        seed: The same seed takes the same sequences.

    Returns:
        The rest, in which every class is left, and the ones held out.

    Raises:
        OptionError: A size that cannot be had, or a negative seed.

    Example:
        >>> data = LabelledSequences(torch.rand(10, 4, 2), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1]))
        >>> rest, held_out = hold_out(data, 5, seed=1)
        >>> held_out.y
        tensor([0, 0, 0, 1, 1])
    """
    labels = sequences.y.numpy()
    _, classes, members = np.unique(labels, return_inverse=True, return_counts=True)
    count = _count(size, len(labels), spare=len(labels) - len(members))
    # Three words: the shuffles of an epoch draw from [seed, epoch], and a seed of its own would equal [seed, 0].
    generator = np.random.default_rng([_checked_seed(seed), 0, 1])
    held = np.zeros(len(labels), dtype=bool)
    for label, share in enumerate(_shares(members, count)):
        held[generator.permutation(np.flatnonzero(classes == label))[:share]] = True
    return (
        sequences.select(torch.from_numpy(np.flatnonzero(~held))),
        sequences.select(torch.from_numpy(np.flatnonzero(held))),
    )


def split(
    train: LabelledSequences, test: LabelledSequences | None, *, validation: int | float, seed: int
) -> tuple[LabelledSequences, LabelledSequences | None, LabelledSequences]:
    """Make train, validation and test of what the files hold.

    Args:
        train: The training sequences of the files, or all there are.
        test: The test sequences of the files; None holds out the same fifth of `train` every time.
        validation: Count or fraction to hold out of the training sequences; 0 for none.
        seed: Chooses the validation sequences (never the test sequences).

    Raises:
        DataError: There are too few sequences to hold out a fifth of them for testing.
        OptionError: A size of validation that cannot be had, or a negative seed.
    """
    if test is None:
        try:
            train, test = hold_out(train, TEST_FRACTION, TEST_SEED)
        except OptionError as error:  # nobody asked for this size: it is the data that is too small for it
            raise DataError(f"There are no test sequences, and none can be held out: {error}") from error
    if validation == 0:
        return train, None, test
    try:
        rest, held_out = hold_out(train, validation, seed)
    except OptionError as error:
        raise OptionError(f"--validation: {error}") from error
    return rest, held_out, test


def _count(size: int | float, total: int, *, spare: int) -> int:
    if isinstance(size, float) and not 0 < size < 1:
        raise OptionError(
            describe(
                "size of a hold-out",
                expected="a fraction between 0 and 1, or a whole number of sequences",
                got=str(size),
            )
        )
    count = round(size * total) if isinstance(size, float) else size
    if not 1 <= count <= spare:
        raise OptionError(
            describe(
                "size of a hold-out",
                expected=f"from 1 to {spare} sequences, so that every class is left in the other {total}",
                got=f"{count}" if isinstance(size, int) else f"{size} of {total}, which is {count}",
                cause="There are too few sequences, or labels that are not classes." if spare < total / 2 else "",
            )
        )
    return count


def _shares(members: np.ndarray, count: int) -> np.ndarray:
    """How many of each class to hold out: quotas rounded by largest remainder, one member of each class left."""
    quotas = count * members / members.sum()
    shares: np.ndarray = np.minimum(np.floor(quotas).astype(np.int64), members - 1)
    while shares.sum() < count:
        missing = np.where(shares < members - 1, quotas - shares, -np.inf)
        shares[np.argmax(missing)] += 1
    return shares


def _checked_seed(seed: int) -> int:
    if seed < 0:
        raise OptionError(describe("seed", expected="zero or positive", got=str(seed)))
    return seed


class ShuffledBatches:
    """Batches of shuffled sequences as a pure function of the step, so that the step alone says where a run stands.

    Each epoch has its own order, drawn from (seed, epoch); its last batch may be shorter.

    Args:
        sequences: What to draw from.
        batch_size: Sequences in a batch.
        seed: The same seed gives the same batches.

    Raises:
        OptionError: A batch size below one or a negative seed.

    Example:
        >>> data = LabelledSequences(torch.rand(5, 4, 2), torch.tensor([0, 1, 2, 3, 4]))
        >>> batches = ShuffledBatches(data, batch_size=3, seed=0)
        >>> batches.steps_per_epoch
        2
        >>> sorted(torch.cat([batches.batch(2).y, batches.batch(3).y]).tolist())    # the second epoch
        [0, 1, 2, 3, 4]
    """

    def __init__(self, sequences: LabelledSequences, batch_size: int, seed: int) -> None:
        self.sequences = sequences
        self.batch_size = _checked_batch_size(batch_size)
        self.seed = _checked_seed(seed)
        if len(sequences) == 0:
            raise DataError(describe("sequences to shuffle", expected="one or more", got="none"))
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the sequences."""
        return math.ceil(len(self.sequences) / self.batch_size)

    def batch(self, step: int) -> LabelledSequences:
        """The batch of a step, counted from 0 over all epochs; x keeps its dtype."""
        if step < 0:
            raise OptionError(describe("step", expected="zero or positive", got=str(step)))
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.sequences))
            self._order, self._epoch = torch.from_numpy(order), epoch
        start = position * self.batch_size
        return self.sequences.select(self._order[start : start + self.batch_size])


class Selectable(Protocol):
    """Sequences of which some can be taken."""

    def __len__(self) -> int:
        """How many there are."""

    def select(self, indices: Tensor | slice, /) -> Self:
        """Take some of them."""


SelectableT = TypeVar("SelectableT", bound=Selectable)


def in_order(sequences: SelectableT, batch_size: int) -> Iterator[SelectableT]:
    """All sequences once, in their order, as views; the last batch may be shorter.

    Raises:
        OptionError: A batch size below one.

    Example:
        >>> data = LabelledSequences(torch.rand(5, 4, 2), torch.tensor([0, 1, 2, 3, 4]))
        >>> [batch.y.tolist() for batch in in_order(data, 2)]
        [[0, 1], [2, 3], [4]]
    """
    size = _checked_batch_size(batch_size)
    return (sequences.select(slice(start, start + size)) for start in range(0, len(sequences), size))


def _checked_batch_size(batch_size: int) -> int:
    if batch_size < 1:
        raise OptionError(describe("batch_size", expected="one or more", got=str(batch_size)))
    return batch_size
