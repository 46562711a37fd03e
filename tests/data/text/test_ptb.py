from __future__ import annotations

import os
from pathlib import Path

import pytest

from elman.data.catalogue import verify
from elman.data.text.corpus import load_corpus
from elman.data.text.ptb import PTB
from elman.data.text.shakespeare import SHAKESPEARE


@pytest.mark.parametrize("entry", [PTB, SHAKESPEARE], ids=lambda entry: entry.name)
def test_files_and_mirrors_are_well_formed(entry):
    assert len({file.sha256 for file in entry.files}) == len(entry.files)
    assert all(len(file.sha256) == 64 and int(file.sha256, 16) for file in entry.files)
    assert len(entry.mirrors) >= 2
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in entry.mirrors)


@pytest.mark.real_data
@pytest.mark.skipif("ELMAN_DATA" not in os.environ, reason="ELMAN_DATA is not set")
class TestRealData:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    @pytest.mark.parametrize("name", ["ptb", "tinyshakespeare"])
    def test_the_real_files_have_the_published_check_sums(self, name):
        statuses = verify(name, Path(os.environ["ELMAN_DATA"]) / name)
        assert statuses
        assert {status.status for status in statuses} == {"ok"}

    def test_the_treebank_has_the_words_that_everybody_counts(self):
        corpus = load_corpus("ptb")
        assert {split: len(ids) for split, ids in corpus.splits.items()} == {
            "train": 929_589,
            "validation": 73_760,
            "test": 82_430,
        }
        assert len(corpus.vocabulary) == 10_000
        assert corpus.vocabulary.entries[:6] == ("the", "<unk>", "<eos>", "N", "of", "to")
        assert corpus.vocabulary.entries[-1] == "wachter"
        assert {ids.dtype.name for ids in corpus.splits.values()} == {"uint16"}
        assert int((corpus.splits["train"] == corpus.vocabulary.end).sum()) == 42_068
        assert corpus.notes == ("<unk> stands for 4.8 % of train, 4.7 % of validation, 5.8 % of test",)
        assert (
            corpus.vocabulary.decode(corpus.splits["validation"][:8]) == "consumers may want to move their telephones a"
        )

    def test_shakespeare_has_65_characters(self):
        corpus = load_corpus("tinyshakespeare", level="character")
        assert len(corpus.vocabulary) == 66  # and <unk>
        assert sum(len(ids) for ids in corpus.splits.values()) == 1_115_394
        assert {ids.dtype.name for ids in corpus.splits.values()} == {"uint8"}
        assert corpus.vocabulary.decode(corpus.splits["train"][:14]) == "First Citizen:"
