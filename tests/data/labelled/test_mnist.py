from __future__ import annotations

import os
import time

import numpy as np
import pytest
from PIL import Image

from elman.data.labelled.images import read_picture
from elman.data.labelled.mnist import MNIST
from elman.data.labelled.source import load_labelled


def test_files_and_mirrors_are_well_formed():
    assert len({file.sha256 for file in MNIST.files}) == 4
    assert all(len(file.sha256) == 64 and int(file.sha256, 16) for file in MNIST.files)
    assert len(MNIST.mirrors) >= 3
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in MNIST.mirrors)


@pytest.mark.real_data
@pytest.mark.skipif("ELMAN_DATA" not in os.environ, reason="ELMAN_DATA is not set")
class TestRealData:
    def test_is_read_whole_and_fast(self):
        start = time.perf_counter()
        data = load_labelled("mnist", validation=5000, seed=0)
        seconds = time.perf_counter() - start
        assert [len(sequences) for sequences in data.splits().values()] == [55_000, 5_000, 10_000]
        counts = np.bincount(data.train.y) + np.bincount(data.validation.y)
        assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert np.bincount(data.test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        pixels = data.train.x.long().sum() + data.validation.x.long().sum()
        assert float(pixels) / (60_000 * 784) == pytest.approx(33.318421, abs=1e-6)  # the known mean, 0.1307 of 255
        assert data.test.y[:5].tolist() == [7, 2, 1, 0, 4]
        assert (data.image.dark_background, data.image.maximum) == (True, 255)
        assert data.image.frame == (round(20 / 28, 4), round(20 / 28, 4))
        assert seconds < 2, "well under a second on an idle machine"

    def test_photographs_of_its_digits_come_out_like_the_digits(self, tmp_path):
        data = load_labelled("mnist")
        likeness = []
        for row in range(40):
            digit = data.test.x[row].numpy()
            large = np.asarray(Image.fromarray(digit).resize((280, 280), Image.Resampling.BICUBIC), dtype=float)
            sheet = np.full((480, 640), 200.0) + np.linspace(-25, 25, 640)
            sheet[60:340, 200:480] -= large * (140 / 255)
            sheet += np.random.default_rng(row).normal(scale=5, size=sheet.shape)
            Image.fromarray(sheet.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.jpg", quality=85)
            read, notes = read_picture(tmp_path / "photo.jpg", data.image)
            assert "inverted: dark ink on light paper" in notes
            likeness.append(float(np.corrcoef(read.ravel(), digit.ravel())[0, 1]))
        assert np.median(likeness) > 0.95
        assert min(likeness) > 0.65  # a digit that is not centred in MNIST itself moves by a pixel
