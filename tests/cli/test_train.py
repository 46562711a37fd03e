from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from elman.data import write_idx
from elman.tasks.classification.config import ClassificationConfig, ClassifierConfig
from elman.training import TrainingConfig, load_checkpoint

SHORT = ("--threads", 1, "--no-tensorboard", "--hidden-size", 8)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "checkpoints/last.safetensors").group("model")


def assert_same_weights(run: Path, other: Path) -> None:
    left, right = weights(run), weights(other)
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[name]) for name, value in left.items())


def config_of(run: Path) -> Any:
    return yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))


# What it does


def test_a_run_from_a_preset(elman, tmp_path: Path) -> None:
    status, out, err = elman("train", "digits", "--steps", 45, "--threads", 1, "--out", "run")
    assert (status, out) == (0, "")
    lines = err.splitlines()
    assert lines[0] == (
        "digits: 1,294 train, 144 validation, 359 test; 8 steps of 8, 10 classes. Model: 71,434 parameters."
    )
    assert re.match(r"epoch 1/2  step 41/45  loss \d\.\d{4}  accuracy 0\.\d{4}  validation accuracy 0\.\d{4}", lines[1])
    assert re.match(r"Finished at step 45 after \d+ s; best validation accuracy 0\.\d{4} at step 4[15]\.", lines[-3])
    assert lines[-2:] == [
        "Measure it on test examples: elman evaluate run",
        "Look at it in TensorBoard:   elman board run",
    ]
    run = tmp_path / "run"
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    events = {name for name in names if name.startswith("tensorboard/events.out.tfevents.")}
    assert len(events) == 1
    checkpoints = {"checkpoints/last.safetensors", "checkpoints/best.safetensors"}
    assert names - events == {"config.yaml", "run.json", "metrics.jsonl", *checkpoints}
    assert load_checkpoint(run / "checkpoints/last.safetensors").document.progress.step == 45
    assert json.loads((run / "run.json").read_text())["threads"] == 1


def test_a_name_for_a_run_without_one(elman, tmp_path: Path) -> None:
    assert elman("train", "digits", "--steps", 1, *SHORT).status == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"digits-\d{8}-\d{6}", run.name)


@pytest.mark.parametrize(
    ("flags", "steps"), [(("--steps", 3), 3), (("--samples=65",), 3), (("--epochs", 0.1), 4), (("--epochs=0.05",), 2)]
)
@pytest.mark.parametrize("name", [("digits",), ("classify", "--data", "digits", "--batch-size", 32)])
def test_any_length_replaces_that_of_the_preset(
    elman, tmp_path: Path, name: tuple[object, ...], flags: tuple[object, ...], steps: int
) -> None:
    assert elman("train", *name, *flags, *SHORT, "--out", "run").status == 0
    assert load_checkpoint(tmp_path / "run/checkpoints/last.safetensors").document.progress.step == steps


def test_every_flag_is_in_the_help_with_its_text(elman) -> None:
    out = re.sub(r"[\s│]+", " ", elman("train", "mnist", "--help").out)
    for config in (ClassificationConfig, ClassifierConfig, TrainingConfig):
        for field in fields(config):
            if field.name not in ("model", "training"):
                assert f" --{field.name.replace('_', '-')}" in out
    for text in (
        "Size of a linear layer on each step (each image row) before the first cell; none: no such layer. (default:",
        "Learning rate, before the schedule. (default: 0.001)",
        "--readout {final,last}",
        "--bidirectional, --no-bidirectional",
        "Length of training in passes over the training data; fractions are allowed. (default: 10)",
        "--out {None}|PATH The run directory to make; none: runs/NAME-TIME.",
        "model options",
        "training options",
    ):
        assert text in out
    assert "flags." not in out


def test_flags_reach_the_configuration(elman, tmp_path: Path) -> None:
    flags: dict[str, Any] = {
        "cell": "gru", "num_layers": 2, "dropout": 0.25, "input_projection": 5, "readout": "last",
        "optimizer": "sgd", "momentum": 0.5, "clip_norm": 0.3, "learning_rate": 0.02, "output_dropout": 0.1,
        "schedule": "exponential", "decay": 0.5, "seed": 7, "warmup_steps": 2, "validation": 100,
        "batch_size": 16, "log_steps": 2,
    }  # fmt: skip
    typed = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", value)]
    biases = ("--initial-bias", "r", 0.5, "z", -1)
    status = elman("train", "digits", "--steps", 2, *SHORT, "--bidirectional", *biases, "--out", "run", *typed).status
    assert status == 0
    config = config_of(tmp_path / "run")
    flat = {**config, **config["model"], **config["training"]}
    assert flags.items() <= flat.items()
    assert (flat["bidirectional"], flat["tensorboard"], flat["epochs"]) == (True, False, None)
    assert flat["initial_bias"] == {"r": 0.5, "z": -1.0}


