"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28 pixels (LeCun, Cortes & Burges)."""

from __future__ import annotations

from elman.data.entry import Entry, RemoteFile

__all__ = ["MNIST"]

MNIST = Entry(
    name="mnist",
    description="70,000 handwritten digits, 28x28 pixels, 60,000 of them for training (LeCun, Cortes & Burges 1998)",
    licence="no licence file; its authors offer it for research, some mirrors state CC BY-SA 3.0",
    files=(
        RemoteFile(
            "train-images-idx3-ubyte.gz", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        ),
        RemoteFile(
            "train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        ),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ),
)
