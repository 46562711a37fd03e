from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from elman.data.labelled.idx import write_idx
from elman.data.labelled.source import load_labelled
from elman.errors import DataError, OptionError

MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
Y = np.array([0, 1] * 10, dtype=np.uint8)
X = np.random.default_rng(0).integers(0, 256, (20, 5, 3), dtype=np.uint8)


def put_idx(folder):
    folder.mkdir(parents=True)
    for name, array in zip(MNIST_FILES, (X, Y, X[:4], Y[:4]), strict=True):
        write_idx(folder / name, array)
    return folder


def put_images(folder):
    for number, (picture, label) in enumerate(zip(X, Y, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / str(label) / f"{number}.png")
    return folder


@pytest.mark.parametrize("source", [None, "digits"])
def test_digits_by_name_and_by_default(source):
    data = load_labelled(source, validation=0.25, seed=1)
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("digits", 1078, 360, 359)


def test_mnist_by_name_from_the_data_folder(tmp_path, monkeypatch):
    put_idx(tmp_path / "mnist")
    monkeypatch.setenv("ELMAN_DATA", str(tmp_path))
    data = load_labelled("mnist", validation=2)
    assert data.name == "mnist"
    assert data.test.x.numpy().tolist() == X[:4].tolist()
    assert len(data.train) == 18


def test_mnist_that_is_nowhere_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("ELMAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="Run 'elman data fetch mnist', or pass --data DIR"):
        load_labelled("mnist")


def test_every_kind_of_path(tmp_path):
    np.savez(tmp_path / "arrays.npz", x=X, y=Y)
    idx, images = put_idx(tmp_path / "idx"), put_images(tmp_path / "images")
    by_folder, by_file = load_labelled(str(idx)), load_labelled(str(idx / MNIST_FILES[1]))
    for data in (by_folder, by_file):
        assert data.train.x.numpy().tolist() == X.tolist()
        assert data.test.y.tolist() == Y[:4].tolist()
    for source in (images, tmp_path / "arrays.npz"):
        data = load_labelled(str(source))
        everything = np.concatenate([data.train.x.numpy(), data.test.x.numpy()])
        assert sorted(x.tobytes() for x in everything) == sorted(x.tobytes() for x in X)


def test_image_folders_under_train_and_test(tmp_path):
    put_images(tmp_path / "train")
    put_images(tmp_path / "test")
    data = load_labelled(str(tmp_path), image_size=(10, 6))
    assert data.train.x.shape == (20, 10, 6)
    assert len(data.test) == 20


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    put_idx(tmp_path / "idx")
    assert len(load_labelled("~/idx").train) == 20


def test_a_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    put_idx(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert load_labelled("digits").train.features == 8
    assert load_labelled("./digits").train.features == 3


def test_an_image_size_is_for_image_folders(tmp_path):
    for source in ("digits", str(put_idx(tmp_path / "idx"))):
        with pytest.raises(OptionError, match="image size must be left out"):
            load_labelled(source, image_size=(8, 8))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mnsit", "got nothing of that name. Did you mean 'mnist'"),
        ("no/such/folder", r"got nothing of that name\.$"),
        ("empty", "got a folder with nothing in it"),
        ("~no-such-user/x", "got the home of nobody"),
        ("full", "got a folder with a.txt, b.txt, c.txt, d.txt, e.txt and 1 more"),
        ("unfinished", "train-images.gz.part .an unfinished download"),
        ("full/a.txt", "an idx file or an .npz, got another kind of file"),
    ],
)
def test_anything_else_says_what_was_found_and_what_would_do(tmp_path, monkeypatch, source, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    for letter in "abcdef":
        (tmp_path / "full" / f"{letter}.txt").touch()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "train-images.gz.part").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="digits, mnist, a folder of idx files.*" + message):
        load_labelled(source)


def test_what_the_system_refuses_is_one_clear_error():
    with pytest.raises(DataError, match="must be readable, got File name too long"):
        load_labelled("x" * 5000)


def test_a_validation_that_cannot_be_had_names_its_flag():
    with pytest.raises(OptionError, match=r"--validation: size of a hold-out .* got 5000"):
        load_labelled("digits", validation=5000)
