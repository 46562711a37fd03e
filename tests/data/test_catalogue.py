from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from elman.data import catalogue as module
from elman.data.catalogue import catalogue, fetch, verify
from elman.data.entry import Entry, RemoteFile
from elman.errors import DataError, OptionError

FILES = {"a.gz": b"first", "b.gz": b"second one"}
TOY = Entry(
    "mnist",
    "two files",
    "free",
    tuple(RemoteFile(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in FILES.items()),
    ("http://one.test/", "http://two.test/d/"),
)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "MNIST", TOY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ELMAN_DATA", raising=False)


@pytest.fixture
def downloads(monkeypatch):
    """Stands for the network: writes the file and remembers where it would have been had from."""
    asked = []

    def download(urls, destination, *, sha256, size, progress):
        asked.append(urls)
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(FILES[destination.name])
        assert hashlib.sha256(FILES[destination.name]).hexdigest() == sha256
        progress(size, size)

    monkeypatch.setattr(module, "download", download)
    return asked


def test_entries_say_what_people_need_to_know():
    entries = catalogue()
    assert list(entries) == ["digits", "mnist", "pydoc", "ptb", "tinyshakespeare", "python-tokens", "conll2000"]
    assert [name for name, entry in entries.items() if entry.bundled] == ["digits", "pydoc", "python-tokens"]
    for name, entry in entries.items():
        assert entry.name == name
        assert entry.description
        assert entry.licence


@pytest.mark.usefixtures("toy")
def test_fetch_brings_every_file_from_every_mirror_into_the_cache(downloads, tmp_path):
    reports = []
    folder = fetch("mnist", progress=lambda *report: reports.append(report))
    assert folder == tmp_path / "cache" / "elman" / "mnist"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert downloads == [[f"http://one.test/{name}", f"http://two.test/d/{name}"] for name in FILES]
    assert reports == [("a.gz", 5, 5), ("b.gz", 10, 10)]
    assert verify("mnist") == [("a.gz", "ok"), ("b.gz", "ok")]


@pytest.mark.usefixtures("toy", "downloads")
def test_fetch_puts_them_where_it_is_told(tmp_path):
    assert fetch("mnist", tmp_path / "here") == tmp_path / "here"
    assert (tmp_path / "here" / "a.gz").read_bytes() == b"first"


@pytest.mark.usefixtures("toy")
def test_verify_says_what_is_wrong_with_each_file(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"other")
    assert verify("mnist", tmp_path) == [("a.gz", "wrong SHA-256"), ("b.gz", "missing")]
    (tmp_path / "a.gz").write_bytes(b"firs")
    assert verify("mnist", tmp_path)[0] == ("a.gz", "wrong size: 4 bytes, expected 5")


@pytest.mark.usefixtures("toy")
def test_verify_of_what_is_nowhere_says_how_to_get_it():
    with pytest.raises(DataError, match="elman data fetch mnist"):
        verify("mnist")


def test_bundled_data_needs_neither():
    assert fetch("digits") is None
    assert verify("digits") == []


@pytest.mark.parametrize("function", [fetch, verify])
def test_an_unknown_name_names_the_nearest(function):
    with pytest.raises(OptionError, match=r"got 'mnits'. Did you mean 'mnist'"):
        function("mnits")


def test_an_entry_needs_its_name_alone_to_be_found(monkeypatch):
    monkeypatch.setattr(module, "MNIST", replace(TOY, name="other"))
    assert sorted(catalogue()) == ["conll2000", "digits", "other", "ptb", "pydoc", "python-tokens", "tinyshakespeare"]


@pytest.mark.real_data
@pytest.mark.skipif("ELMAN_DATA" not in os.environ, reason="ELMAN_DATA is not set")
def test_the_real_files_have_the_published_check_sums():
    statuses = verify("mnist", Path(os.environ["ELMAN_DATA"]) / "mnist")
    assert [status.status for status in statuses] == ["ok"] * 4
