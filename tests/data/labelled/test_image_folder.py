from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from elman.data.labelled.image_folder import load_image_folder
from elman.errors import DataError, OptionError


def put(folder, name: str, value: int, size=(6, 4)):
    """A picture of one grey value with a dark rim, by which a test knows it again."""
    picture = np.zeros(size, np.uint8)
    picture[1:-1, 1:-1] = value
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / name)


def values(sequences) -> list[int]:
    return sequences.x[:, 2, 2].tolist()


def test_the_folder_is_the_class(tmp_path):
    for number in range(10):
        put(tmp_path / "cat", f"{number:02}.png", 100 + number)
        put(tmp_path / "ant", f"{number:02}.png", 200 + number)
    (tmp_path / "ant" / "notes.txt").write_text("not a picture")
    (tmp_path / "ant" / ".hidden.png").write_text("not a picture")
    (tmp_path / ".git").mkdir()
    (tmp_path / "empty").mkdir()
    data = load_image_folder(tmp_path, validation=2, seed=0)
    assert data.name == tmp_path.name
    assert data.classes == ("ant", "cat")
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)
    everything = [value for sequences in data.splits().values() for value in values(sequences)]
    assert sorted(everything) == [*range(100, 110), *range(200, 210)]
    for sequences in data.splits().values():
        assert sequences.y.tolist() == [0 if value >= 200 else 1 for value in values(sequences)]
    assert (data.image.height, data.image.width, data.image.maximum) == (6, 4, 209)
    assert values(load_image_folder(tmp_path, seed=9).test) == values(data.test)
    assert "held out" in data.notes[0]


def test_train_and_test_folders_are_kept_apart(tmp_path):
    for name, value in (("a", 50), ("b", 150)):
        put(tmp_path / "train" / name, "1.png", value)
        put(tmp_path / "train" / name, "2.png", value + 1)
        put(tmp_path / "test" / name, "1.png", value + 2)
    data = load_image_folder(tmp_path)
    assert values(data.train) == [50, 51, 150, 151]
    assert values(data.test) == [52, 152]
    assert data.test.y.tolist() == [0, 1]
    assert data.notes == ()


def test_the_most_frequent_size_wins_and_scaling_is_said(tmp_path):
    for name in ("a", "b"):
        for number in range(5):
            put(tmp_path / name, f"{number}.png", 100)
        put(tmp_path / name, "large.png", 100, size=(60, 40))
    data = load_image_folder(tmp_path)
    assert data.train.x.shape[1:] == (6, 4)
    assert data.notes[0] == "2 of 12 images scaled to 4x6"
    assert all(abs(value - 100) <= 2 for value in values(data.train) + values(data.test))


def test_a_size_may_be_asked_for(tmp_path):
    for name in ("a", "b"):
        for number in range(5):
            put(tmp_path / name, f"{number}.png", 100)
    data = load_image_folder(tmp_path, image_size=(12, 8))
    assert data.train.x.shape[1:] == (12, 8)
    assert data.image.width == 8
    assert data.notes[0] == "10 of 10 images scaled to 8x12"
    with pytest.raises(OptionError, match="image size must be one pixel or more each way, got 0x8"):
        load_image_folder(tmp_path, image_size=(0, 8))


def test_refuses_folders_without_classes(tmp_path):
    with pytest.raises(DataError, match="two or more classes, got no images in its sub-folders"):
        load_image_folder(tmp_path)
    put(tmp_path / "only", "1.png", 9)
    with pytest.raises(DataError, match="got images in 'only' alone"):
        load_image_folder(tmp_path)


def test_refuses_a_test_class_that_was_not_trained(tmp_path):
    for name in ("a", "b"):
        put(tmp_path / "train" / name, "1.png", 1)
        put(tmp_path / "test" / name, "1.png", 1)
    put(tmp_path / "test" / "c", "1.png", 1)
    with pytest.raises(DataError, match="test must be the classes of train, got also c"):
        load_image_folder(tmp_path)


def test_names_the_picture_that_cannot_be_read(tmp_path):
    for name in ("a", "b"):
        for number in range(3):
            put(tmp_path / name, f"{number}.png", 100)
    content = (tmp_path / "b" / "1.png").read_bytes()
    (tmp_path / "b" / "1.png").write_bytes(content[:50])
    with pytest.raises(DataError, match=r"b.1\.png must be a picture .* got a damaged one"):
        load_image_folder(tmp_path)
    (tmp_path / "b" / "1.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"b.1\.png must be a picture"):
        load_image_folder(tmp_path)


def test_too_few_for_a_test_set_is_said(tmp_path):
    put(tmp_path / "a", "1.png", 1)
    put(tmp_path / "b", "1.png", 2)
    with pytest.raises(DataError, match="no test sequences, and none can be held out"):
        load_image_folder(tmp_path)


def test_larger_than_memory_is_refused(tmp_path, monkeypatch):
    put(tmp_path / "a", "1.png", 1)
    put(tmp_path / "b", "1.png", 2)
    monkeypatch.setattr("os.sysconf", lambda name: 5)
    with pytest.raises(DataError, match="below this machine's memory"):
        load_image_folder(tmp_path)
