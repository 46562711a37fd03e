"""One file from several mirrors: resumed where it was cut off, moved into place only when its check sum is right."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from elman.errors import DownloadError, MissingExtraError

try:
    from filelock import FileLock
except ImportError as error:
    raise MissingExtraError("Downloads need filelock: pip install 'elman[train]'") from error

__all__ = ["digest", "download"]

_ATTEMPTS = 3
_CHUNK = 1 << 16


class Progress(Protocol):
    """What is called with the bytes so far and the bytes in all."""

    def __call__(self, done: int, total: int, /) -> None: ...


class _Refused(Exception):  # noqa: N818  # not an error of the program: the reason why a mirror is given up
    """A mirror that does not have the right file."""


def download(
    urls: Sequence[str],
    destination: str | os.PathLike[str],
    *,
    sha256: str,
    size: int,
    progress: Progress | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Path:
    """Download a file, unless it is already there and right.

    What has come so far is kept beside it as ``<name>.part`` and continued by the next attempt, mirror or call. Never
    are more bytes taken than `size`. Several processes may fetch the same file: one does, the others wait.

    Args:
        urls: The same file in several places (http or https), tried in this order.
        destination: Where to put it; folders are made.
        sha256: The check sum it must have, in hexadecimal.
        size: The bytes it must have.
        progress: Called with (bytes so far, bytes in all).
        timeout: Seconds without an answer after which a mirror is given up.
        pause: Seconds before a mirror that broke off is asked again; doubled each time.

    Returns:
        The destination.

    Raises:
        DownloadError: No mirror gave the right bytes (says why for each, and what to do), or they cannot be written.
    """
    destination = Path(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(destination.with_name(destination.name + ".lock")):
            _download(urls, destination, _Task(sha256, size, progress, timeout, pause))
    except OSError as error:
        raise DownloadError(f"{destination} cannot be written: {error.strerror or error}.") from error
    return destination


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Task:
    """What all attempts at a file share."""

    def __init__(self, sha256: str, size: int, progress: Progress | None, timeout: float, pause: float) -> None:
        self.sha256, self.size, self.timeout, self.pause = sha256, size, timeout, pause
        self.report: Callable[[int, int], None] = progress or (lambda done, total: None)

    def is_done(self, path: Path) -> bool:
        return path.is_file() and path.stat().st_size == self.size and digest(path) == self.sha256


def _download(urls: Sequence[str], destination: Path, task: _Task) -> None:
    if task.is_done(destination):
        task.report(task.size, task.size)
        return
    part = destination.with_name(destination.name + ".part")
    failures = []
    for url in urls:
        try:
            _from_mirror(url, part, task)
        except _Refused as refusal:
            failures.append(f"{urlsplit(url).netloc or url}: {refusal}")
            continue
        part.replace(destination)
        return
    raise DownloadError(
        f"{destination.name} could not be had from any mirror ({'; '.join(failures)}). Without a network, copy the "
        f"file by hand into {destination.parent}, or pass --data DIR where you have it."
    )


def _from_mirror(url: str, part: Path, task: _Task) -> None:
    """Complete the part from one mirror, going on where it breaks off."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise _Refused("not an http address")
    pause, broke_off = task.pause, ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(pause)
            pause *= 2
        resumed = part.stat().st_size if part.exists() else 0
        if resumed >= task.size:  # complete, or not ours
            if task.is_done(part):
                return
            part.unlink()
            resumed = 0
        broke_off = _request(url, part, resumed, task)
        if task.is_done(part):
            task.report(task.size, task.size)
            return
        if not broke_off:
            part.unlink()
            # The bytes of an older attempt may have been the wrong ones, so this mirror deserves a whole try.
            if not resumed:
                raise _Refused("other bytes than expected (wrong SHA-256)")
            broke_off = "other bytes than expected (wrong SHA-256)"
    raise _Refused(broke_off)


def _request(url: str, part: Path, resumed: int, task: _Task) -> str:
    """Append what a mirror sends to the part; returns why it broke off, or nothing when all bytes came."""
    headers = {"User-Agent": "elman", "Accept-Encoding": "identity"}
    if resumed:
        headers["Range"] = f"bytes={resumed}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=task.timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # it has fewer bytes than we do
            part.unlink()
        if error.code in (416, 429, 500, 502, 503, 504):
            return f"HTTP {error.code}"
        raise _Refused(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        return _reason(error.reason)
    except (OSError, http.client.HTTPException) as error:
        return _reason(error)
    with response:
        if resumed and not _continues(response, resumed):
            resumed = 0
        promised = response.headers.get("Content-Length", "")
        if promised.isdecimal() and resumed + int(promised) != task.size:
            raise _Refused(f"{resumed + int(promised):,} bytes where {task.size:,} are expected")
        with part.open("ab" if resumed else "wb") as file:
            return _copy(response, file, resumed, task)


def _continues(response: http.client.HTTPResponse, resumed: int) -> bool:
    """Whether an answer begins at the byte that was asked for; one that ignores ranges begins at the first."""
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {resumed}-")
    return response.status == 206 and begins


def _copy(response: http.client.HTTPResponse, file: BinaryIO, done: int, task: _Task) -> str:
    while done < task.size:
        try:
            chunk = response.read(min(_CHUNK, task.size - done))
        except (OSError, http.client.HTTPException) as error:
            return _reason(error)
        if not chunk:
            return f"broke off after {done:,} of {task.size:,} bytes"
        file.write(chunk)
        done += len(chunk)
        task.report(done, task.size)
    return ""


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
