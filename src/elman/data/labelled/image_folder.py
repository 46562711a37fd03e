"""A folder of images with a sub-folder for each class, or such folders under ``train`` and ``test``."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from elman.data.labelled.images import ImageFormat, open_grey, picture_size, resize
from elman.data.labelled.sequences import TEST_NOTE, LabelledData, LabelledSequences, split
from elman.data.limits import require_memory
from elman.errors import DataError, OptionError, describe

__all__ = ["class_folders", "load_image_folder"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each sub-folder that has any, by the sub-folder's name; nothing hidden."""
    found = {}
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            files = [file for file in child.iterdir() if not file.name.startswith(".")]
            pictures = sorted(file for file in files if file.suffix.lower() in _SUFFIXES)
            if pictures:
                found[child.name] = pictures
    return found


def load_image_folder(
    folder: str | os.PathLike[str],
    *,
    validation: int | float = 0,
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
) -> LabelledData:
    """Load grey images whose class is the name of the folder they lie in.

    Args:
        folder: Holds a sub-folder for each class, or ``train`` and ``test`` that do; without ``test`` the same fifth of
            the images is always held out.
        validation: Count or fraction to hold out of the training images; 0 for none.
        seed: Chooses the validation images.
        image_size: (height, width) for all; None takes the most frequent size. Others are scaled to it, and
            `LabelledData.notes` says how many.

    Raises:
        DataError: No such folders, a picture that cannot be read, a class of test that train does not have.
        OptionError: An image size below one pixel.
    """
    folder = Path(folder)
    split_apart = (folder / "train").is_dir() and (folder / "test").is_dir()
    train_files = class_folders(folder / "train" if split_apart else folder)
    test_files = class_folders(folder / "test") if split_apart else {}
    classes = tuple(train_files)
    if len(classes) < 2:
        raise DataError(
            describe(
                str(folder),
                expected="a folder with a sub-folder of images for each of two or more classes",
                got=f"images in {classes[0]!r} alone" if classes else "no images in its sub-folders",
            )
        )
    if split_apart and (unknown := set(test_files) - set(classes)):
        raise DataError(
            describe(f"{folder}: test", expected="the classes of train", got=f"also {', '.join(sorted(unknown))}")
        )
    sizes = Counter(picture_size(file) for files in train_files.values() for file in files)
    size = image_size or max(sizes, key=lambda size: (sizes[size], size))
    if min(size) < 1:
        raise OptionError(describe("image size", expected="one pixel or more each way", got=f"{size[0]}x{size[1]}"))
    notes: list[str] = []
    train = _load(folder, train_files, classes, size, notes)
    test = _load(folder, test_files, classes, size, notes) if split_apart else None
    notes += [] if split_apart else [TEST_NOTE]
    image = ImageFormat.measure(train.x.numpy())
    train, held_out, test = split(train, test, validation=validation, seed=seed)
    return LabelledData(
        name=folder.resolve().name,
        train=train,
        validation=held_out,
        test=test,
        classes=classes,
        scale=1 / 255,
        image=image,
        notes=tuple(notes),
    )


def _load(
    folder: Path,
    files: dict[str, list[Path]],
    classes: tuple[str, ...],
    size: tuple[int, int],
    notes: list[str],
) -> LabelledSequences:
    labelled = [(file, classes.index(name)) for name, pictures in files.items() for file in pictures]
    require_memory(folder, len(labelled) * size[0] * size[1])
    x = np.empty((len(labelled), *size), dtype=np.uint8)
    scaled = 0
    for row, (file, _) in enumerate(labelled):
        grey, _ = open_grey(file)
        x[row] = grey if grey.shape == size else resize(grey, size)
        scaled += grey.shape != size
    if scaled:
        notes.append(f"{scaled} of {len(labelled)} images scaled to {size[1]}x{size[0]}")
    return LabelledSequences(torch.from_numpy(x), torch.tensor([label for _, label in labelled], dtype=torch.int64))
