"""The data sets that elman knows by name: what there is, fetching it, and verifying what was fetched.

A new data set is one `Entry` here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from elman.data.download import digest, download
from elman.data.entry import Entry, FileStatus, cache_directory, find
from elman.data.labelled.mnist import MNIST
from elman.data.tagged.conll2000 import CONLL2000
from elman.data.tagged.python_tokens import PYTHON_TOKENS
from elman.data.text.ptb import PTB
from elman.data.text.pydoc import PYDOC
from elman.data.text.shakespeare import SHAKESPEARE
from elman.errors import OptionError, describe, did_you_mean

__all__ = ["catalogue", "fetch", "verify"]

_DIGITS = Entry(
    name="digits",
    description="1,797 handwritten digits, 8x8 pixels, bundled with scikit-learn (Alpaydin & Kaynak 1998)",
    licence="CC BY 4.0 (UCI Machine Learning Repository, Optical Recognition of Handwritten Digits)",
)


def catalogue() -> dict[str, Entry]:
    """All data sets that elman knows, by name.

    Example:
        >>> sorted(catalogue())
        ['conll2000', 'digits', 'mnist', 'ptb', 'pydoc', 'python-tokens', 'tinyshakespeare']
        >>> catalogue()["digits"].bundled
        True
    """
    return {entry.name: entry for entry in (_DIGITS, MNIST, PYDOC, PTB, SHAKESPEARE, PYTHON_TOKENS, CONLL2000)}


def fetch(
    name: str,
    directory: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path | None:
    """Download the files of a data set that are not there yet; an interrupted download goes on where it stopped.

    Args:
        name: A name of the catalogue.
        directory: Where to put them; None for elman's cache, where a run looks for them.
        progress: Called with (file name, bytes so far, bytes in all).

    Returns:
        The folder that holds the files; None for a bundled data set, for which there is nothing to fetch.

    Raises:
        OptionError: An unknown name.
        DownloadError: A file could not be had from any mirror, or not written.
    """
    entry = _entry(name)
    if entry.bundled:
        return None
    folder = cache_directory() / name if directory is None else Path(directory)
    for file in entry.files:

        def report(done: int, total: int, name: str = file.name) -> None:
            if progress is not None:
                progress(name, done, total)

        urls = [mirror + file.name for mirror in entry.mirrors]
        download(urls, folder / file.name, sha256=file.sha256, size=file.size, progress=report)
    return folder


def verify(name: str, directory: str | os.PathLike[str] | None = None) -> list[FileStatus]:
    """Compare the files of a data set with the sizes and check sums of its publisher.

    Args:
        name: A name of the catalogue.
        directory: Where they lie; None for where a run would find them.

    Returns:
        Each file with its status, "ok" where it is right; empty for a bundled data set.

    Raises:
        OptionError: An unknown name.
        DataError: No directory was given and the data set is nowhere.
    """
    entry = _entry(name)
    if entry.bundled:
        return []
    folder = find(entry) if directory is None else Path(directory)
    statuses = []
    for file in entry.files:
        path = folder / file.name
        if not path.is_file():
            status = "missing"
        elif (size := path.stat().st_size) != file.size:
            status = f"wrong size: {size:,} bytes, expected {file.size:,}"
        else:
            status = "ok" if digest(path) == file.sha256 else "wrong SHA-256"
        statuses.append(FileStatus(file.name, status))
    return statuses


def _entry(name: str) -> Entry:
    known = catalogue()
    if name not in known:
        raise OptionError(
            describe("data set", expected="one of the catalogue", got=repr(name), cause=did_you_mean(name, known))
        )
    return known[name]
