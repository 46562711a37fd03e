from __future__ import annotations

import os

import pytest

from elman.data import catalogue
from elman.data.labelled.source import load_labelled
from elman.data.text.files import TextFile
from elman.data.text.source import TEXTS, open_text
from elman.errors import DataError


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(f"{name}\n")
    return folder


def names_of(text):
    return {split: part.path.name for split, part in text.splits.items()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train.txt"], {"train": "train.txt"}),
        (
            ["train.txt", "valid.txt", "test.txt", "README.txt"],
            {"train": "train.txt", "validation": "valid.txt", "test": "test.txt"},
        ),
        (["train.txt", "validation.txt"], {"train": "train.txt", "validation": "validation.txt"}),
        (
            ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"],
            {"train": "ptb.train.txt", "validation": "ptb.valid.txt", "test": "ptb.test.txt"},
        ),
    ],
)
def test_a_folder_has_its_splits_in_files(tmp_path, files, expected):
    text = open_text(str(put(tmp_path / "mine", *files)))
    assert (text.name, names_of(text), text.notes) == ("mine", expected, ())
    assert all((part.begin, part.end) == (0, len(part.path.name) + 1) for part in text.splits.values())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "with train.txt or ptb.train.txt, got nothing in it"),
        (["a.txt"], r"got a\.txt\. A single file is given by its own path"),
        ([f"{n}.csv" for n in range(7)], r"got 0\.csv, 1\.csv, 2\.csv, 3\.csv, 4\.csv and 2 more\.$"),
        (["train.txt", "ptb.train.txt"], r"train must be one file, got train\.txt and ptb\.train\.txt"),
        (["train.txt", "valid.txt", "validation.txt"], "validation must be one file"),
    ],
)
def test_a_folder_without_one_training_text_is_refused(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        open_text(str(put(tmp_path / "mine", *files)))


def test_a_file_is_split_and_says_so(tmp_path):
    path = tmp_path / "novel.text"
    path.write_text("a line\n" * 100)
    text = open_text(str(path))
    assert text.name == "novel"
    assert {split: part.end - part.begin for split, part in text.splits.items()} == {
        "train": 630,
        "validation": 35,
        "test": 35,
    }
    assert text.notes == ("novel.text is one file: its last tenth is split evenly between validation and test",)


def test_names_are_looked_up_where_data_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("ELMAN_DATA", str(tmp_path))
    put(tmp_path / "ptb", "ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
    assert [part.path.parent.name for part in open_text("ptb").splits.values()] == ["ptb"] * 3
    (tmp_path / "tinyshakespeare").mkdir()
    (tmp_path / "tinyshakespeare" / "input.txt").write_text("a line\n" * 100)
    text = open_text("tinyshakespeare")
    assert (text.name, text.splits["train"].path.name) == ("tinyshakespeare", "input.txt")
    assert set(open_text("pydoc").splits) == {"train", "validation", "test"}


@pytest.mark.parametrize("name", ["ptb", "tinyshakespeare"])
def test_a_name_that_is_nowhere_says_how_to_get_it(tmp_path, monkeypatch, name):
    monkeypatch.delenv("ELMAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=f"Run 'elman data fetch {name}', or pass --data DIR"):
        open_text(name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pydocs", "got nothing of that name. Did you mean 'pydoc'?"),
        ("./pydocs", "got nothing of that name.$"),
        ("mnist", "got a set of pictures. .*elman train classify --data mnist"),
        ("~nobody-of-that-name/x", "got the home of nobody"),
        ("x" * 5000, "must be readable, got File name too long"),
    ],
)
def test_what_is_no_text_is_explained(source, message):
    with pytest.raises(DataError, match=message):
        open_text(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="neither a folder nor a file"):
        open_text(str(tmp_path / "pipe"))


def test_a_folder_of_the_same_name_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "mnist", "train.txt")
    put(tmp_path / "pydoc", "train.txt")
    assert isinstance(open_text("mnist").splits["train"], TextFile)
    assert isinstance(open_text("./pydoc").splits["train"], TextFile)
    assert not isinstance(open_text("pydoc").splits["train"], TextFile)


@pytest.mark.parametrize("name", TEXTS)
def test_a_classifier_is_told_that_a_text_is_one(name):
    assert name in catalogue.catalogue()
    with pytest.raises(DataError, match=f"got a text. Train with it by `elman train language-model --data {name}`"):
        load_labelled(name)
