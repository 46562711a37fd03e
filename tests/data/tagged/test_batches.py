from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.tagged.batches import BucketedBatches, by_length
from elman.errors import DataError, OptionError

LENGTHS = np.random.default_rng(0).geometric(0.05, 1000)


def padding(batches):
    """Padded steps, for each that counts."""
    return sum(LENGTHS[batch].max() * len(batch) for batch in batches) / LENGTHS.sum() - 1


def epoch_of(batches, epoch):
    steps = batches.steps_per_epoch
    return [batches.batch(step) for step in range(epoch * steps, (epoch + 1) * steps)]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 50), st.integers(0, 3), st.integers(0, 3))
def test_every_epoch_has_every_sequence_once(lengths, size, seed, epoch):
    batches = epoch_of(BucketedBatches(lengths, size, seed), epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(batch.dtype == np.int64 for batch in batches)
    assert sum(len(batch) != size for batch in batches) <= 1
    assert sorted(np.concatenate(list(by_length(lengths, size))).tolist()) == list(range(len(lengths)))


def test_a_batch_is_a_function_of_its_step():
    forward, asked = BucketedBatches(LENGTHS, 16, 5), BucketedBatches(LENGTHS, 16, 5)
    expected = [forward.batch(step).tolist() for step in range(150)]
    for step in (149, 3, 70, 3, 62, 63):
        assert asked.batch(step).tolist() == expected[step]


@pytest.mark.parametrize("size", [8, 32])
def test_batches_have_little_padding(size):
    batches = BucketedBatches(LENGTHS, size, 0)
    for epoch in range(3):
        assert padding(epoch_of(batches, epoch)) < 0.2
    shuffled = np.random.default_rng(0).permutation(1000)
    assert padding(np.split(shuffled, range(size, 1000, size))) > 0.8
    assert padding(by_length(LENGTHS.tolist(), size)) < 0.2


def test_epochs_and_seeds_differ_in_their_batches_and_in_their_order():
    batches, other = BucketedBatches(LENGTHS, 16, 0), BucketedBatches(LENGTHS, 16, 1)
    epochs = [epoch_of(batches, 0), epoch_of(batches, 1), epoch_of(other, 0)]
    as_sets = [{frozenset(batch.tolist()) for batch in epoch} for epoch in epochs]
    assert not as_sets[0] & as_sets[1]
    assert not as_sets[0] & as_sets[2]
    means = [[LENGTHS[batch].mean() for batch in epoch] for epoch in epochs]
    assert all(abs(np.corrcoef(range(63), mean)[0, 1]) < 0.4 for mean in means)
    assert np.argmax(means[0]) != np.argmax(means[1])


def test_the_small_batch_is_any_of_them():
    batches = BucketedBatches(LENGTHS, 16, 0)
    small = [next(batch for batch in epoch_of(batches, epoch) if len(batch) == 8) for epoch in range(8)]
    means = [LENGTHS[batch].mean() for batch in small]
    assert min(means) < 10 < 20 < max(means)


def test_evaluation_begins_with_the_longest():
    lengths = [3, 1, 2, 3, 5]
    assert [batch.tolist() for batch in by_length(lengths, 2)] == [[4, 0], [3, 2], [1]]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BucketedBatches([], 2, 0), DataError, "sequences to batch must be one or more"),
        (lambda: BucketedBatches([1], 0, 0), OptionError, "batch_size must be one or more, got 0"),
        (lambda: BucketedBatches([1], 1, -1), OptionError, "seed must be zero or positive, got -1"),
        (lambda: BucketedBatches([1], 1, 0).batch(-1), OptionError, "step must be zero or positive"),
        (lambda: by_length([], 1), DataError, "sequences to batch"),
        (lambda: by_length([1], 0), OptionError, "batch_size"),
    ],
)
def test_what_cannot_be_had_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
