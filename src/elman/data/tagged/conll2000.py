"""The chunking task of CoNLL-2000: sentences of the Wall Street Journal, their parts of speech and chunks."""

from __future__ import annotations

from elman.data.entry import Entry, RemoteFile

__all__ = ["CONLL2000"]

CONLL2000 = Entry(
    name="conll2000",
    description="10,948 sentences of the Wall Street Journal in chunks (Tjong Kim Sang & Buchholz 2000)",
    licence="Apache 2.0, says a mirror; the text is LDC Penn Treebank material, commonly used for research",
    files=(
        RemoteFile("train.txt", 2842164, "82033cd7a72b209923a98007793e8f9de3abc1c8b79d646c50648eb949b87cea"),
        RemoteFile("test.txt", 639396, "73b7b1e565fa75a1e22fe52ecdf41b6624d6f59dacb591d44252bf4d692b1628"),
    ),
    mirrors=(
        "https://raw.githubusercontent.com/teropa/nlp/master/resources/corpora/conll2000/",
        "https://raw.githubusercontent.com/naveenjafer/Chunking-Keras-CoNLL-2000-BiLSTM-CRF-/master/",
    ),
)
