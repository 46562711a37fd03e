from __future__ import annotations

import pytest

from elman.data.tagged.folders import split_files
from elman.errors import DataError


def put(folder, *names):
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("train.txt", "valid.txt", "test.txt"),
        ("train.conll", "dev.conll", "test.conll"),
        ("Train.bio", "validation.bio", "Test.bio"),
        ("eng.train", "eng.testa", "eng.testb"),
        ("en_ewt-ud-train.conllu", "en_ewt-ud-dev.conllu", "en_ewt-ud-test.conllu"),
        ("wnut17train.conll", "emerging.dev.conll", "emerging.test.conll"),
        ("train.tsv.gz", "dev.iob.gz", "test.iob2"),
        ("train", "dev", "test"),
    ],
)
def test_the_last_word_of_a_name_tells_the_split(tmp_path, names):
    put(tmp_path, *names, "README", "README.txt", "trained.txt", "train.py", "latest", "train.json", "untrain.md")
    (tmp_path / "test.col").mkdir()
    files = split_files(tmp_path)
    assert {split: path.name for split, path in files.items()} == dict(
        zip(("train", "validation", "test"), names, strict=True)
    )


def test_text_beside_conllu_is_left_alone(tmp_path):
    put(tmp_path, "x-ud-train.conllu", "x-ud-train.txt", "x-ud-test.txt", "x-ud-dev.conllu.gz")
    assert {path.name for path in split_files(tmp_path).values()} == {"x-ud-train.conllu", "x-ud-dev.conllu.gz"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "with a file such as train.txt, train.conllu or eng.train, got nothing in it"),
        (["test.txt"], r"got test\.txt\. A single file is given by its own path"),
        ([f"{n}.csv" for n in range(7)], r"got 0\.csv, 1\.csv, 2\.csv, 3\.csv, 4\.csv and 2 more\.$"),
        (["a.train", "b.train"], r"train must be one file, got a\.train and b\.train"),
        (["train.txt", "train.txt.gz"], "train must be one file"),
        (["train.txt", "dev.txt", "valid.txt"], r"validation must be one file, got dev\.txt and valid\.txt"),
    ],
)
def test_a_folder_without_one_training_file_is_refused(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        split_files(put(tmp_path, *names))
