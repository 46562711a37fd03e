"""Files from outside, checked before anything in them is trusted, as tensors in memory.

==================  =========================================================================
``labelled/``       labelled sequences: digits, MNIST, folders of images, arrays
``text/``           running text, and the vocabulary that it is read in
``tagged/``         sequences with a tag on every token: CoNLL columns, CoNLL-U, Python's tokens
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
    from elman.data.tagged.batches import BucketedBatches, by_length
    from elman.data.tagged.characters import cut_text
    from elman.data.tagged.columns import Columns
    from elman.data.tagged.schemes import Scheme, complete, convert, detect, spans
    from elman.data.tagged.sentences import Sentence, TaggedData
    from elman.data.tagged.source import load_tagged, read_sentences
    from elman.data.tagged.vectors import WordVectors, read_vectors
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
    "elman.data.tagged.batches": ("BucketedBatches", "by_length"),
    "elman.data.tagged.characters": ("cut_text",),
    "elman.data.tagged.columns": ("Columns",),
    "elman.data.tagged.schemes": ("Scheme", "complete", "convert", "detect", "spans"),
    "elman.data.tagged.sentences": ("Sentence", "TaggedData"),
    "elman.data.tagged.source": ("load_tagged", "read_sentences"),
    "elman.data.tagged.vectors": ("WordVectors", "read_vectors"),
    "elman.data.text.vocabulary": ("Level", "Vocabulary"),
}
__getattr__, __dir__ = exports(__name__, _HOME)

__all__ = [
    "BucketedBatches",
    "Columns",
    "Corpus",
    "Entry",
    "FileStatus",
    "ImageFormat",
    "LabelledData",
    "LabelledSequences",
    "Level",
    "RemoteFile",
    "Scheme",
    "Sentence",
    "ShuffledBatches",
    "Streams",
    "TaggedData",
    "Vocabulary",
    "Window",
    "WordVectors",
    "by_length",
    "cache_directory",
    "complete",
    "convert",
    "cut_text",
    "detect",
    "fetch",
    "hold_out",
    "in_order",
    "load_corpus",
    "load_digits",
    "load_idx",
    "load_image_folder",
    "load_labelled",
    "load_npz",
    "load_tagged",
    "read_idx",
    "read_picture",
    "read_sentences",
    "read_vectors",
    "spans",
    "verify",
    "write_idx",
]
