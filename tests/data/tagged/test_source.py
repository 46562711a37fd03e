from __future__ import annotations

import gzip
import io
import os
from itertools import pairwise

import pytest

from elman.data import catalogue
from elman.data.tagged.columns import Columns
from elman.data.tagged.sentences import Sentence
from elman.data.tagged.source import TAGGED, load_tagged, read_sentences
from elman.errors import DataError, OptionError


def text_of(count, *, first=0, tag="NOUN"):
    return "".join(f"w{number} x {tag}\n\n" for number in range(first, first + count))


def words_of(sentences):
    return [word for sentence in sentences for word in sentence.tokens]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "train.txt").write_text(text_of(40))
    (folder / "test.txt").write_text(text_of(5, first=50))
    return folder


def test_a_folder_has_its_splits_in_files(folder):
    (folder / "dev.txt").write_text(text_of(3, first=60))
    data = load_tagged(str(folder), validation=0.5)
    assert {split: words_of(part) for split, part in data.splits.items()} == {
        "train": [f"w{n}" for n in range(40)],
        "validation": ["w60", "w61", "w62"],
        "test": [f"w{n}" for n in range(50, 55)],
    }
    assert list(data.splits) == ["train", "validation", "test"]
    assert (data.name, data.level, data.scheme, data.notes) == ("mine", "word", None, ())
    assert data.columns == Columns(0, 2, ())


@pytest.mark.parametrize(("validation", "count"), [(0.1, 4), (7, 7), (0.5, 20)])
def test_validation_is_held_out_of_the_training_sentences(folder, validation, count):
    splits = load_tagged(str(folder), validation=validation, seed=3).splits
    assert len(splits["validation"]) == count
    assert sorted(words_of(splits["train"]) + words_of(splits["validation"])) == sorted(f"w{n}" for n in range(40))
    other = load_tagged(str(folder), validation=validation, seed=4)
    assert other.splits["validation"] != splits["validation"]
    assert other.splits["test"] == splits["test"]
    assert other.notes == (f"{count} training sentences are held out for validation",)


def test_no_validation_is_none(folder):
    assert list(load_tagged(str(folder), validation=0).splits) == ["train", "test"]


def test_a_file_gives_up_a_tenth_for_testing_whatever_the_seed(tmp_path):
    (tmp_path / "all.tsv.gz").write_bytes(gzip.compress(text_of(40).encode()))
    data = [load_tagged(str(tmp_path / "all.tsv.gz"), seed=seed) for seed in (0, 1)]
    assert {split: len(part) for split, part in data[0].splits.items()} == {"train": 32, "validation": 4, "test": 4}
    assert data[0].splits["test"] == data[1].splits["test"]
    assert data[0].splits["train"] != data[1].splits["train"]
    assert data[0].notes[0] == "all.tsv.gz has no test sentences of its own: the same tenth is always held out"
    parts = [set(words_of(part)) for part in data[0].splits.values()]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 40


def test_columns_and_scheme_are_passed_on(folder):
    (folder / "train.txt").write_text("X He I-P\nY she I-P\n\n" * 9)
    (folder / "test.txt").write_text("X Bo I-P\n")
    data = load_tagged(str(folder), word_column=1, feature_columns=[0], scheme="BIOES", validation=0)
    assert data.splits["train"][0] == Sentence(("He", "she"), ("B-P", "E-P"), (("X", "Y"),))
    assert data.splits["test"][0].tags == ("S-P",)
    assert (data.scheme, data.columns) == ("BIOES", Columns(1, 2, (0,)))
    assert data.notes == ("the spans were in IOB1 and are in BIOES now",)
    labels = load_tagged(str(folder), word_column="1" and 1, tag_column=0, validation=0)
    assert (labels.scheme, labels.splits["test"][0].tags) == (None, ("X",))


def test_tags_that_training_lacks_are_told(folder):
    (folder / "dev.txt").write_text("w x VERB\n")
    (folder / "test.txt").write_text("".join(f"w x T{number}\n" for number in range(7)))
    assert load_tagged(str(folder)).notes == (
        "the training sentences lack tags of validation: VERB",
        "the training sentences lack tags of test: T0, T1, T2, T3, T4 and 2 more",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "IOB"}, "scheme must be given, BIO or BIOES, got 'IOB'"),
        ({"scheme": "BIO"}, r"scheme must be left as given where tags are plain labels, got BIO\.$"),
        ({"validation": 40}, "--validation: size of a hold-out must be from 1 to 39 sentences, got 40"),
        ({"tag_column": 3}, "tag column must be from 0 to 2.*train.txt has 3, got 3"),
        ({"feature_columns": [2]}, "must be different from each other"),
    ],
)
def test_options_that_the_data_does_not_have_are_refused(folder, options, message):
    with pytest.raises(OptionError, match=message):
        load_tagged(str(folder), **options)


def test_files_must_agree_in_their_columns(folder):
    (folder / "test.txt").write_text("a NOUN\n")
    with pytest.raises(DataError, match=r"test.txt: columns must be 3, as train.txt has, got 2"):
        load_tagged(str(folder))


