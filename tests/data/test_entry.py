from __future__ import annotations

import sys
from pathlib import Path

import pytest

from elman.data.entry import Entry, RemoteFile, cache_directory, find
from elman.errors import DataError

TOY = Entry(
    "toy", "two files", "free", (RemoteFile("a-idx1.gz", 1, "0" * 64), RemoteFile("b.txt", 1, "0" * 64)), ("x/",)
)


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("ELMAN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "data" / "toy", tmp_path / "cache" / "elman" / "toy"


def put(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_data_folder_comes_before_the_cache(places):
    data, cache = places
    put(cache, "a-idx1.gz", "b.txt")
    assert find(TOY) == cache
    put(data, "a-idx1.gz", "b.txt")
    assert find(TOY) == data


def test_a_folder_that_lacks_a_file_is_passed_over(places):
    data, cache = places
    put(data, "a-idx1.gz")
    put(cache, "a-idx1.gz", "b.txt")
    assert find(TOY) == cache


def test_unpacked_files_and_the_other_spelling_count(places):
    put(places[0], "a.idx1", "b.txt")
    assert find(TOY) == places[0]


def test_an_unfinished_download_is_named_with_what_it_lacks(places):
    put(places[1], "a-idx1.gz", "b.txt.part")
    with pytest.raises(DataError, match=r"got no b.txt in .*cache.*elman data fetch toy"):
        find(TOY)


def test_nothing_anywhere_says_what_to_do(places, monkeypatch):
    with pytest.raises(
        DataError, match=r"toy must be in .*data.toy or .*cache.*got nothing there\. Run 'elman data fetch"
    ):
        find(TOY)
    monkeypatch.delenv("ELMAN_DATA")
    with pytest.raises(DataError, match=r"or pass --data DIR\."):
        find(TOY)


def test_cache_directory_follows_the_platform(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_directory() == Path("/x/elman")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    for platform, expected in (
        ("linux", "/home/me/.cache/elman"),
        ("darwin", "/home/me/Library/Caches/elman"),
        ("win32", "/home/me/AppData/Local/elman/Cache"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_directory() == Path(expected)


def test_bundled_is_what_has_no_files():
    assert not TOY.bundled
    assert Entry("x", "", "").bundled
