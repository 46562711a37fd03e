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
``corpus``          a text: ``load_corpus`` opens any of the kinds below
``vocabulary``      words or characters as numbers
``text_source``     what a ``--data`` value is where a text is wanted
``text``            a text file in blocks, checked as it is read
``encoding``        from text to ids, and what is noted on the way
``id_files``        the ids on disk: built once, mapped into memory
``pydoc``           the English of Python's own documentation
``ptb``             the Penn Treebank: its three files, their check sums and mirrors; ``shakespeare`` likewise
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
    from elman.data.arrays import load_npz
    from elman.data.catalogue import fetch, verify
    from elman.data.corpus import Corpus, load_corpus
    from elman.data.digits import load_digits
    from elman.data.entry import Entry, FileStatus, RemoteFile, cache_directory
    from elman.data.idx import read_idx, write_idx
    from elman.data.idx_folder import load_idx
    from elman.data.image_folder import load_image_folder
    from elman.data.images import ImageFormat, read_picture
    from elman.data.labelled import LabelledData, LabelledSequences, ShuffledBatches, hold_out, in_order
    from elman.data.source import load_labelled
    from elman.data.streams import Streams, Window
    from elman.data.vocabulary import Level, Vocabulary

_HOME = {
    "elman.data.arrays": ("load_npz",),
    "elman.data.catalogue": ("fetch", "verify"),
    "elman.data.corpus": ("Corpus", "load_corpus"),
    "elman.data.digits": ("load_digits",),
    "elman.data.entry": ("Entry", "FileStatus", "RemoteFile", "cache_directory"),
    "elman.data.idx": ("read_idx", "write_idx"),
    "elman.data.idx_folder": ("load_idx",),
    "elman.data.image_folder": ("load_image_folder",),
    "elman.data.images": ("ImageFormat", "read_picture"),
    "elman.data.labelled": ("LabelledData", "LabelledSequences", "ShuffledBatches", "hold_out", "in_order"),
    "elman.data.source": ("load_labelled",),
    "elman.data.streams": ("Streams", "Window"),
    "elman.data.vocabulary": ("Level", "Vocabulary"),
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
