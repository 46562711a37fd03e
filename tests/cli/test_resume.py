from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from toy_tasks import assert_same, curves

from elman.training import load_checkpoint

SHORT = ("--threads", 1, "--hidden-size", 8)


def test_a_finished_run_has_nothing_to_do(elman, tmp_path: Path) -> None:
    assert elman("train", "digits", "--steps", 3, *SHORT, "--out", "run").status == 0
    before = (tmp_path / "run/checkpoints/last.safetensors").read_bytes()
    status, _, err = elman("resume", "run")
    assert status == 0
    assert "Finished at step 3 " in err
    assert (tmp_path / "run/checkpoints/last.safetensors").read_bytes() == before


def test_a_finished_run_goes_on_for_longer(elman, tmp_path: Path) -> None:
    """To the end of the first epoch and on: nothing of the first length is left in what follows."""
    options = ("--schedule", "constant", "--cell", "gru", "--input-dropout", 0.2, *SHORT)
    assert elman("train", "digits", "--epochs", 1, *options, "--out", "part").status == 0
    title = (tmp_path / "part/config.yaml").read_text().splitlines()[0]
    status, _, err = elman("resume", "part", "--epochs", 2)
    assert status == 0
    assert "epoch 2/2  step 82/82" in err
    config = (tmp_path / "part/config.yaml").read_text()
    assert config.splitlines()[0] == title
    assert yaml.safe_load(config)["training"]["epochs"] == 2.0
    assert elman("train", "digits", "--epochs", 2, *options, "--no-tensorboard", "--out", "whole").status == 0
    part, whole = (load_checkpoint(tmp_path / name / "checkpoints/last.safetensors") for name in ("part", "whole"))
    assert all((value == part.tensors[name]).all() for name, value in whole.tensors.items())
    assert curves(tmp_path / "part") == curves(tmp_path / "whole")


def test_another_unit_of_length(elman, tmp_path: Path) -> None:
    assert elman("train", "digits", "--epochs", 0.1, *SHORT, "--out", "run").status == 0
    assert elman("resume", "run", "--steps", 6).status == 0
    assert load_checkpoint(tmp_path / "run/checkpoints/last.safetensors").document.progress.step == 6
    training = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["training"]
    assert (training["epochs"], training["steps"]) == (None, 6)


def test_two_lengths(elman, refused, tmp_path: Path) -> None:
    assert elman("train", "digits", "--steps", 1, *SHORT, "--out", "run").status == 0
    assert "got --epochs and --steps" in refused("resume", "run", "--steps", 6, "--epochs", 2)


@pytest.mark.parametrize(("flag", "value"), [("--steps", 0), ("--epochs", -1), ("--epochs", "nan"), ("--samples", -5)])
def test_a_length_out_of_range(elman, refused, flag: str, value: object) -> None:
    assert elman("train", "digits", "--steps", 1, *SHORT, "--out", "run").status == 0
    assert f"{flag}: input should be" in refused("resume", "run", flag, value)


def test_what_is_no_run(refused, tmp_path: Path) -> None:
    assert "none must be a run directory (with config.yaml), got nothing there." in refused("resume", "none")
    (tmp_path / "empty").mkdir()
    assert "empty must be a run directory (with config.yaml), got a folder without one." in refused("resume", "empty")


def test_a_damaged_checkpoint(elman, tmp_path: Path) -> None:
    assert elman("train", "digits", "--steps", 2, *SHORT, "--out", "run").status == 0
    last = tmp_path / "run/checkpoints/last.safetensors"
    content = last.read_bytes()
    for spoilt in (content[: len(content) // 2], b"", content[:-1] + bytes([content[-1] ^ 1]), b"{}"):
        last.write_bytes(spoilt)
        status, out, err = elman("resume", "run", "--steps", 4)
        assert (status, out) == (2, "")
        (line,) = [line for line in err.splitlines() if line.startswith("elman: ")]
        assert "last.safetensors" in line
        assert last.read_bytes() == spoilt


def test_without_a_checkpoint_it_starts_anew(elman, tmp_path: Path) -> None:
    assert elman("train", "digits", "--steps", 3, *SHORT, "--out", "whole").status == 0
    assert elman("train", "digits", "--steps", 3, *SHORT, "--out", "run").status == 0
    for file in (tmp_path / "run/checkpoints").iterdir():
        file.unlink()
    assert elman("resume", "run").status == 0
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_the_data_has_gone(elman, npz: Path, tmp_path: Path) -> None:
    (tmp_path / "toy.npz").write_bytes(npz.read_bytes())
    assert elman("train", "classify", "--data", "toy.npz", "--steps", 2, *SHORT, "--out", "run").status == 0
    (tmp_path / "toy.npz").unlink()
    status, _, err = elman("resume", "run", "--steps", 4)
    assert (status, err.count("\n")) == (2, 1)
    assert f"--data {tmp_path / 'toy.npz'} must be" in err
    assert elman("predict", "run", "x.png").status == 2
