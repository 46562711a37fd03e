from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.labelled.sequences import LabelledData, LabelledSequences, ShuffledBatches, hold_out, in_order, split
from elman.errors import DataError, OptionError, ShapeError


def numbered(labels: list[int], *, lengths: bool = False) -> LabelledSequences:
    """Sequences whose values are their own position, so that a test sees which ones it got."""
    count = len(labels)
    x = torch.arange(count, dtype=torch.float32).reshape(count, 1, 1).expand(count, 3, 2).contiguous()
    return LabelledSequences(x, torch.tensor(labels), torch.arange(count) % 4 if lengths else None)


def positions(sequences: LabelledSequences) -> list[int]:
    return sequences.x[:, 0, 0].int().tolist()


def data(**changes: object) -> LabelledData:
    fields = {"name": "toy", "train": numbered([0, 1, 1]), "validation": None, "test": numbered([1, 0])}
    return LabelledData(**{**fields, "classes": ("a", "b"), "scale": 1.0, **changes})  # type: ignore[arg-type]


class TestLabelledSequences:
    @pytest.mark.parametrize(
        ("x", "y", "lengths", "message"),
        [
            (torch.zeros(2, 3), torch.zeros(2).long(), None, r"x must be \(N, T, F\) .*got \(2, 3\)"),
            (torch.zeros(2, 3, 1).double(), torch.zeros(2).long(), None, "float64"),
            (torch.zeros(2, 3, 1), torch.zeros(3).long(), None, r"y must be \(2,\) int64.*got \(3,\)"),
            (torch.zeros(2, 3, 1), torch.zeros(2), None, "float32"),
            (torch.zeros(2, 3, 1), torch.zeros(2).long(), torch.zeros(1).long(), r"lengths must be \(2,\)"),
        ],
    )
    def test_refuses_other_shapes_and_types(self, x, y, lengths, message):
        with pytest.raises(ShapeError, match=message):
            LabelledSequences(x, y, lengths)

    @pytest.mark.parametrize("lengths", [[0, 4], [-1, 2]])
    def test_refuses_lengths_out_of_range(self, lengths):
        with pytest.raises(DataError, match=f"from 0 to T=3, got {min(lengths)} to {max(lengths)}"):
            LabelledSequences(torch.zeros(2, 3, 1), torch.zeros(2).long(), torch.tensor(lengths))

    def test_select_takes_x_y_and_lengths_together(self):
        taken = numbered([0, 1, 2, 3, 4], lengths=True).select(torch.tensor([4, 1]))
        assert positions(taken) == [4, 1]
        assert taken.y.tolist() == [4, 1]
        assert taken.lengths is not None
        assert taken.lengths.tolist() == [0, 1]


class TestLabelledData:
    def test_names_the_splits_that_there_are(self):
        assert list(data().splits()) == ["train", "test"]
        assert list(data(validation=numbered([0])).splits()) == ["train", "validation", "test"]

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"classes": ("a",)}, DataError, "two or more different"),
            ({"classes": ("a", "a")}, DataError, "two or more different"),
            ({"scale": 0.0}, DataError, "scale must be finite and positive"),
            ({"scale": float("inf")}, DataError, "scale must be finite and positive"),
            ({"test": numbered([0, 2])}, DataError, "toy: test labels must be from 0 to 1.*got 0 to 2"),
            ({"train": numbered([-1, 0])}, DataError, "toy: train labels.*got -1 to 0"),
            ({"validation": numbered([0]).select(slice(0, 0))}, DataError, "toy: validation must be not empty"),
            (
                {"test": LabelledSequences(torch.zeros(1, 3, 5), torch.zeros(1).long())},
                ShapeError,
                "toy: test must be of 2 features and torch.float32 as train is, got 5 features",
            ),
            (
                {"test": LabelledSequences(torch.zeros(1, 3, 2, dtype=torch.uint8), torch.zeros(1).long())},
                ShapeError,
                "got 2 features and torch.uint8",
            ),
        ],
    )
    def test_refuses_what_does_not_fit_together(self, changes, error, message):
        with pytest.raises(error, match=message):
            data(**changes)


class TestHoldOut:
    @settings(max_examples=60, deadline=None)
    @given(
        members=st.lists(st.integers(1, 12), min_size=2, max_size=6),
        share=st.floats(0.01, 0.99),
        seed=st.integers(0, 2**40),
    )
    def test_takes_exactly_the_count_and_leaves_every_class(self, members, share, seed):
        labels = [label for label, count in enumerate(members) for _ in range(count)]
        spare = len(labels) - len(members)
        count = round(share * spare)
        if count < 1:
            return
        rest, held = hold_out(numbered(labels), count, seed)
        assert len(held) == count
        assert sorted(positions(rest) + positions(held)) == list(range(len(labels)))
        assert positions(rest) == sorted(positions(rest))
        assert positions(held) == sorted(positions(held))
        assert set(rest.y.tolist()) == set(labels)

    def test_keeps_the_share_of_every_class(self):
        _, held = hold_out(numbered([0] * 50 + [1] * 30 + [2] * 20), 0.1, seed=3)
        assert np.bincount(held.y).tolist() == [5, 3, 2]

    def test_rounds_by_largest_remainder(self):
        _, held = hold_out(numbered([0] * 6 + [1] * 3), 5, seed=0)  # quotas 3.33 and 1.67
        assert np.bincount(held.y).tolist() == [3, 2]

    def test_same_seed_same_choice(self):
        sequences = numbered([0, 1] * 50)
        first, again, other = (positions(hold_out(sequences, 20, seed)[1]) for seed in (7, 7, 8))
        assert first == again
        assert first != other

    @pytest.mark.parametrize(
        ("size", "message"),
        [
            (0, "from 1 to 4 sequences, so that every class is left in the other 6, got 0"),
            (5, "got 5"),
            (0.9, "got 0.9 of 6, which is 5"),
            (1.0, "a fraction between 0 and 1, or a whole number"),
            (-0.1, "a fraction between 0 and 1"),
            (float("nan"), "a fraction between 0 and 1"),
        ],
    )
    def test_refuses_sizes_that_cannot_be_had(self, size, message):
        with pytest.raises(OptionError, match=message):
            hold_out(numbered([0, 0, 0, 1, 1, 1]), size, seed=0)

    def test_says_so_where_the_labels_are_no_classes(self):
        with pytest.raises(OptionError, match="labels that are not classes"):
            hold_out(numbered([0, 1, 2, 3, 4]), 1, seed=0)

    def test_refuses_a_negative_seed(self):
        with pytest.raises(OptionError, match="seed must be zero or positive, got -1"):
            hold_out(numbered([0, 0, 1, 1]), 1, seed=-1)


