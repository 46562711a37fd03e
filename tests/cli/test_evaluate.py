from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

SIZES = {"test": 359, "validation": 144, "train": 1294}


@pytest.mark.parametrize("split", SIZES)
def test_json_and_lines_say_the_same(elman, digits_run: Path, split: str) -> None:
    status, out, err = elman("evaluate", digits_run, "--split", split, "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    assert list(found) == ["task", "split", "accuracy", "loss", "examples"]
    assert (found["task"], found["split"], found["examples"]) == ("classification", split, SIZES[split])
    assert found["accuracy"] > 0.85
    assert found["accuracy"] * SIZES[split] == pytest.approx(round(found["accuracy"] * SIZES[split]))
    lines = dict(line.split() for line in elman("evaluate", digits_run, "--split", split).out.splitlines())
    assert lines == {
        "task": "classification",
        "split": split,
        "accuracy": f"{found['accuracy']:.4f}",
        "loss": f"{found['loss']:.4f}",
        "examples": str(SIZES[split]),
    }


def test_the_split_is_the_test_images_where_none_is_named(elman, digits_run: Path) -> None:
    assert elman("evaluate", digits_run, "--json") == elman("evaluate", digits_run, "--split", "test", "--json")


def test_validation_is_as_in_training(elman, digits_run: Path) -> None:
    lines = [json.loads(line) for line in (digits_run / "metrics.jsonl").read_text().splitlines()]
    best = [line for line in lines if line.get("best")][-1]
    found = json.loads(elman("evaluate", digits_run, "--split", "validation", "--json").out)
    assert found["accuracy"] == best["accuracy"]
    assert found["loss"] == pytest.approx(best["loss"])


def test_no_such_split(elman, digits_run: Path) -> None:
    status, _, err = elman("evaluate", digits_run, "--split", "dev")
    assert status == 2
    assert "invalid choice 'dev' for argument '--split'" in re.sub(r"[\s│]+", " ", err)


def test_a_run_without_validation_split(elman, refused) -> None:
    options = ("--steps", 1, "--threads", 1, "--validation", 0)
    assert elman("train", "digits", *options, "--out", "run").status == 0
    assert json.loads(elman("evaluate", "run", "--json").out)["examples"] == 359
    message = refused("evaluate", "run", "--split", "validation")
    assert "--split must be a split that the data has, got validation." in message


def test_data_of_another_make(refused, digits_run: Path, npz: Path) -> None:
    message = refused("evaluate", digits_run, "--data", npz)
    assert "toy: classes must be ('0', '1'," in message
    assert "no/such must be" in refused("evaluate", digits_run, "--data", "no/such")


def test_what_is_no_run(refused, tmp_path: Path) -> None:
    message = "none must be a run directory (with config.yaml), got nothing there. Is the path spelt right?"
    assert message in refused("evaluate", "none")
    (tmp_path / "file").write_text("x")
    assert "file must be a run directory (with config.yaml), got a file." in refused("evaluate", "file")


def test_a_run_without_a_checkpoint(elman, refused, tmp_path: Path) -> None:
    assert elman("train", "digits", "--steps", 1, "--threads", 1, "--out", "run").status == 0
    for file in (tmp_path / "run/checkpoints").iterdir():
        file.unlink()
    for command in (("evaluate", "run"), ("predict", "run", "x.png"), ("predict", "run", "--examples", 1)):
        message = "run has no checkpoint yet: training stopped before its first one. Train it with `elman resume run`."
        assert message in refused(*command)