def test_the_config_of_a_run_makes_the_same_run(elman, tmp_path: Path) -> None:
    options = ("--cell", "peephole", "--learning-rate", 0.004, "--input-dropout", 0.1, "--seed", 3)
    assert elman("train", "digits", "--steps", 5, *SHORT, *options, "--out", "a").status == 0
    assert elman("train", "digits", "--config", "a/config.yaml", "--out", "b").status == 0
    assert elman("train", "classify", "--config=a/config.yaml", "--out", "c").status == 0
    for other in ("b", "c"):
        assert config_of(tmp_path / other) == config_of(tmp_path / "a")
        assert_same_weights(tmp_path / "a", tmp_path / other)


def test_flags_stand_over_the_file_and_the_file_over_the_preset(elman, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {cell: rnn, hidden_size: 5}\ntraining: {steps: 9, threads: 1}\n")
    arguments = ("--config", "mine.yaml", "--hidden-size", 4, "--samples", 32, "--out", "run")
    assert elman("train", "digits", *arguments).status == 0
    config = config_of(tmp_path / "run")
    assert (config["model"]["cell"], config["model"]["hidden_size"]) == ("rnn", 4)
    assert (config["training"]["steps"], config["training"]["samples"]) == (None, 32)
    assert config["training"]["learning_rate"] == 0.008  # the preset's


OWN_CELL = """
import elman

class HalfCell(elman.Cell):
    states = ("h",)
    n = elman.Affine(bias=0.0)

    def step(self, x, h):
        return 0.5 * h + 0.5 * elman.tanh(self.n(x, h))
"""


def test_a_cell_of_the_user_s_own(tmp_path: Path) -> None:
    (tmp_path / "my_cells.py").write_text(OWN_CELL)
    code = (
        "import sys; from elman.cli import main; options = '--cell my_cells:HalfCell --steps 3 --threads 1'.split(); "
        "sys.exit(main(['train', 'digits', *options, '--out', 'run']) or main(['evaluate', 'run', '--json']) "
        "or main(['train', 'digits', '--cell', 'my_cells:HalvCell']))"
    )
    # -P: the current folder is not on the path by itself, just as for the command `elman`
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stdout)["examples"] == 359
    assert done.stderr.endswith("elman: my_cells has no cell 'HalvCell'. Did you mean 'HalfCell'?\n")
    gates = weights(tmp_path / "run")
    assert gates["recurrent.cells.0.0.weight_x"].shape == (128, 8)


# Data of the user's


