from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from elman.data.text import id_files as module
from elman.data.text.corpus import load_corpus
from elman.data.text.vocabulary import Vocabulary
from elman.errors import DataError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "elman" / "text"


@pytest.fixture
def source(tmp_path, cache):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "train.txt").write_text("the cat sat on the mat\n" * 50)
    (folder / "test.txt").write_text("the dog\n")
    return folder


class Builds:
    """Counts how often a text is read."""

    def __init__(self):
        self.count = 0

    def __call__(self, what, done, total):
        self.count += what == "encoding train"

    def load(self, source, **options):
        before = self.count
        corpus = load_corpus(str(source), progress=self, **options)
        return corpus, self.count - before


@pytest.fixture
def builds():
    return Builds()


def folders(cache):
    return sorted(path for path in cache.iterdir() if path.is_dir())


def age(path, seconds=1):
    """Give a file another time; two writes may fall into one tick of the clock."""
    at = path.stat().st_mtime_ns + seconds * 10**9
    os.utime(path, ns=(at, at))


def test_built_once_and_found_again(source, cache, builds):
    first, built = builds.load(source)
    assert built == 1
    again, built = builds.load(source)
    assert built == 0
    assert again.vocabulary.entries == first.vocabulary.entries
    assert (again.name, again.checksum, again.notes) == (first.name, first.checksum, first.notes)
    assert {split: ids.tolist() for split, ids in again.splits.items()} == {
        split: ids.tolist() for split, ids in first.splits.items()
    }
    assert [path.name for path in sorted(folders(cache)[0].iterdir())] == ["corpus.json", "test.ids", "train.ids"]


def test_each_choice_has_its_own(source, cache, builds):
    choices = [
        {},
        {"level": "character"},
        {"vocabulary_size": 4},
        {"vocabulary": Vocabulary("word", ("cat", "<unk>", "<eos>"))},
        {"vocabulary": Vocabulary("word", ("dog", "<unk>", "<eos>"))},
    ]
    assert [builds.load(source, **options)[1] for options in choices] == [1] * 5
    assert [builds.load(source, **options)[1] for options in choices] == [0] * 5
    assert len(folders(cache)) == 5
    assert builds.load(source, vocabulary_size=10_000)[1] == 0, "the size that is meant where none is given"


def test_the_same_folder_by_another_path_is_the_same(source, builds, monkeypatch):
    builds.load(source)
    monkeypatch.chdir(source.parent)
    assert builds.load("mine")[1] == 0


@pytest.mark.parametrize("change", ["size", "time", "more"])
def test_a_changed_text_is_built_anew_and_the_old_ids_deleted(source, cache, builds, change):
    old, _ = builds.load(source)
    file = source / "train.txt"
    if change == "size":
        file.write_text("a new text of other words\n" * 9)
    elif change == "time":
        file.write_text("the cat sat on the mud\n" * 50)
        age(file)
    else:
        (source / "valid.txt").write_text("the mat\n")
    new, built = builds.load(source)
    assert built == 1
    expected = file.read_text().replace("\n", " <eos> ").split()
    assert [new.vocabulary.entries[row] for row in new.splits["train"]] == expected
    assert len(folders(cache)) == 1
    assert old.vocabulary.decode(old.splits["test"][:1]) == "the", "what is mapped stays"


def _overwrite(path, content):
    path.write_bytes(content)


