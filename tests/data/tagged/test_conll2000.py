from __future__ import annotations

import os
from pathlib import Path

import pytest

from elman.data.catalogue import verify
from elman.data.tagged.conll2000 import CONLL2000
from elman.data.tagged.source import load_tagged


def test_files_and_mirrors_are_well_formed():
    assert len({file.sha256 for file in CONLL2000.files}) == len(CONLL2000.files) == 2
    assert all(len(file.sha256) == 64 and int(file.sha256, 16) for file in CONLL2000.files)
    assert len(CONLL2000.mirrors) >= 2
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in CONLL2000.mirrors)


@pytest.mark.real_data
@pytest.mark.skipif("ELMAN_DATA" not in os.environ, reason="ELMAN_DATA is not set")
class TestRealData:
    def test_the_real_files_have_the_published_check_sums(self):
        statuses = verify("conll2000", Path(os.environ["ELMAN_DATA"]) / "conll2000")
        assert [status.status for status in statuses] == ["ok", "ok"]

    def test_it_has_the_sentences_that_everybody_counts(self):
        data = load_tagged("conll2000", feature_columns=[1], validation=0)
        assert {split: (len(part), sum(map(len, part))) for split, part in data.splits.items()} == {
            "train": (8936, 211_727),
            "test": (2012, 47_377),
        }
        assert (data.level, data.scheme, data.notes) == ("word", "BIO", ())
        assert len({tag for sentence in data.splits["train"] for tag in sentence.tags}) == 22
        assert len({tag for sentence in data.splits["train"] for tag in sentence.features[0]}) == 44
        first = data.splits["test"][0]
        assert (first.tokens[:3], first.tags[:3]) == (("Rockwell", "International", "Corp."), ("B-NP", "I-NP", "I-NP"))

    def test_validation_is_a_tenth_of_the_training_sentences(self):
        splits = load_tagged("conll2000").splits
        assert {split: len(part) for split, part in splits.items()} == {"train": 8042, "validation": 894, "test": 2012}
