from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from elman.data import Entry, RemoteFile, write_idx


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None: ...  # noqa: A002 - the name in the base class


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A small MNIST on a mirror of this machine."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 10)):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", random.integers(0, 255, (count, 28, 28), dtype=np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    files = tuple(
        RemoteFile(file.name, file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in sorted(folder.iterdir())
    )
    entry = Entry("mnist", "a small one", "free", files, (f"http://127.0.0.1:{server.server_port}/",))
    monkeypatch.setattr("elman.data.catalogue.MNIST", entry)
    monkeypatch.setattr("elman.data.labelled.source.MNIST", entry)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_list(elman) -> None:
    status, out, err = elman("data", "list")
    assert (status, err) == (0, "")
    (digits,) = (line for line in out.splitlines() if "digits" in line and "bundled" in line)
    (mnist,) = (line for line in out.splitlines() if "mnist" in line)
    assert "CC BY 4.0" in digits
    assert "11.6 MB" in mnist
    assert "not yet: elman data fetch mnist" in mnist


@pytest.mark.usefixtures("mirror")
def test_fetch_verify_list_and_train(elman, tmp_path: Path) -> None:
    folder = tmp_path / ".cache/elman/mnist"
    status, out, err = elman("data", "fetch", "mnist")
    assert (status, out) == (0, "")
    assert err.splitlines()[-1] == f"Complete and verified: {folder}"
    names = [f"{part}-{kind}.gz" for part in ("t10k", "train") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".gz") == names
    assert elman("data", "verify", "mnist") == (0, "".join(f"{name}: ok\n" for name in names), "")
    assert str(folder) in elman("data", "list").out
    options = ("--steps", 2, "--validation", 10, "--threads", 1, "--no-tensorboard", "--hidden-size", 8)
    status, _, err = elman("train", "mnist", *options, "--out", "run")
    assert status == 0
    assert "mnist: 30 train, 10 validation, 10 test; 28 steps of 28, 10 classes." in err


@pytest.mark.usefixtures("mirror")
def test_verify_leaves_with_2_where_a_file_is_wrong(elman, tmp_path: Path) -> None:
    assert elman("data", "fetch", "mnist", "--directory", "here").status == 0
    (tmp_path / "here/train-images-idx3-ubyte.gz").unlink()
    labels = tmp_path / "here/train-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-1] + b"x")
    status, out, _ = elman("data", "verify", "mnist", "--directory", "here")
    assert status == 2
    assert out.splitlines()[2:] == [
        "train-images-idx3-ubyte.gz: missing",
        "train-labels-idx1-ubyte.gz: wrong SHA-256",
    ]


def test_no_network_says_what_to_do(elman, mirror: ThreadingHTTPServer, monkeypatch, tmp_path: Path) -> None:
    from elman.data import catalogue

    offline = Entry("mnist", "", "", catalogue.MNIST.files, ("http://127.0.0.1:9/",))
    monkeypatch.setattr(catalogue, "MNIST", offline)
    status, out, err = elman("data", "fetch", "mnist", "--directory", "here")
    assert (status, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("elman: ")
    assert "127.0.0.1:9" in last
    assert not list((tmp_path / "here").glob("*.gz"))


def test_bundled_data_needs_nothing(elman) -> None:
    assert elman("data", "fetch", "digits") == (0, "", "It comes with elman: nothing to fetch.\n")
    assert elman("data", "verify", "digits").status == 0


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_unknown_names(refused, command: str) -> None:
    message = "data set must be one of the catalogue, got 'mnits'. Did you mean 'mnist'?"
    assert message in refused("data", command, "mnits")


def test_verify_of_what_is_nowhere(refused) -> None:
    assert "Run 'elman data fetch mnist', or pass --data DIR." in refused("data", "verify", "mnist")


def test_without_a_command(elman) -> None:
    status, out, _ = elman("data")
    assert status == 2
    assert out.startswith("usage: elman data list | fetch NAME | verify NAME")
