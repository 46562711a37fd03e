"""What a data set of the catalogue is, and where on this machine it may lie."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from elman.errors import DataError, describe

__all__ = ["Entry", "FileStatus", "RemoteFile", "cache_directory", "find"]


@dataclass(frozen=True)
class RemoteFile:
    """A file as its publisher has it.

    Args:
        name: The file's name, in a mirror and on this machine.
        size: Bytes.
        sha256: Its check sum, in hexadecimal.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A data set that elman knows by name.

    Args:
        name: What to write after ``--data`` and ``elman data fetch``.
        description: One line for people.
        licence: What is known about the right to use it.
        files: What it consists of; empty where it is bundled.
        mirrors: Addresses of folders that hold the files, ending in a slash; tried in this order.
    """

    name: str
    description: str
    licence: str
    files: tuple[RemoteFile, ...] = field(default=())
    mirrors: tuple[str, ...] = field(default=())

    @property
    def bundled(self) -> bool:
        """Whether it comes with an installed package and nothing has to be fetched."""
        return not self.files


class FileStatus(NamedTuple):
    """How a file of a data set stands: "ok", "missing", or what is wrong with it."""

    name: str
    status: str


def cache_directory() -> Path:
    """Where elman keeps fetched data: the platform's cache folder, or XDG_CACHE_HOME where that is set."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "elman"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "elman"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "elman" / "Cache"
    return Path.home() / ".cache" / "elman"


def find(entry: Entry) -> Path:
    """The folder that holds all files of a data set, packed or not: ELMAN_DATA/<name>, or else the cache.

    Raises:
        DataError: It is in neither; the message says how to get it.
    """
    roots = [Path(os.environ["ELMAN_DATA"])] if os.environ.get("ELMAN_DATA") else []
    places = [root / entry.name for root in (*roots, cache_directory())]
    found = ["nothing there"]
    for place in places:
        missing = _missing(entry, place)
        if not missing:
            return place
        if len(missing) < len(entry.files):
            found.append(f"no {', '.join(missing)} in {place}")
    raise DataError(
        describe(
            entry.name,
            expected=f"in {' or '.join(str(place) for place in places)}",
            got="; ".join(found[1:] or found),
            cause=f"Run 'elman data fetch {entry.name}', or pass --data DIR.",
        )
    )


def _missing(entry: Entry, folder: Path) -> list[str]:
    """The files that a folder lacks; unpacked ones and MNIST's other spelling (``images.idx3``) count as there."""
    there = {_plain(child.name) for child in folder.iterdir()} if folder.is_dir() else set()
    return [file.name for file in entry.files if _plain(file.name) not in there]


def _plain(name: str) -> str:
    return name.removesuffix(".gz").replace(".", "-")
