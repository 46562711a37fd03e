from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from sklearn import datasets

from elman.data.labelled.digits import load_digits
from elman.errors import MissingExtraError


def rows(sequences) -> set[bytes]:
    return {x.numpy().tobytes() + bytes([int(y)]) for x, y in zip(sequences.x, sequences.y, strict=True)}


def test_holds_the_scans_of_scikit_learn_as_bytes():
    bundled = datasets.load_digits()
    data = load_digits(validation=100, seed=3)
    assert [len(sequences) for sequences in data.splits().values()] == [1338, 100, 359]
    expected = {x.astype(np.uint8).tobytes() + bytes([y]) for x, y in zip(bundled.images, bundled.target, strict=True)}
    parts = [rows(sequences) for sequences in data.splits().values()]
    assert set.union(*parts) == expected
    assert sum(map(len, parts)) == len(expected)  # no image in two splits
    assert data.train.x.dtype == torch.uint8
    assert float(data.train.x.max() * data.scale) == 1.0
    assert data.classes == tuple("0123456789")


def test_test_images_never_change_and_hold_a_fifth_of_every_class():
    one, other = load_digits(validation=0.1, seed=1), load_digits(validation=0.1, seed=2)
    assert torch.equal(one.test.x, other.test.x)
    assert not torch.equal(one.validation.x, other.validation.x)
    whole = np.bincount(datasets.load_digits().target)
    assert np.abs(np.bincount(one.test.y) - 0.2 * whole).max() < 1
    assert int(one.test.x.long().sum()) == 111923, "the test images are part of the published figures"


def test_form_of_the_images():
    image = load_digits().image
    assert (image.height, image.width, image.dark_background, image.maximum) == (8, 8, True, 16)
    assert image.frame == (1.0, 0.75)


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"scikit-learn: pip install 'elman\[train\]'"):
        load_digits()