class TestSplit:
    def test_test_sequences_depend_on_no_seed_and_validation_comes_out_of_train(self):
        sequences = numbered([0, 1] * 20)
        train, validation, test = split(sequences, None, validation=8, seed=1)
        _, other, same = split(sequences, None, validation=8, seed=2)
        assert (len(train), len(validation), len(test)) == (24, 8, 8)
        assert positions(test) == positions(same)
        assert positions(validation) != positions(other)
        assert sorted(positions(train) + positions(validation) + positions(test)) == list(range(40))

    def test_keeps_a_test_set_of_its_own(self):
        own = numbered([1, 0, 1])
        train, validation, test = split(numbered([0, 1] * 5), own, validation=0, seed=1)
        assert test is own
        assert validation is None
        assert len(train) == 10


class TestShuffledBatches:
    @settings(max_examples=40, deadline=None)
    @given(count=st.integers(1, 30), size=st.integers(1, 40), epoch=st.integers(0, 5), seed=st.integers(0, 2**35))
    def test_an_epoch_has_every_sequence_once(self, count, size, epoch, seed):
        batches = ShuffledBatches(numbered([0] * count), size, seed)
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        parts = [batches.batch(step) for step in steps]
        assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
        assert sorted(position for part in parts for position in positions(part)) == list(range(count))

    def test_is_a_function_of_the_step_alone(self):
        sequences = numbered(list(range(50)), lengths=True)
        forward, jumping = ShuffledBatches(sequences, 8, 5), ShuffledBatches(sequences, 8, 5)
        run = [forward.batch(step) for step in range(21)]
        for step in (20, 3, 7, 0, 13):
            again = jumping.batch(step)
            assert positions(again) == positions(run[step])
            assert again.y.tolist() == positions(again)
            assert again.lengths.tolist() == [position % 4 for position in positions(again)]

    def test_order_is_the_documented_one_and_changes_with_epoch_and_seed(self):
        sequences = numbered([0] * 20)
        batches = ShuffledBatches(sequences, 20, 3)
        for epoch in (0, 1, 2):
            expected = np.random.default_rng([3, epoch]).permutation(20).tolist()
            assert positions(batches.batch(epoch)) == expected
        assert positions(batches.batch(0)) != positions(batches.batch(1))
        assert positions(ShuffledBatches(sequences, 20, 4).batch(0)) != positions(batches.batch(0))

    def test_keeps_bytes(self):
        sequences = LabelledSequences(torch.full((3, 2, 2), 255, dtype=torch.uint8), torch.tensor([0, 1, 0]))
        x = ShuffledBatches(sequences, 2, 0).batch(0).x
        assert x.dtype == torch.uint8
        assert x.flatten().tolist() == [255] * 8

    def test_refuses_bad_arguments(self):
        sequences = numbered([0, 1])
        with pytest.raises(OptionError, match="batch_size must be one or more, got 0"):
            ShuffledBatches(sequences, 0, 0)
        with pytest.raises(OptionError, match="seed must be zero or positive"):
            ShuffledBatches(sequences, 1, -1)
        with pytest.raises(OptionError, match="step must be zero or positive, got -1"):
            ShuffledBatches(sequences, 1, 0).batch(-1)
        with pytest.raises(DataError, match="one or more, got none"):
            ShuffledBatches(sequences.select(slice(0, 0)), 1, 0)

    def test_costs_little_beside_a_step(self):
        images = torch.zeros(20_000, 28, 28, dtype=torch.uint8)
        batches = ShuffledBatches(LabelledSequences(images, torch.zeros(20_000).long()), 128, 0)
        batches.batch(0)
        seconds = []
        for step in range(batches.steps_per_epoch):
            start = time.perf_counter()
            batches.batch(step)
            seconds.append(time.perf_counter() - start)
        assert np.quantile(seconds, 0.25) < 0.03 * 0.006  # others may be using the machine


def test_in_order_gives_views_of_everything_once():
    sequences = numbered(list(range(7)), lengths=True)
    batches = list(in_order(sequences, 3))
    assert [positions(batch) for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches[1].lengths.tolist() == [3, 0, 1]
    assert batches[1].x.data_ptr() == sequences.x[3:].data_ptr()


def test_in_order_refuses_an_empty_batch_at_once():
    with pytest.raises(OptionError, match="batch_size"):
        in_order(numbered([0]), 0)