def _edit(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


DAMAGES = {
    "ids cut off": lambda entry: os.truncate(entry / "train.ids", 7),
    "ids emptied": lambda entry: os.truncate(entry / "test.ids", 0),
    "ids too long": lambda entry: _overwrite(entry / "train.ids", (entry / "train.ids").read_bytes() + b"\0"),
    "ids changed": lambda entry: _overwrite(entry / "train.ids", b"\xff" * (entry / "train.ids").stat().st_size),
    "ids gone": lambda entry: (entry / "test.ids").unlink(),
    "header gone": lambda entry: (entry / "corpus.json").unlink(),
    "header empty": lambda entry: _overwrite(entry / "corpus.json", b""),
    "header cut off": lambda entry: os.truncate(entry / "corpus.json", 60),
    "header not UTF-8": lambda entry: _overwrite(entry / "corpus.json", b'{"a": "\xff"}'),
    "header a list": lambda entry: _overwrite(entry / "corpus.json", b"[]"),
    "header nested": lambda entry: _overwrite(entry / "corpus.json", b"[" * 100_000),
    "no vocabulary": lambda entry: _edit(entry / "corpus.json", vocabulary=None),
    "other vocabulary": lambda entry: _edit(entry / "corpus.json", vocabulary={"level": "word", "entries": ["a"]}),
    "endless": lambda entry: _edit(entry / "corpus.json", lengths={"train": float("inf")}),
    "lengths of text": lambda entry: _edit(entry / "corpus.json", lengths={"train": "many"}),
    "no lengths": lambda entry: _edit(entry / "corpus.json", lengths=3),
    "other file": lambda entry: _edit(entry / "corpus.json", lengths={"../x": 3}, changed={"../x": 3}),
    "no training ids": lambda entry: _edit(entry / "corpus.json", lengths={}, changed={}),
    "longer than the file": lambda entry: _edit(entry / "corpus.json", lengths={"train": 9**9, "test": 3}),
    "other format": lambda entry: _edit(entry / "corpus.json", format=0),
    "no stamps": lambda entry: _edit(entry / "corpus.json", stamps=None),
    "notes a number": lambda entry: _edit(entry / "corpus.json", notes=3),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_and_the_ids_built_anew(source, cache, builds, damage):
    first, _ = builds.load(source)
    expected = {split: ids.tolist() for split, ids in first.splits.items()}
    (entry,) = folders(cache)
    DAMAGES[damage](entry)
    if damage == "ids changed":
        age(entry / "train.ids")
    again, built = builds.load(source)
    assert built == 1
    assert {split: ids.tolist() for split, ids in again.splits.items()} == expected
    assert again.checksum == first.checksum
    assert folders(cache) == [entry]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("at", ["counting train", "encoding train", "encoding test"])
def test_an_interrupted_build_leaves_nothing_and_is_done_again(source, cache, builds, error, at):
    def interrupt(what, done, total):
        if what == at:
            raise error

    with pytest.raises(error):
        load_corpus(str(source), progress=interrupt)
    assert folders(cache) == []
    assert builds.load(source)[1] == 1


def test_what_a_killed_process_left_is_not_used(source, cache, builds):
    first, _ = builds.load(source)
    (entry,) = folders(cache)
    expected = first.splits["train"].tolist()
    draft = entry.rename(entry.with_suffix(".draft"))
    (draft / "train.ids").write_bytes(b"half")
    again, built = builds.load(source)
    assert built == 1
    assert again.splits["train"].tolist() == expected
    assert folders(cache) == [entry]


def test_a_text_that_grows_while_it_is_read_is_refused(source, cache):
    def grow(what, done, total):
        if what == "encoding test":
            with (source / "train.txt").open("a") as file:
                file.write("more\n")

    with pytest.raises(DataError, match=r"train\.txt changed while it was read"):
        load_corpus(str(source), progress=grow)
    assert folders(cache) == []


def test_a_text_that_vanishes_while_it_is_read_is_named(source, cache):
    def remove(what, done, total):
        if what == "encoding test":
            (source / "train.txt").unlink()

    with pytest.raises(DataError, match=r"train\.txt must be readable, got No such file"):
        load_corpus(str(source), progress=remove)
    assert folders(cache) == []


def test_a_wrong_byte_leaves_nothing(source, cache):
    (source / "test.txt").write_bytes(b"the \xff\n")
    with pytest.raises(DataError, match=r"test\.txt must be UTF-8 text, got the byte ff at offset 4 \(line 1\)"):
        load_corpus(str(source))
    assert folders(cache) == []


def test_a_cache_that_cannot_be_written_says_what_to_do(source, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder would be")
    with pytest.raises(DataError, match=r"cannot be kept in .*cache.*XDG_CACHE_HOME names another folder"):
        load_corpus(str(source))


def test_a_disk_that_does_not_keep_what_is_written_is_an_error(source, monkeypatch):
    monkeypatch.setattr(module, "_build", lambda *arguments: None)
    with pytest.raises(
        DataError, match=r"cannot be kept in .*: what was written cannot be read again\. XDG_CACHE_HOME"
    ):
        load_corpus(str(source))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_full_disk_leaves_nothing(source, cache):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(DataError, match=r"cannot be kept in .*File too large.*XDG_CACHE_HOME"):
            load_corpus(str(source))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert folders(cache) == []


PROGRAM = """
import sys, time
from pathlib import Path
import filelock
from elman.data import load_corpus

source, meeting, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
reads = []
acquire = filelock.FileLock.acquire

def announced(lock, *arguments, **named):
    (meeting / f"{name} at the lock").touch()
    return acquire(lock, *arguments, **named)

filelock.FileLock.acquire = announced

def progress(what, done, total):
    reads.append(what)
    if name == "first":
        (meeting / "reading").touch()
        while not (meeting / "go").exists():
            time.sleep(0.01)

corpus = load_corpus(source, progress=progress)
print(len(reads), corpus.checksum)
"""


def test_two_processes_build_it_once(source, tmp_path, cache):
    arguments = [sys.executable, "-c", PROGRAM, str(source), str(tmp_path)]
    first = subprocess.Popen([*arguments, "first"], stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "reading").exists():
        assert first.poll() is None
        time.sleep(0.01)
    second = subprocess.Popen([*arguments, "second"], stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "second at the lock").exists() and second.poll() is None:
        time.sleep(0.01)
    (tmp_path / "go").touch()
    (reads, checksum), answer = (process.communicate(timeout=60)[0].split() for process in (first, second))
    assert (reads, first.returncode, second.returncode) == ("3", 0, 0)
    assert answer == ["0", checksum]
    assert len(folders(cache)) == 1
