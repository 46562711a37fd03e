from __future__ import annotations

from dataclasses import replace

import pytest

from elman.data.tagged.sentences import Sentence, TaggedData
from elman.errors import DataError

ONE = Sentence(("a", "b"), ("X", "Y"), (("f", "g"),))
DATA = TaggedData("toy", {"train": [ONE, Sentence(("c",), ("X",))], "test": [ONE]}, "word", None)


def test_a_sentence_is_as_long_as_its_tokens():
    assert (len(ONE), ONE.features[0]) == (2, ("f", "g"))


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="toy: test must be one or more sentences, got none"):
        TaggedData("toy", {"train": [ONE], "test": []}, "word", None)


@pytest.mark.parametrize(
    "train",
    [
        [ONE],
        [Sentence(("c",), ("X",)), ONE],
        [ONE, Sentence(("c",), ("Y",))],
        [ONE, Sentence(("d",), ("X",))],
        [ONE, Sentence(("c",), ("X",), (("f",),))],
        [replace(ONE, tokens=("ab",)), Sentence(("c",), ("X",))],
    ],
)
def test_the_check_sum_is_that_of_the_training_sentences(train):
    same = replace(DATA, name="other", splits={**DATA.splits, "test": train})
    assert same.checksum == DATA.checksum
    assert replace(DATA, splits={"train": train}).checksum != DATA.checksum
