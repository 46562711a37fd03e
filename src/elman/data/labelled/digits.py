"""The 1,797 scans of handwritten digits that come with scikit-learn: 8 rows of 8 pixels with values from 0 to 16."""

from __future__ import annotations

import numpy as np
import torch

from elman.data.labelled.images import ImageFormat
from elman.data.labelled.sequences import LabelledData, LabelledSequences, split
from elman.errors import MissingExtraError

__all__ = ["load_digits"]


def load_digits(*, validation: int | float = 0, seed: int = 0) -> LabelledData:
    """Load the bundled digits (Alpaydin & Kaynak 1998, UCI); the test images are the same 359 whatever the seed.

    Args:
        validation: Count or fraction to hold out of the training images; 0 for none.
        seed: Chooses the validation images.

    Raises:
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> data = load_digits(validation=0.1)
        >>> len(data.train), len(data.validation), len(data.test)
        (1294, 144, 359)
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingExtraError("The bundled digits need scikit-learn: pip install 'elman[train]'") from error
    bundled = datasets.load_digits()
    images, labels = bundled.images.astype(np.uint8), bundled.target
    sequences = LabelledSequences(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))
    train, held_out, test = split(sequences, None, validation=validation, seed=seed)
    return LabelledData(
        name="digits",
        train=train,
        validation=held_out,
        test=test,
        classes=tuple(str(digit) for digit in range(10)),
        scale=1 / 16,
        image=ImageFormat.measure(images),
    )
