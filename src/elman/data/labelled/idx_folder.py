"""Pairs of idx files, images and their labels, as MNIST and its many relatives come."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from elman.data.labelled.arrays import checked_labels, checked_values
from elman.data.labelled.idx import read_idx
from elman.data.labelled.images import ImageFormat
from elman.data.labelled.sequences import TEST_NOTE, LabelledData, LabelledSequences, split
from elman.errors import DataError, describe

__all__ = ["is_idx_name", "load_idx"]

# train-images-idx3-ubyte.gz, t10k-labels.idx1-ubyte, emnist-letters-test-images-idx3-ubyte, mine.idx3 ...
_NAME = re.compile(r"(?P<stem>.*?)[-._]?(?:images|labels)?[-._]?idx(?P<dimensions>[13])(?:[-._]ubyte)?(?:\.gz)?", re.I)
_ROLE = re.compile(r"(?:^|[-._])(?P<role>train|training|t10k|test)(?=$|[-._])", re.I)


@dataclass(frozen=True)
class _Pair:
    images: Path
    labels: Path


def is_idx_name(name: str) -> bool:
    """Whether a file name is that of an idx file.

    Example:
        >>> is_idx_name("t10k-labels.idx1-ubyte"), is_idx_name("README.md")
        (True, False)
    """
    return _NAME.fullmatch(name) is not None


def load_idx(path: str | os.PathLike[str], *, validation: int | float = 0, seed: int = 0) -> LabelledData:
    """Load images and labels from idx files.

    Args:
        path: A folder of idx files, or one of them to choose among several data sets in a folder: its partner lies
            beside it. Names with ``train`` and with ``t10k`` or ``test`` are the two parts of one data set; of a
            pair without such a partner the same fifth is always held out for testing.
        validation: Count or fraction to hold out of the training images; 0 for none.
        seed: Chooses the validation images.

    Raises:
        DataError: A missing partner, damaged files, or counts, sizes and labels that do not belong together.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    train_pair, test_pair = _choose(path, _data_sets(folder))
    train_x, train_y = _read(train_pair)
    test_x, test_y = _read(test_pair) if test_pair else (None, None)
    labels, classes = checked_labels(str(folder), train_y, test_y)
    if test_x is not None and test_x.shape[1:] != train_x.shape[1:]:
        raise DataError(
            describe(
                f"{folder}: test images", expected=f"of size {train_x.shape[1:]} as train", got=f"{test_x.shape[1:]}"
            )
        )
    train = LabelledSequences(torch.from_numpy(train_x), torch.from_numpy(labels[0]))
    test = None if test_x is None else LabelledSequences(torch.from_numpy(test_x), torch.from_numpy(labels[1]))
    kept, held_out, test = split(train, test, validation=validation, seed=seed)
    is_bytes = train_x.dtype == np.uint8
    return LabelledData(
        name=folder.resolve().name,
        train=kept,
        validation=held_out,
        test=test,
        classes=classes,
        scale=1 / 255 if is_bytes else 1.0,
        image=ImageFormat.measure(train_x) if is_bytes else None,
        notes=() if test_pair else (TEST_NOTE,),
    )


def _data_sets(folder: Path) -> dict[str, dict[str, dict[str, Path]]]:
    """Files by data set (the name without its role), role ("train", "test") and dimensions ("1", "3")."""
    found: dict[str, dict[str, dict[str, Path]]] = {}
    # Sorted by length, so that of a file and its .gz the unpacked one is met first and kept.
    for file in sorted(folder.iterdir(), key=lambda file: (len(file.name), file.name)):
        if (match := _NAME.fullmatch(file.name)) and file.is_file():
            stem = match["stem"]
            role = _ROLE.search(stem)
            part = "test" if role and role["role"].lower() in ("t10k", "test") else "train"
            name = _ROLE.sub("", stem).strip("-._")
            found.setdefault(name, {}).setdefault(part, {}).setdefault(match["dimensions"], file)
    return found


def _choose(path: Path, found: dict[str, dict[str, dict[str, Path]]]) -> tuple[_Pair, _Pair | None]:
    if path.is_dir():
        if len(found) != 1:
            raise DataError(
                describe(
                    str(path),
                    expected="a folder with the idx files of one data set",
                    got=f"those of {', '.join(sorted(map(repr, found)))}" if found else "none",
                    cause="Name one of the files." if found else "",
                )
            )
        parts = next(iter(found.values()))
    else:
        parts = next(
            (p for p in found.values() if any(path.name == f.name for part in p.values() for f in part.values())), {}
        )
    for part, files in parts.items():
        for dimensions, kind in (("3", "images"), ("1", "labels")):
            if dimensions not in files:
                partner = next(iter(files.values()))
                raise DataError(
                    describe(
                        f"{partner.parent}: {part}",
                        expected="a pair of idx files, images (idx3) and labels (idx1)",
                        got=f"{partner.name} without its {kind}",
                    )
                )
    if "train" not in parts:
        have = ", ".join(file.name for file in parts.get("test", {}).values())
        raise DataError(describe(str(path), expected="training images and labels", got=f"{have or 'none'} alone"))
    pairs = {part: _Pair(files["3"], files["1"]) for part, files in parts.items()}
    return pairs["train"], pairs.get("test")


def _read(pair: _Pair) -> tuple[np.ndarray, np.ndarray]:
    labels = read_idx(pair.labels)
    images = read_idx(pair.images)
    if labels.ndim != 1 or images.ndim != 3:
        wrong, expected = (pair.labels, 1) if labels.ndim != 1 else (pair.images, 3)
        raise DataError(
            describe(
                f"{wrong}: array",
                expected=f"of {expected} dimension{'s' if expected > 1 else ''}",
                got=f"{labels.ndim if expected == 1 else images.ndim}",
                cause="Are images and labels exchanged?",
            )
        )
    if len(labels) != len(images):
        raise DataError(
            describe(
                f"{pair.labels}: labels",
                expected=f"{len(images)}, one for each image of {pair.images.name}",
                got=str(len(labels)),
                cause="The two files do not belong together.",
            )
        )
    return checked_values(str(pair.images), images), labels
