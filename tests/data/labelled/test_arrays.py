from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.labelled.arrays import load_npz
from elman.errors import DataError

X = np.random.default_rng(0).normal(size=(10, 4, 3))
Y = np.array([0, 1] * 5)


def saved(tmp_path, **arrays):
    path = tmp_path / "waves.npz"
    np.savez(path, **arrays)
    return path


def test_reads_every_array_under_its_name(tmp_path):
    lengths, lengths_test = np.arange(10) % 5, np.array([4, 0, 1])
    path = saved(tmp_path, x=X, y=Y, lengths=lengths, x_test=X[:3] + 1, y_test=Y[:3], lengths_test=lengths_test)
    data = load_npz(path)
    assert data.name == "waves"
    assert data.train.x.dtype == torch.float32
    np.testing.assert_array_equal(data.train.x.numpy(), X.astype(np.float32))
    np.testing.assert_array_equal(data.test.x.numpy(), (X[:3] + 1).astype(np.float32))
    assert data.train.lengths.tolist() == lengths.tolist()
    assert data.test.lengths.tolist() == [4, 0, 1]
    assert data.train.y.tolist() == Y.tolist()
    assert (data.scale, data.image, data.classes, data.notes) == (1.0, None, ("0", "1"), ())


def test_holds_out_the_same_fifth_without_a_test_set_lengths_with_it(tmp_path):
    path = saved(tmp_path, x=X, y=Y, lengths=np.arange(10) % 5)
    first, other = load_npz(path, validation=2, seed=0), load_npz(path, validation=2, seed=5)
    assert (len(first.train), len(first.validation), len(first.test)) == (6, 2, 2)
    assert torch.equal(first.test.x, other.test.x)
    for sequences in first.splits().values():
        for x, y, length in zip(sequences.x, sequences.y, sequences.lengths, strict=True):
            row = int(np.argmin(np.abs(X.astype(np.float32) - x.numpy()).sum((1, 2))))
            assert (int(y), int(length)) == (Y[row], row % 5)
    assert "held out" in first.notes[0]


def test_bytes_are_images(tmp_path):
    x = np.zeros((10, 4, 3), np.uint8)
    x[:, 1:3, 1] = 200
    data = load_npz(saved(tmp_path, x=x, y=Y))
    assert data.train.x.dtype == torch.uint8
    assert data.scale == 1 / 255
    assert (data.image.height, data.image.width, data.image.maximum) == (4, 3, 200)


@pytest.mark.parametrize("dtype", [">f8", "f2", "f4"])
def test_takes_floats_of_any_size_and_order_and_compressed(tmp_path, dtype):
    path = tmp_path / "c.npz"
    np.savez_compressed(path, x=np.asfortranarray(X.astype(dtype)), y=Y.astype(">i2"))
    data = load_npz(path)
    everything = np.concatenate([data.train.x.numpy(), data.test.x.numpy()])
    np.testing.assert_allclose(np.sort(everything.ravel()), np.sort(X.ravel()), rtol=2e-3, atol=1e-3)


def changed(value):
    x = X.copy()
    x[3, 2, 1] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "x, y and optional lengths, got no y"),
        ({"X": X, "y": Y}, "got 'X'. Did you mean 'x'"),
        ({"x": X, "y": Y, "length": Y}, "Did you mean 'lengths'"),
        ({"x": X, "y": Y, "x_test": X}, "got no y_test"),
        ({"x": X, "y": Y, "lengths_test": Y}, "got no x_test, y_test"),
        ({"x": X, "y": Y, "lengths": Y, "x_test": X, "y_test": Y}, "given for both train and test"),
        ({"x": X[:, :, 0], "y": Y}, r"x must be \(N, T, F\).*got \(10, 4\).*x\[:, :, None\]"),
        ({"x": X.astype(int), "y": Y}, r"got \(10, 4, 3\) of int64. Convert them with x.astype"),
        ({"x": X.astype(complex), "y": Y}, "of complex128"),
        ({"x": changed(np.nan), "y": Y}, "finite as float32, got 1 values"),
        ({"x": changed(-np.inf), "y": Y}, "finite"),
        ({"x": changed(1e300), "y": Y}, "finite as float32"),
        ({"x": X, "y": Y[:9]}, r"y must be \(10,\) of whole numbers.*got \(9,\)"),
        ({"x": X, "y": Y.astype(float)}, "of whole numbers, got .* of float64"),
        ({"x": X, "y": Y - 1}, "train labels must be 0 or more, got -1"),
        ({"x": X, "y": Y * 0}, "two or more different"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y + 1}, "test labels must be labels that the training.*got 2"),
        ({"x": X, "y": Y, "lengths": Y + 4}, r"lengths must be from 0 to T=4, got 4 to 5"),
        ({"x": X, "y": Y, "lengths": Y - 1}, r"lengths must be from 0 to T=4, got -1 to 0"),
        ({"x": X, "y": Y, "lengths": Y * 1.0}, "lengths must be .* of whole numbers"),
        ({"x": X[:0], "y": Y[:0]}, "none can be held out: .* got 0.2 of 0"),
        ({"x": np.array([{}]), "y": Y}, "numbers, got Python objects. They would have to be unpickled"),
    ],
)
def test_refuses_other_contents(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load_npz(saved(tmp_path, **arrays))


def test_test_sequences_of_other_features_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"of 3 features .* as train is, got 2"):
        load_npz(saved(tmp_path, x=X, y=Y, x_test=X[:, :, :2], y_test=Y))


def test_takes_no_memory_for_a_header_that_promises_too_much(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 4, 3)})
    path = tmp_path / "x.npz"
    np.savez(path, y=Y)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", header.getvalue() + b"abcd")
    with pytest.raises(DataError, match=r"x.npy must be 52,776,558,133,248 bytes.*got 4"):
        load_npz(path)


def test_larger_than_memory_is_refused(tmp_path, monkeypatch):
    path = saved(tmp_path, x=X, y=Y)
    monkeypatch.setattr("os.sysconf", lambda name: 9)
    with pytest.raises(DataError, match="below this machine's memory"):
        load_npz(path)


def test_a_missing_file_and_another_kind_are_clear(tmp_path):
    with pytest.raises(DataError, match=r"a whole .npz file, got .*No such file"):
        load_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"got a damaged one .*not a zip file"):
        load_npz(tmp_path / "text.npz")


@settings(max_examples=150, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255), cut=st.booleans())
def test_damage_anywhere_is_one_clear_error_or_harmless(position, value, cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    np.savez_compressed(path, x=X[:, :2, :2], y=Y)
    content = bytearray(path.read_bytes())
    place = int(position * len(content))
    if cut:
        del content[place:]
    else:
        content[place] ^= value
    path.write_bytes(content)
    try:
        data = load_npz(path)
    except DataError as error:
        assert "x.npz" in str(error)  # noqa: PT017  # either outcome is right, as long as it is one of these two
    else:
        everything = np.concatenate([data.train.x.numpy(), data.test.x.numpy()])
        np.testing.assert_array_equal(np.sort(everything.ravel()), np.sort(X[:, :2, :2].astype(np.float32).ravel()))


@pytest.mark.parametrize("header", [b"{'descr': '<f4', 'shape': (3L,", b"((((", b"{'descr': 'nonsense'}", b"\xff\n"])
def test_a_header_that_cannot_be_parsed_is_one_clear_error(tmp_path, header):
    path = saved(tmp_path, y=Y)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DataError, match=r"a whole \.npz file, got a damaged one"):
        load_npz(path)
