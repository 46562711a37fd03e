"""Files from outside, checked before anything in them is trusted, as tensors in memory.

==================  =========================================================================
``source``          what a ``--data`` value is: ``load_labelled`` opens any of the kinds below
``labelled``        ``LabelledSequences``, ``LabelledData``, hold-out, batches
``digits``          the 1,797 scans that come with scikit-learn
``mnist``           MNIST: its four files, their check sums and mirrors
``idx``             the idx file format
``idx_folder``      a folder of idx pairs: images and labels
``image_folder``    a folder of images with a sub-folder for each class
``images``          one picture file, brought into the form of the training images
``arrays``          an ``.npz`` of sequences
``catalogue``       what ``elman data list|fetch|verify`` knows; ``entry`` is the form of its entries
``download``        one file from several mirrors, resumed and verified
``limits``          the check of promised sizes before memory is taken
==================  =========================================================================

Names are loaded on first use: importing this package imports neither torch nor scikit-learn nor Pillow. The functions
`catalogue` and `download` are had from their modules, which have the same names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elman.data.arrays import load_npz
    from elman.data.catalogue import fetch, verify
    from elman.data.digits import load_digits
    from elman.data.entry import Entry, FileStatus, RemoteFile, cache_directory
    from elman.data.idx import read_idx, write_idx
    from elman.data.idx_folder import load_idx
    from elman.data.image_folder import load_image_folder
    from elman.data.images import ImageFormat, read_picture
    from elman.data.labelled import LabelledData, LabelledSequences, ShuffledBatches, hold_out, in_order
    from elman.data.source import load_labelled

_MODULES = {
    "arrays": ("load_npz",),
    "catalogue": ("fetch", "verify"),
    "digits": ("load_digits",),
    "entry": ("Entry", "FileStatus", "RemoteFile", "cache_directory"),
    "idx": ("read_idx", "write_idx"),
    "idx_folder": ("load_idx",),
    "image_folder": ("load_image_folder",),
    "images": ("ImageFormat", "read_picture"),
    "labelled": ("LabelledData", "LabelledSequences", "ShuffledBatches", "hold_out", "in_order"),
    "source": ("load_labelled",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Entry",
    "FileStatus",
    "ImageFormat",
    "LabelledData",
    "LabelledSequences",
    "RemoteFile",
    "ShuffledBatches",
    "cache_directory",
    "fetch",
    "hold_out",
    "in_order",
    "load_digits",
    "load_idx",
    "load_image_folder",
    "load_labelled",
    "load_npz",
    "read_idx",
    "read_picture",
    "verify",
    "write_idx",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
