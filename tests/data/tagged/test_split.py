from __future__ import annotations

import pytest

from elman.data.tagged.sentences import Sentence
from elman.data.tagged.split import hold_out_sentences
from elman.errors import OptionError

TEN = [Sentence((str(number),)) for number in range(10)]


@pytest.mark.parametrize(("size", "count"), [(1, 1), (0.3, 3), (0.26, 3), (9, 9)])
def test_both_parts_are_all_sentences_in_their_order(size, count):
    rest, held = hold_out_sentences(TEN, size, seed=3)
    assert (len(rest), len(held)) == (10 - count, count)
    assert sorted(rest + held, key=TEN.index) == TEN
    for part in (rest, held):
        assert part == sorted(part, key=TEN.index)


def test_the_seed_chooses():
    assert hold_out_sentences(TEN, 3, 1) == hold_out_sentences(TEN, 3, 1)
    assert len({tuple(hold_out_sentences(TEN, 3, seed)[1]) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("size", "seed", "message"),
    [
        (0, 0, "from 1 to 9 sentences, got 0"),
        (10, 0, "got 10"),
        (-1, 0, "got -1"),
        (0.01, 0, "got 0.01 of 10, which is 0"),
        (1.0, 0, "a fraction between 0 and 1, or a whole number of sentences, got 1.0"),
        (float("nan"), 0, "got nan"),
        (3, -1, "seed must be zero or positive"),
    ],
)
def test_sizes_that_cannot_be_had_are_refused(size, seed, message):
    with pytest.raises(OptionError, match=message):
        hold_out_sentences(TEN, size, seed)