def test_a_single_sentence_cannot_be_split(tmp_path):
    (tmp_path / "one.txt").write_text("a NOUN\n")
    with pytest.raises(DataError, match="There are no test sentences, and none can be held out: size of a hold-out"):
        load_tagged(str(tmp_path / "one.txt"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("conll200", r"got nothing of that name. Did you mean 'conll2000'\?"),
        ("./conll2000", r"got nothing of that name\.$"),
        ("mnist", "got data without tags. Train with it by `elman train classify --data mnist`"),
        ("ptb", "Train with it by `elman train language-model --data ptb`"),
        ("~nobody-of-that-name/x", "got the home of nobody"),
        ("x" * 5000, "must be readable, got File name too long"),
    ],
)
def test_what_is_no_tagged_data_is_explained(source, message):
    with pytest.raises(DataError, match=message):
        load_tagged(source)


def test_a_letter_that_a_kind_lacks_in_training_is_known(folder):
    (folder / "train.txt").write_text("a x B-P\nb x I-P\nc x B-Q\n\n" * 9)
    (folder / "test.txt").write_text("a x B-Q\nb x I-Q\nc x B-R\n")
    data = load_tagged(str(folder), validation=0)
    assert data.tags == ("O", "B-P", "I-P", "B-Q", "I-Q")
    assert data.notes == ("the training sentences lack tags of test: B-R",)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="neither a folder nor a file"):
        load_tagged(str(tmp_path / "pipe"))


@pytest.mark.parametrize("name", ["train.txt", "train.txt.gz"])
def test_conll2000_is_looked_up_where_data_lies(tmp_path, monkeypatch, name):
    monkeypatch.setenv("ELMAN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="Run 'elman data fetch conll2000', or pass --data DIR"):
        load_tagged("conll2000")
    (tmp_path / "conll2000").mkdir()
    body = ("He PRP B-NP\nwent VBD B-VP\n\n" * 20).encode()
    (tmp_path / "conll2000" / name).write_bytes(gzip.compress(body) if name.endswith("gz") else body)
    (tmp_path / "conll2000" / "test.txt").write_bytes(body)
    data = load_tagged("conll2000", feature_columns=[1])
    assert (data.name, data.scheme) == ("conll2000", "BIO")
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 18, "validation": 2, "test": 20}
    assert data.splits["test"][0].features == (("PRP", "VBD"),)


def test_every_name_is_in_the_catalogue():
    assert set(TAGGED) <= set(catalogue.catalogue())


class TestPythonTokens:
    def test_columns_are_for_files(self):
        with pytest.raises(OptionError, match="columns of python-tokens must be left out, got some"):
            load_tagged("python-tokens", feature_columns=[1])

    @pytest.mark.parametrize("scheme", ["given", "BIO", "BIOES"])
    def test_it_comes_in_either_scheme(self, monkeypatch, scheme):
        part = [Sentence(tuple("x=12"), ("B-name", "B-operator", "B-number", "I-number"))]
        splits = dict.fromkeys(("train", "validation", "test"), part)
        monkeypatch.setattr("elman.data.tagged.source.python_splits", lambda: (splits, "from here"))
        data = load_tagged("python-tokens", scheme=scheme)
        tags = ("S-name", "S-operator", "B-number", "E-number") if scheme == "BIOES" else part[0].tags
        assert [part[0].tags for part in data.splits.values()] == [tags] * 3
        assert (data.level, data.scheme, data.notes) == ("character", data.scheme, ("from here",))
        assert data.scheme == ("BIOES" if scheme == "BIOES" else "BIO")


class TestReadSentences:
    def test_a_file_of_columns(self, folder):
        sentences = read_sentences(str(folder / "test.txt"))
        assert sentences == read_sentences(folder / "test.txt") == load_tagged(str(folder)).splits["test"]

    def test_a_file_without_the_tags_of_training(self):
        stream = io.StringIO("He PRP\n\nShe PRP\n")
        sentences = read_sentences(stream, Columns(0, 2, (1,)))
        assert sentences == [Sentence(("He",), (), (("PRP",),)), Sentence(("She",), (), (("PRP",),))]

    def test_text_in_characters(self, tmp_path):
        text = "def f():\n    return '\t𝄞'\n" * 30
        (tmp_path / "a.py").write_bytes(text.replace("\n", "\r\n").encode())
        pieces = read_sentences(tmp_path / "a.py", level="character")
        assert "".join(words_of(pieces)) == text
        assert all(len(a) + len(b) > 256 and not a.tags for a, b in pairwise(pieces[:-1]))

    def test_nothing_is_refused(self, tmp_path):
        (tmp_path / "empty").touch()
        with pytest.raises(DataError, match="empty must be a text, got nothing in it"):
            read_sentences(tmp_path / "empty", level="character")
        with pytest.raises(DataError, match="empty must be one or more sentences"):
            read_sentences(tmp_path / "empty")
