"""What the value of ``--data`` is: a name, a folder or a file, and the data set in it."""

from __future__ import annotations

from pathlib import Path

from elman.data.entry import find
from elman.data.labelled.arrays import load_npz
from elman.data.labelled.digits import load_digits
from elman.data.labelled.idx_folder import is_idx_name, load_idx
from elman.data.labelled.image_folder import class_folders, load_image_folder
from elman.data.labelled.mnist import MNIST
from elman.data.labelled.sequences import LabelledData
from elman.data.text.source import TEXTS
from elman.errors import DataError, OptionError, describe, did_you_mean

__all__ = ["load_labelled"]

_NAMES = ("digits", "mnist")
_ACCEPTED = (
    f"{', '.join(_NAMES)}, a folder of idx files, a folder of images with a sub-folder for each class, "
    "an idx file or an .npz"
)


def load_labelled(
    source: str | None = None,
    *,
    validation: int | float = 0,
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
) -> LabelledData:
    """Load a data set for classification from whatever ``--data`` names.

    Args:
        source: "digits" (also for None), "mnist", or the path of a folder or file; ``./mnist`` is a path.
        validation: Count or fraction to hold out of the training sequences; 0 for none.
        seed: Chooses the validation sequences; the test sequences never depend on it.
        image_size: (height, width) to scale images to; for a folder of images alone.

    Raises:
        DataError: Nothing there, or nothing that can be used; the message says what was found.
        OptionError: An image size for data that has its own, or a validation size that cannot be had.

    Example:
        >>> data = load_labelled("digits")
        >>> data.train.x.shape, data.image.maximum
        (torch.Size([1438, 8, 8]), 16)
    """
    try:
        return _load(source, validation, seed, image_size)
    except OSError as error:  # a folder that may not be listed, a name that is too long
        raise DataError(describe(f"--data {source}", expected="readable", got=error.strerror or str(error))) from error


def _load(source: str | None, validation: int | float, seed: int, image_size: tuple[int, int] | None) -> LabelledData:
    path = None if source in (None, *_NAMES) else _existing(str(source))
    if path is not None and path.is_dir() and _is_image_folder(path):
        return load_image_folder(path, validation=validation, seed=seed, image_size=image_size)
    if image_size is not None:
        raise OptionError(
            describe("image size", expected="left out", got=str(image_size), cause="It is for a folder of images.")
        )
    if path is None:
        if source == MNIST.name:
            return load_idx(find(MNIST), validation=validation, seed=seed)
        return load_digits(validation=validation, seed=seed)
    if path.suffix == ".npz":
        return load_npz(path, validation=validation, seed=seed)
    if is_idx_name(path.name) or (path.is_dir() and any(is_idx_name(file.name) for file in path.iterdir())):
        return load_idx(path, validation=validation, seed=seed)
    raise DataError(describe(f"--data {path}", expected=_ACCEPTED, got=_what_is_there(path)))


def _existing(source: str) -> Path:
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="the home of nobody")) from error
    if not path.exists() and source in TEXTS:
        cause = f"Train with it by `elman train language-model --data {source}`."
        raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="a text", cause=cause))
    if not path.exists():
        near = "" if path.name != source else did_you_mean(source, _NAMES)
        raise DataError(describe(f"--data {source}", expected=_ACCEPTED, got="nothing of that name", cause=near))
    return path


def _is_image_folder(folder: Path) -> bool:
    return any(class_folders(place) for place in (folder, folder / "train") if place.is_dir())


def _what_is_there(path: Path) -> str:
    if not path.is_dir():
        return "another kind of file"
    names = sorted(child.name for child in path.iterdir())
    unfinished = any(name.endswith(".part") for name in names)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"a folder with {shown or 'nothing in it'}" + (" (an unfinished download)" if unfinished else "")
