from __future__ import annotations

import numpy as np
import pytest

from elman.data.labelled.idx import write_idx
from elman.data.labelled.idx_folder import load_idx
from elman.errors import DataError

MNIST_NAMES = (
    "train-images{}idx3-ubyte",
    "train-labels{}idx1-ubyte",
    "t10k-images{}idx3-ubyte",
    "t10k-labels{}idx1-ubyte",
)


def images(count: int, start: int = 0) -> np.ndarray:
    """Pictures of 4 x 3 pixels whose first pixel is their number."""
    x = np.zeros((count, 4, 3), dtype=np.uint8)
    x[:, 1, 1] = 255
    x[:, 0, 0] = np.arange(start, start + count)
    return x


def labels(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8)


def write_pair(folder, prefix, x, y, *, form="{}-images-idx3-ubyte {}-labels-idx1-ubyte"):
    for name, array in zip(form.split(), (x, y), strict=True):
        write_idx(folder / name.format(prefix), array)


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reads_the_four_files_under_each_of_their_names(tmp_path, separator, suffix):
    contents = (images(6), labels(0, 1, 2, 0, 1, 2), images(3, start=100), labels(2, 0, 1))
    for name, content in zip(MNIST_NAMES, contents, strict=True):
        write_idx(tmp_path / (name.format(separator) + suffix), content)
    data = load_idx(tmp_path)
    assert data.train.x[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert data.train.y.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.test.x[:, 0, 0].tolist() == [100, 101, 102]
    assert data.test.y.tolist() == [2, 0, 1]
    assert data.validation is None
    assert data.classes == ("0", "1", "2")
    assert data.scale == 1 / 255
    assert (data.image.height, data.image.width) == (4, 3)
    assert data.notes == ()


def test_validation_comes_out_of_train_alone(tmp_path):
    write_pair(tmp_path, "train", images(20), labels(*[0, 1] * 10))
    write_pair(tmp_path, "test", images(4, start=100), labels(0, 1, 0, 1))
    data = load_idx(tmp_path, validation=4, seed=1)
    kept = data.train.x[:, 0, 0].tolist() + data.validation.x[:, 0, 0].tolist()
    assert sorted(kept) == list(range(20))
    assert len(data.validation) == 4
    assert data.test.x[:, 0, 0].tolist() == [100, 101, 102, 103]


@pytest.mark.parametrize(
    "form", ["{}-images-idx3-ubyte {}-labels-idx1-ubyte", "{}.idx3 {}.idx1", "images.idx3 labels.idx1"]
)
def test_any_single_pair_gives_up_the_same_fifth_for_testing(tmp_path, form):
    write_pair(tmp_path, "mine", images(20), labels(*[0, 1] * 10), form=form)
    first, other = load_idx(tmp_path, seed=1), load_idx(tmp_path, seed=2)
    assert len(first.test) == 4
    assert first.test.y.tolist().count(0) == 2
    assert first.test.x[:, 0, 0].tolist() == other.test.x[:, 0, 0].tolist()
    assert "held out" in first.notes[0]


def test_one_file_chooses_among_several_data_sets(tmp_path):
    for name, start in (("letters", 0), ("digits", 100)):
        write_pair(tmp_path, f"emnist-{name}-train", images(4, start), labels(1, 2, 1, 2))
        write_pair(tmp_path, f"emnist-{name}-test", images(2, start + 50), labels(1, 2))
    with pytest.raises(DataError, match=r"one data set, got those of 'emnist-digits', 'emnist-letters'. Name one"):
        load_idx(tmp_path)
    data = load_idx(tmp_path / "emnist-digits-train-labels-idx1-ubyte")
    assert data.train.x[:, 0, 0].tolist() == [100, 101, 102, 103]
    assert data.test.x[:, 0, 0].tolist() == [150, 151]


def test_labels_need_not_begin_at_zero(tmp_path):
    write_pair(tmp_path, "train", images(4), np.array([7, 3, 7, 3], dtype=np.int32))
    write_pair(tmp_path, "test", images(2), labels(3, 7))
    data = load_idx(tmp_path)
    assert data.classes == ("3", "7")
    assert data.train.y.tolist() == [1, 0, 1, 0]
    assert data.test.y.tolist() == [0, 1]


def test_numbers_that_are_not_bytes_are_sequences_not_images(tmp_path):
    x = np.linspace(-1, 1, 40).reshape(10, 2, 2)
    write_pair(tmp_path, "waves", x, labels(*[0, 1] * 5))
    data = load_idx(tmp_path)
    assert data.image is None
    assert data.scale == 1.0
    everything = np.concatenate([data.train.x.numpy(), data.test.x.numpy()])
    np.testing.assert_allclose(np.sort(everything.ravel()), np.sort(x.ravel()), rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (images(3), labels(0, 1), r"labels must be 3, one for each image of train-images-idx3-ubyte, got 2"),
        (images(2)[0], labels(0, 1), "array must be of 3 dimensions, got 2"),
        (images(2), labels(0, 1)[:, None], "array must be of 1 dimension, got 2. Are images and labels exchanged"),
        (images(2), np.array([0, -1], dtype=np.int8), "train labels must be 0 or more, got -1"),
        (images(2), np.array([0.0, 1.0], dtype=np.float32), "of whole numbers, got .* of float32"),
        (images(2), labels(1, 1), "two or more different"),
        (images(2).astype(np.int16), labels(0, 1), "of floats or uint8, got .* of int16"),
        (np.full((2, 4, 3), np.nan, np.float32), labels(0, 1), "finite"),
        (images(0), labels(), r"images must be one or more, with pixels, got \(0, 4, 3\)"),
    ],
)
def test_refuses_files_that_do_not_belong_together(tmp_path, x, y, message):
    write_pair(tmp_path, "train", x, y)
    write_pair(tmp_path, "test", images(len(y[:1])), y.ravel()[: len(y[:1])])
    with pytest.raises(DataError, match=message):
        load_idx(tmp_path)


def test_refuses_a_test_set_of_another_size_or_with_classes_of_its_own(tmp_path):
    write_pair(tmp_path, "train", images(2), labels(0, 1))
    write_pair(tmp_path, "test", images(2)[:, :2], labels(0, 1))
    with pytest.raises(DataError, match=r"of size \(4, 3\) as train, got \(2, 3\)"):
        load_idx(tmp_path)
    write_pair(tmp_path, "test", images(2), labels(0, 9))
    with pytest.raises(DataError, match="labels that the training sequences have too, got 9"):
        load_idx(tmp_path)


def test_names_the_missing_partner(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", images(2))
    with pytest.raises(DataError, match=r"train must be a pair .* got train-images-idx3-ubyte without its labels"):
        load_idx(tmp_path)


def test_does_not_train_on_a_test_set_alone(tmp_path):
    write_pair(tmp_path, "t10k", images(2), labels(0, 1))
    with pytest.raises(DataError, match=r"training images and labels, got t10k-.* alone"):
        load_idx(tmp_path)


def test_unpacked_files_win_over_packed_ones(tmp_path):
    write_pair(tmp_path, "train", images(10), labels(*[0, 1] * 5))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"garbage")
    assert len(load_idx(tmp_path).train) == 8