def pictures(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Horizontal or vertical bars of 6x5 pixels."""
    random, y = np.random.default_rng(1), np.arange(count, dtype=np.uint8) % 2
    x = random.integers(0, 30, (count, 6, 5), dtype=np.uint8)
    for picture, label in zip(x, y, strict=True):
        picture[(slice(2, 4), slice(1, 4)) if label else (slice(1, 5), slice(2, 3))] = 220
    return x, y


def make_idx(folder: Path) -> Path:
    folder.mkdir()
    x, y = pictures()
    write_idx(folder / "train-images-idx3-ubyte.gz", x[:30])
    write_idx(folder / "train-labels-idx1-ubyte.gz", y[:30])
    write_idx(folder / "t10k-images-idx3-ubyte", x[30:])
    write_idx(folder / "t10k-labels-idx1-ubyte", y[30:])
    return folder


def make_images(folder: Path) -> Path:
    for k, (picture, label) in enumerate(zip(*pictures(), strict=True)):
        place = folder / ("flat" if label else "tall")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{k}.png")
    return folder


def make_npz(path: Path) -> Path:
    x, y = pictures()
    path = path.with_suffix(".npz")
    np.savez(path, x=x, y=y)
    return path


@pytest.mark.parametrize("make", [make_idx, make_images, make_npz])
def test_data_of_the_user_s_own(elman, monkeypatch, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    data = make(tmp_path / "bars")
    options = ("--validation", 6, "--learning-rate", 0.05, "--batch-size", 8)
    assert elman("train", "classify", "--data", data.name, "--steps", 40, *SHORT, *options, "--out", "run").status == 0
    assert config_of(tmp_path / "run")["data"] == str(data)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert elman("resume", "../run", "--steps", 42).status == 0
    found = json.loads(elman("evaluate", "../run", "--json").out)
    assert found["examples"] == (10 if make is make_idx else 8)
    assert found["accuracy"] == 1.0
    Image.fromarray(pictures()[0][1]).save("flat.png")
    (answer,) = json.loads(elman("predict", "../run", "flat.png", "--json").out)
    assert answer["class"] == ("flat" if make is make_images else "1")


def test_sequences_with_lengths(elman, npz: Path, tmp_path: Path) -> None:
    options = ("--learning-rate", 0.05, "--readout", "last", "--bidirectional", "--batch-size", 16)
    assert elman("train", "classify", "--data", npz, "--steps", 60, *SHORT, *options, "--out", "run").status == 0
    found = json.loads(elman("evaluate", "run", "--json").out)
    assert found["examples"] == 12
    assert found["accuracy"] > 0.7  # by chance: 0.33
    (answer,) = json.loads(elman("predict", "run", "--examples", 1, "--json").out)
    assert set(answer["probabilities"]) == {"5", "6", "7"}
    Image.new("L", (3, 4)).save("some.png")
    status, _, err = elman("predict", "run", "some.png")
    assert (status, err.count("\n")) == (2, 1)
    assert "was trained on sequences, not on images" in err


# What it refuses: one line, and nothing left behind


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digit",), "There is no preset or task 'digit'. Did you mean 'digits'?"),
        (("digits", "--cell", "lsmt"), "There is no cell 'lsmt'. Did you mean 'lstm'?"),
        (("digits", "--cell", "no_such:Cell"), "There is no module 'no_such' for the cell 'no_such:Cell'"),
        (("digits", "--steps", 3, "--epochs=2"), "--epochs and --steps both say how long to train: give one of them."),
        (
            ("digits", "--learning-rate", -1, "--hidden-size", 0),
            "--hidden-size: input should be greater than 0, got 0. --learning-rate: input should be greater than 0",
        ),
        (("digits", "--steps", 0), "--steps: input should be greater than 0, got 0."),
        (("digits", "--learning-rate", "nan"), "--learning-rate: input should be"),
        (("digits", "--initial-bias", "z", 1), "initial_bias names 'z', which is no gate with a bias."),
        (("digits", "--validation", 2000), "--validation: size of a hold-out must be from 1 to 1428"),
        (("digits", "--image-size", 8, 8), "image size must be left out, got (8, 8). It is for a folder of images."),
        (("digits", "--config", "none.yaml"), "none.yaml cannot be read: No such file or directory."),
        (("mnist",), "Run 'elman data fetch mnist', or pass --data DIR."),
        (("classify", "--data", "digit"), "got nothing of that name. Did you mean 'digits'?"),
        (("classify", "--data", "no/such"), "--data no/such must be digits, mnist, a folder of idx files,"),
    ],
)
def test_refusals(refused, arguments: tuple[object, ...], message: str) -> None:
    assert message in refused("train", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits", "--stesp", 3), "--steps"),
        (("digits", "--learning-rate", "much"), "--learning-rate: could not convert string to float: 'much'"),
        (("digits", "--optimizer", "adan"), "invalid choice 'adan' for argument '--optimizer'"),
        (("digits", "--dropout", 0.5), "--dropout acts between layers and --num-layers is 1."),
        (("digits", "--momentum", 0.5), "--momentum belongs to --optimizer sgd, got --optimizer adam."),
        (("classify",), "Missing from elman train classify"),
        (("classify", "--steps", 4), "--data STR"),
    ],
)
def test_flags_that_cannot_be(elman, tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    status, out, err = elman("train", *arguments)
    assert (status, out) == (2, "")
    assert message in re.sub(r"[\s│]+", " ", err)
    assert list(tmp_path.iterdir()) == []


def test_all_problems_of_a_file(refused, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("training: {lerning_rate: 3, batch_size: 0}\nmodl: 3\nmodel: {cell: 7}\n")
    message = refused("train", "digits", "--config", "bad.yaml")
    for part in (
        "elman: bad.yaml: ",
        "training.lerning_rate is unknown. Did you mean 'learning_rate'?",
        "training.batch_size: input should be greater than 0, got 0.",
        "modl is unknown. Did you mean 'model'?",
        "model.cell: input should be a valid string, got 7.",
    ):
        assert part in message


def test_a_file_of_another_task(refused, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("task: tagging\n")
    message = refused("train", "digits", "--config", "other.yaml")
    assert "other.yaml is for the task 'tagging', and digits is classification." in message


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def spoil_idx(folder: Path, how: str) -> None:
    images, packed = folder / "t10k-images-idx3-ubyte", folder / "train-images-idx3-ubyte.gz"
    plain = gzip.decompress(packed.read_bytes())
    if how == "truncated":
        packed.write_bytes(gzip.compress(plain[:-10]))
    elif how == "broken gzip":
        cut(packed, 60)
    elif how == "wrong magic":
        images.write_bytes(b"\x89PNG" + images.read_bytes()[4:])
    elif how == "wrong count":
        images.write_bytes(images.read_bytes()[:4] + (9).to_bytes(4) + images.read_bytes()[8 : 16 + 9 * 30])
    elif how == "huge":
        images.write_bytes(images.read_bytes()[:4] + 3 * (2**31 - 1).to_bytes(4))
    elif how == "no labels":
        (folder / "train-labels-idx1-ubyte.gz").unlink()
    elif how == "wrong size":
        write_idx(images, np.zeros((10, 6, 7), np.uint8))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "train-images-idx3-ubyte.gz"),
        ("broken gzip", "train-images-idx3-ubyte.gz"),
        ("wrong magic", "t10k-images-idx3-ubyte"),
        ("wrong count", "must be 9, one for each image of t10k-images-idx3-ubyte, got 10"),
        ("huge", "t10k-images-idx3-ubyte"),
        ("no labels", "train-images-idx3-ubyte.gz without its labels"),
        ("wrong size", "test images must be of size (6, 5) as train, got (6, 7)"),
    ],
)
def test_damaged_idx_files(refused, tmp_path: Path, how: str, message: str) -> None:
    spoil_idx(make_idx(tmp_path / "bars"), how)
    assert message in refused("train", "classify", "--data", "bars", "--steps", 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 3, 2)), "y": np.array([{}] * 4)}, "must be numbers, got Python objects"),
        ({"x": np.zeros((4, 3, 2))}, "must be x, y and optional lengths, got no y"),
        ({"x": np.zeros((4, 3)), "y": np.zeros(4, int)}, "Write x[:, :, None]"),
        ({"x": np.full((4, 3, 2), np.nan), "y": np.zeros(4, int)}, "must be finite"),
        ({"x": np.zeros((4, 3, 2)), "y": np.zeros(5, int)}, "(4,) of whole numbers"),
        ({"x": np.zeros((4, 3, 2)), "y": np.arange(4) % 2, "lengths": np.full(4, 9)}, "must be from 0 to T=3, got 9"),
        ({"x": np.zeros((4, 3, 2)), "y": np.arange(4) % 2, "label": np.zeros(1)}, "got 'label'"),
        ({"x": np.zeros((20, 3, 2)), "y": np.zeros(20, int)}, "classes must be two or more"),
    ],
)
def test_damaged_npz_files(refused, tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    assert message in refused("train", "classify", "--data", "bad.npz", "--steps", 2, "--validation", 1)


def test_a_file_that_only_looks_like_data(refused, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    assert "a.npz must be a whole .npz file" in refused("train", "classify", "--data", "a.npz")
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "b").mkdir()
    for place in ("a", "b"):
        (tmp_path / "images" / place / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "1.png must be a picture" in refused("train", "classify", "--data", "images")


def test_an_occupied_folder(elman, refused, tmp_path: Path) -> None:
    assert elman("train", "digits", "--steps", 1, *SHORT, "--out", "run").status == 0
    message = refused("train", "digits", "--steps", 1, "--out", "run")
    assert "run already holds a run: go on with it by `elman resume run`, or take another --out." in message
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "mine must be a new or an empty folder" in refused("train", "digits", "--steps", 1, "--out", "mine")


def test_a_loss_that_is_not_finite(elman, tmp_path: Path) -> None:
    options = ("--optimizer", "sgd", "--learning-rate", 1e38, "--schedule", "constant")
    status, out, err = elman("train", "digits", "--steps", 20, *SHORT, *options, "--out", "run")
    assert (status, out) == (3, "")
    last = err.splitlines()[-1]
    assert re.match(r"elman: Step \d+: the (loss|gradient's norm) must be a finite number, got (nan|inf)\.", last)
    assert "Try a smaller --learning-rate (now 1e+38) or a --clip-norm." in last
    assert "last good checkpoint, of step 0, is kept: run/checkpoints/last.safetensors" in last
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())


def test_made_data_is_no_path(elman, tmp_path: Path) -> None:
    """A folder may have the name of a problem."""
    (tmp_path / "adding").mkdir()
    options = ("--length", 3, "--steps", 1, "--hidden-size", 3, "--threads", 1, "--no-tensorboard")
    assert elman("train", "memory", "--data", "adding", *options, "--out", "run").status == 0
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["data"] == "adding"
    assert elman("evaluate", "run").status == 0
    status, _, err = elman("evaluate", "run", "--data", "copy")
    assert (status, err) == (2, "elman: --data must be adding as in training, got copy.\n")
