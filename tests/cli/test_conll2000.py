"""The shared task of CoNLL-2000 on its real sentences: an epoch of the preset, half as wide."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from elman.cli import main
from elman.data import Sentence, read_sentences, spans

FOLDER = Path(os.environ.get("ELMAN_DATA", "")).resolve() / "conll2000"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("ELMAN_DATA"), reason="ELMAN_DATA is not set"),
]


@pytest.fixture(scope="module")
def chunker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("conll2000") / "run"
    smaller = ["--hidden-size", "96", "--neighbour-loss", "0", "--epochs", "1", "--learning-rate", "0.004"]
    arguments = ["train", "chunking", "--data", str(FOLDER), *smaller, "--threads", "1", "--no-tensorboard"]
    assert main([*arguments, "--out", str(path)]) == 0
    return path


def test_f1(elman, chunker: Path) -> None:
    found = json.loads(elman("evaluate", chunker, "--json").out)
    assert (found["task"], found["split"], found["sentences"], found["words"]) == ("tagging", "test", 2012, 47377)
    assert found["f1"] > 0.87
    assert found["accuracy"] > 0.91


def test_columns_of_the_shared_task(elman, chunker: Path) -> None:
    """What is predicted is what `elman evaluate` counts, and conlleval would."""
    answers = json.loads(elman("predict", chunker, FOLDER / "test.txt", "--columns", "--json").out)
    truth: list[Sentence] = read_sentences(FOLDER / "test.txt")
    assert [tuple(answer["tokens"]) for answer in answers] == [sentence.tokens for sentence in truth]
    found = [{*spans(answer["tags"])} for answer in answers]
    right = [{*spans(sentence.tags)} for sentence in truth]
    hits = sum(len(a & b) for a, b in zip(found, right, strict=True))
    f1 = 2 * hits / (sum(map(len, found)) + sum(map(len, right)))
    evaluated = json.loads(elman("evaluate", chunker, "--json").out)["f1"]
    assert f1 == pytest.approx(evaluated, abs=1e-9)
