"""What the value of ``--data`` is where a text is wanted: a name, a folder or a file, and the texts in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elman.data.entry import find
from elman.data.text.files import Text, TextFile, TextInMemory, cut_in_parts
from elman.data.text.ptb import PTB
from elman.data.text.pydoc import PYDOC, pydoc_splits
from elman.data.text.shakespeare import SHAKESPEARE
from elman.errors import DataError, describe, did_you_mean

__all__ = ["TEXTS", "SplitText", "open_text"]

TEXTS = (PYDOC.name, PTB.name, SHAKESPEARE.name)
_ACCEPTED = f"{', '.join(TEXTS)}, a folder with train.txt, valid.txt and test.txt, or a text file"
_SPELLINGS = {"train": ("train",), "validation": ("valid", "validation"), "test": ("test",)}
_SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}


@dataclass(frozen=True)
class SplitText:
    """A text in its splits.

    Attributes:
        name: For people.
        splits: "train", and where there are any "validation" and "test".
        notes: What was done to it, a line each.
    """

    name: str
    splits: dict[str, Text]
    notes: tuple[str, ...]


def open_text(source: str) -> SplitText:
    """Find a text and its splits; nothing is read yet but the places where a single file is cut.

    Raises:
        DataError: Nothing there, or nothing that is a text.
    """
    try:
        if source == PYDOC.name:
            splits, note = pydoc_splits()
            return SplitText(source, {name: TextInMemory(text) for name, text in splits.items()}, (note,))
        if source == PTB.name:
            return SplitText(source, _in_folder(find(PTB)), ())
        if source == SHAKESPEARE.name:
            return _one_file(find(SHAKESPEARE) / SHAKESPEARE.files[0].name, source)
        path = _existing(source)
        if path.is_dir():
            return SplitText(path.resolve().name, _in_folder(path), ())
        if not path.is_file():
            raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="neither a folder nor a file"))
        return _one_file(path, path.stem)
    except OSError as error:  # a folder that may not be listed, a name that is too long
        raise DataError(describe(f"--data {source}", expected="readable", got=error.strerror or str(error))) from error


def _existing(source: str) -> Path:
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="the home of nobody")) from error
    if path.exists():
        return path
    if source in {"digits", "mnist"}:
        cause = f"Train with it by `elman train classify --data {source}`."
        raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="a set of pictures", cause=cause))
    near = "" if path.name != source else did_you_mean(source, TEXTS)
    raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="nothing of that name", cause=near))


def _one_file(path: Path, name: str) -> SplitText:
    parts = cut_in_parts(path, tuple(_SHARES.values()))
    note = f"{path.name} is one file: its last tenth is split evenly between validation and test"
    return SplitText(name, dict(zip(_SHARES, parts, strict=True)), (note,))


def _in_folder(folder: Path) -> dict[str, Text]:
    """The files of a folder, by split."""
    splits: dict[str, Text] = {}
    for split, spellings in _SPELLINGS.items():
        names = [f"{prefix}{spelling}.txt" for spelling in spellings for prefix in ("", "ptb.")]
        files = [folder / name for name in names if (folder / name).is_file()]
        if len(files) > 1:
            got = " and ".join(file.name for file in files)
            raise DataError(describe(f"{folder}: {split}", expected="one file", got=got))
        if files:
            splits[split] = TextFile(files[0], 0, files[0].stat().st_size)
    if "train" not in splits:
        found = sorted(child.name for child in folder.iterdir())
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        cause = "A single file is given by its own path." if any(name.endswith(".txt") for name in found) else ""
        expected = "with train.txt or ptb.train.txt"
        raise DataError(describe(f"the folder {folder}", expected=expected, got=shown or "nothing in it", cause=cause))
    return splits
