"""Which file of a folder is which split, by their names."""

from __future__ import annotations

import re
from pathlib import Path

from elman.errors import DataError, describe

__all__ = ["split_files"]

_SUFFIXES = (".txt", ".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes", ".tsv", ".col")
_SPLITS = {
    "train": "train",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "testa": "validation",
    "test": "test",
    "testb": "test",
}


def split_files(folder: Path) -> dict[str, Path]:
    """Find the files of a folder, by split.

    The last word of a name says which: ``train.txt``, ``en_ewt-ud-dev.conllu``, ``eng.testb``. Other files are left
    alone; beside files of CoNLL-U, which come with their plain text, so are all others. Each may be packed with gzip.

    Raises:
        DataError: No training file, or two files for a split.
    """
    found = [(split, path) for path in sorted(folder.iterdir()) if path.is_file() and (split := _split_of(path.name))]
    if any(".conllu" in path.suffixes for _, path in found):
        found = [(split, path) for split, path in found if ".conllu" in path.suffixes]
    splits: dict[str, Path] = {}
    for split, path in found:
        if split in splits:
            got = f"{splits[split].name} and {path.name}"
            raise DataError(describe(f"{folder}: {split}", expected="one file", got=got))
        splits[split] = path
    if "train" not in splits:
        names = sorted(child.name for child in folder.iterdir())
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        cause = "A single file is given by its own path." if any(name.endswith(_SUFFIXES) for name in names) else ""
        expected = "with a file such as train.txt, train.conllu or eng.train"
        raise DataError(describe(f"the folder {folder}", expected=expected, got=shown or "nothing in it", cause=cause))
    return splits


def _split_of(name: str) -> str | None:
    """The split that a file name speaks of."""
    plain = name.removesuffix(".gz")
    suffix = next((suffix for suffix in _SUFFIXES if plain.endswith(suffix)), "")
    last = re.search(r"[a-z]+$", plain.removesuffix(suffix).lower())
    return _SPLITS.get(last[0]) if last else None
