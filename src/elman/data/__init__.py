"""Files from outside, checked before anything in them is trusted, as tensors in memory.

==================  =========================================================================
``labelled/``       labelled sequences: digits, MNIST, folders of images, arrays
``text/``           running text, and the vocabulary that it is read in
``streams``         long sequences as parallel streams, window by window: ``Streams``
``catalogue``       what ``elman data list|fetch|verify`` knows; ``entry`` is the form of its entries
``download``        one file from several mirrors, resumed and verified
``limits``          the check of promised sizes before memory is taken
==================  =========================================================================

Names are loaded on first use: importing this package imports neither torch nor scikit-learn nor Pillow. The functions
`catalogue` and `download` are had from their modules, which have the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elman.lazy import exports

if TYPE_CHECKING:
    from elman.data.catalogue import fetch, verify
    from elman.data.entry import Entry, FileStatus, RemoteFile, cache_directory
    from elman.data.labelled.arrays import load_npz
    from elman.data.labelled.digits import load_digits
    from elman.data.labelled.idx import read_idx, write_idx
    from elman.data.labelled.idx_folder import load_idx
    from elman.data.labelled.image_folder import load_image_folder
    from elman.data.labelled.images import ImageFormat, read_picture
    from elman.data.labelled.sequences import LabelledData, LabelledSequences, ShuffledBatches, hold_out, in_order
    from elman.data.labelled.source import load_labelled
    from elman.data.streams import Streams, Window
    from elman.data.text.corpus import Corpus, load_corpus
    from elman.data.text.vocabulary import Level, Vocabulary

_HOME = {
    "elman.data.labelled.arrays": ("load_npz",),
    "elman.data.catalogue": ("fetch", "verify"),
    "elman.data.text.corpus": ("Corpus", "load_corpus"),
    "elman.data.labelled.digits": ("load_digits",),
    "elman.data.entry": ("Entry", "FileStatus", "RemoteFile", "cache_directory"),
    "elman.data.labelled.idx": ("read_idx", "write_idx"),
    "elman.data.labelled.idx_folder": ("load_idx",),
    "elman.data.labelled.image_folder": ("load_image_folder",),
    "elman.data.labelled.images": ("ImageFormat", "read_picture"),
    "elman.data.labelled.sequences": ("LabelledData", "LabelledSequences", "ShuffledBatches", "hold_out", "in_order"),
    "elman.data.labelled.source": ("load_labelled",),
    "elman.data.streams": ("Streams", "Window"),
    "elman.data.text.vocabulary": ("Level", "Vocabulary"),
}
__getattr__, __dir__ = exports(__name__, _HOME)

__all__ = [
    "Corpus",
    "Entry",
    "FileStatus",
    "ImageFormat",
    "LabelledData",
    "LabelledSequences",
    "Level",
    "RemoteFile",
    "ShuffledBatches",
    "Streams",
    "Vocabulary",
    "Window",
    "cache_directory",
    "fetch",
    "hold_out",
    "in_order",
    "load_corpus",
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
