"""The ids of a text on disk: built once, found again, mapped into memory when they are read.

::

    CACHE/text/
    ├── KEY/                   KEY stands for the training text's path, the level and the choice of the vocabulary
    │   ├── corpus.json        the text's files with their sizes and times, the vocabulary, lengths and check sum
    │   └── train.ids, ...     numbers of 1, 2 or 4 bytes, the first byte the lowest
    ├── KEY.draft/             KEY while it is built
    └── KEY.lock               held meanwhile
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from elman.data.entry import cache_directory
from elman.data.text.encoding import Encoding, Ids, id_type
from elman.data.text.vocabulary import Vocabulary
from elman.errors import CheckpointError, DataError, describe

__all__ = ["mapped_ids"]

_FORMAT = 1  # of the files and of what they hold; another one builds anew
_HEADER = "corpus.json"
_LARGEST_HEADER = 1 << 28  # bytes

_Stamps = dict[str, list[str | int]]  # path, size and time of each split's file

_DAMAGED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, CheckpointError)


class _Unusable(OSError):  # noqa: N818  # not an error of the program: the reason to build anew
    """Ids on disk that are not those of the text; just after they were written, an error of the disk."""

    def __init__(self) -> None:
        super().__init__("what was written cannot be read again")


def mapped_ids(
    files: Mapping[str, Path], choices: Mapping[str, Any], encode: Callable[[Callable[[str, Ids], None]], Encoding]
) -> tuple[Encoding, dict[str, Ids]]:
    """The ids of a text by split, mapped from files that are built first unless they are there and right.

    Several processes may ask for the same text: one builds, the others wait.

    Args:
        files: What each split is read from; when the size or time of one changes, the ids are built anew.
        choices: What else the ids depend on, as plain JSON.
        encode: Encodes the text, passing ids on to the function that it is given.

    Raises:
        DataError: The cache cannot be written, or the text changed while it was read.
    """
    paths = {split: str(file.resolve()) for split, file in files.items()}
    key = hashlib.sha256(json.dumps([paths["train"], choices]).encode()).hexdigest()[:32]
    folder = cache_directory() / "text" / key
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            stamps = _stamps(paths)
            try:
                return _open(folder, stamps)
            except _Unusable:
                _build(folder, paths, stamps, encode)
            return _open(folder, stamps)
    except OSError as error:
        raise DataError(
            f"The ids of the text cannot be kept in {folder.parent}: {error.strerror or error}. XDG_CACHE_HOME names "
            "another folder for them; they take 1, 2 or 4 bytes a word or character."
        ) from error


def _build(
    folder: Path,
    paths: Mapping[str, str],
    stamps: _Stamps,
    encode: Callable[[Callable[[str, Ids], None]], Encoding],
) -> None:
    """Write the ids into a draft, and give it its name when all is on disk."""
    draft = folder.with_suffix(".draft")
    for old in (folder, draft):  # of a text that has changed, and of a process that was killed
        if old.exists():
            shutil.rmtree(old)
    draft.mkdir()

    def write(split: str, ids: Ids) -> None:
        with (draft / f"{split}.ids").open("ab") as file:
            file.write(ids.data)

    try:
        encoding = encode(write)
        _require_same(paths, stamps)
        for split in encoding.lengths:
            with (draft / f"{split}.ids").open("ab") as file:
                os.fsync(file.fileno())
        header = {
            "format": _FORMAT,
            "stamps": stamps,
            "vocabulary": encoding.vocabulary.to_json(),
            "lengths": encoding.lengths,
            "changed": {split: (draft / f"{split}.ids").stat().st_mtime_ns for split in encoding.lengths},
            "checksum": encoding.checksum,
            "notes": encoding.notes,
        }
        (draft / _HEADER).write_text(json.dumps(header), encoding="utf-8")
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft)
        raise


def _open(folder: Path, stamps: _Stamps) -> tuple[Encoding, dict[str, Ids]]:
    """Map the ids of a folder, if they are whole and of the text as it is now."""
    path = folder / _HEADER
    if not path.is_file() or path.stat().st_size > _LARGEST_HEADER:
        raise _Unusable
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = Vocabulary.from_json(header["vocabulary"])
        lengths = {str(split): int(length) for split, length in header["lengths"].items()}
        changed = {split: int(header["changed"][split]) for split in lengths}
        encoding = Encoding(vocabulary, lengths, str(header["checksum"]), tuple(map(str, header["notes"])))
        if (header["format"], header["stamps"]) != (_FORMAT, stamps) or set(lengths) != set(stamps):
            raise _Unusable
    except _DAMAGED as error:
        raise _Unusable from error
    kind = id_type(vocabulary)
    arrays: dict[str, Ids] = {}
    for split, length in lengths.items():
        file = folder / f"{split}.ids"
        if not file.is_file():
            raise _Unusable
        found = file.stat()
        if (found.st_size, found.st_mtime_ns) != (length * kind.itemsize, changed[split]):
            raise _Unusable
        arrays[split] = np.memmap(file, kind, "r")
    return encoding, arrays


def _require_same(paths: Mapping[str, str], stamps: _Stamps) -> None:
    changed = [paths[split] for split, now in _stamps(paths).items() if now != stamps[split]]
    if changed:
        raise DataError(f"{changed[0]} changed while it was read. Run it again when the text is complete.")


def _stamps(paths: Mapping[str, str]) -> _Stamps:
    """What changes when a file does."""
    try:
        found = {split: Path(path).stat() for split, path in paths.items()}
    except OSError as error:
        raise DataError(describe(error.filename, expected="readable", got=error.strerror or str(error))) from error
    return {split: [paths[split], file.st_size, file.st_mtime_ns] for split, file in found.items()}
