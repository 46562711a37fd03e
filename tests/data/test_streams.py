from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.data import Streams
from elman.errors import DataError, OptionError

LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=7)


def simulate(lanes: list[list[range]], window: int, overlap: int) -> list[list[list[tuple[int, bool]]]]:
    """Each window as plain lists: of each stream, position and whether a sequence begins."""
    rows = [[(k, k == s.start) for s in lane for k in s] for lane in lanes]
    longest = max(map(len, rows))
    starts = range(0, longest, window)
    return [[row[max(0, start - overlap) : start + window] for row in rows] for start in starts]


@given(LENGTHS, st.integers(1, 4), st.integers(1, 6), st.integers(0, 9))
def test_windows_against_lists(lengths: list[int], count: int, window: int, overlap: int) -> None:
    ends = list(itertools.accumulate(lengths))
    sequences = [range(end - length, end) for length, end in zip(lengths, ends, strict=True)]
    if not ends[-1]:
        with pytest.raises(DataError):
            Streams.lay(sequences, count, window=window)
        return
    streams = Streams.lay(sequences, count, window=window, backward_steps=window + overlap)
    lanes = lay_by_hand(sequences, count)
    expected = simulate(lanes, window, overlap)
    assert streams.windows == len(expected)
    for number, rows in enumerate(expected):
        got = streams.window(number + len(expected))  # the second pass is the first again
        width = got.positions.shape[1]
        assert width == max(map(len, rows))
        assert got.first == (number * window <= overlap)
        assert got.again == min(number * window, overlap)
        for b, row in enumerate(rows):
            left = width if got.lengths is None else int(got.lengths[b])
            assert left == len(row)
            assert got.positions[b, :left].tolist() == [position for position, _ in row]
            begins = [False] * left if got.reset is None else got.reset[b, :left].tolist()
            start = max(0, number * window - overlap)
            assert begins == [new and not (start == 0 and k == 0) for k, (_, new) in enumerate(row)]
            if got.reset is not None:
                assert not got.reset[b, left:].any()
        counted = sum(max(0, len(row) - got.again) for row in rows)
        assert got.counted == counted
        mask = got.mask()
        assert counted == (got.positions.size if mask is None else int(mask.sum()))


def lay_by_hand(sequences: list[range], count: int) -> list[list[range]]:
    lanes: list[list[range]] = [[] for _ in range(count)]
    for sequence in sequences:
        sizes = [sum(map(len, lane)) for lane in lanes]
        lanes[sizes.index(min(sizes))].append(sequence)
    return lanes


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 9), st.integers(0, 20))
def test_every_step_counts_once_and_states_meet(steps: int, count: int, window: int, overlap: int) -> None:
    if steps < count:
        with pytest.raises(DataError):
            Streams.cut(steps, count, window=window)
        return
    streams = Streams.cut(steps, count, window=window, backward_steps=window + overlap)
    seen, expected_start = [], 0
    for number in range(streams.windows):
        got = streams.window(number)
        assert got.positions[0, 0] == expected_start
        expected_start += got.carry
        mask = got.mask()
        counted = np.ones(got.positions.shape, dtype=bool) if mask is None else mask.numpy()
        seen += got.positions[counted].tolist()
    size = steps // count
    assert sorted(seen) == list(range(size * count))


def test_the_last_short_window_is_kept_or_dropped() -> None:
    kept, dropped = (Streams.cut(50, 2, window=10, keep_last=keep) for keep in (True, False))
    assert (kept.windows, dropped.windows) == (3, 2)
    assert kept.window(2).positions.shape == (2, 5)
    assert dropped.window(1).positions.tolist() == kept.window(1).positions.tolist()


def test_positions_are_those_of_the_classic_reader() -> None:
    data = np.arange(929_589)
    streams = Streams.cut(len(data) - 1, 20, window=35, keep_last=False)
    assert streams.windows == 1327
    got = streams.window(1)
    assert got.positions[3].tolist() == list(range(3 * 46_479 + 35, 3 * 46_479 + 70))
    assert (got.reset, got.lengths, got.again, got.carry, got.first) == (None, None, 0, 35, False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"steps": 50, "streams": 2, "window": 10, "backward_steps": 9},
            OptionError,
            "--backward-steps must be at least the window, 10, got 9",
        ),
        ({"steps": 3, "streams": 4, "window": 10}, DataError, "Every stream must be at least one step.*--batch-size"),
        (
            {"steps": 30, "streams": 4, "window": 10, "keep_last": False},
            DataError,
            "Every stream must be at least one window of 10 steps",
        ),
    ],
)
def test_errors(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Streams.cut(arguments.pop("steps"), arguments.pop("streams"), **arguments)


def test_masks_are_tensors() -> None:
    got = Streams.lay([range(0, 3), range(3, 5)], 1, window=4).window(0)
    assert got.reset is not None
    assert got.reset.dtype == torch.bool
    assert got.reset.tolist() == [[False, False, False, True]]
