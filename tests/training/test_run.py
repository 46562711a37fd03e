from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from elman.errors import CheckpointError
from elman.training.measurement import Measurement
from elman.training.run import GrowingFile, MetricsFile, RunDirectory

NewRun = Callable[..., RunDirectory]


def test_create_and_open(tmp_path: Path) -> None:
    config = {"task": "x", "seed": 3, "a": {"z": 1e-3, "b": [1, 2], "none": None}, "größe": "ü"}
    run = RunDirectory.create(tmp_path / "deep" / "run", config, title="digits\nrow by row", info={"seed": 3})
    text = (run.path / "config.yaml").read_text(encoding="utf-8")
    assert text.splitlines()[0] == "# digits row by row"
    assert list(yaml.safe_load(text)) == ["task", "seed", "a", "größe"]
    assert RunDirectory.open(run.path) == run
    assert run.config == config
    assert run.info["seed"] == 3
    assert run.info["torch"].startswith("2.")
    assert run.info.keys() >= {"elman", "python", "numpy", "started", "argv"}
    assert stat.S_IMODE(run.path.stat().st_mode) & 0o500 == 0o500
    assert sorted(p.name for p in run.path.parent.iterdir()) == ["run"]  # no draft left


def test_create_respects_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        run = RunDirectory.create(tmp_path / "run", {}, title="x")
    finally:
        os.umask(former)
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o750


def test_create_takes_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert RunDirectory.create(tmp_path / "run", {"a": 1}, title="x").config == {"a": 1}


def test_create_refuses_a_run(new_run: NewRun) -> None:
    run = new_run(steps=1)
    before = (run.path / "config.yaml").read_bytes()
    with pytest.raises(CheckpointError, match=rf"already holds a run: .*`elman resume {run.path}`.*--out"):
        RunDirectory.create(run.path, {"other": 1}, title="x")
    assert (run.path / "config.yaml").read_bytes() == before


def test_create_refuses_other_things(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="new or an empty folder, got a file"):
        RunDirectory.create(tmp_path / "file", {}, title="x")
    with pytest.raises(CheckpointError, match="got one with files in it"):
        RunDirectory.create(tmp_path, {}, title="x")
    with pytest.raises(CheckpointError, match=r"cannot be written"):
        RunDirectory.create(tmp_path / "file" / "run", {}, title="x")


def test_create_leaves_nothing_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(CheckpointError, match=r"No space left on device.*Free some space"):
        RunDirectory.create(tmp_path / "run", {}, title="x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "config.yaml cannot be read: .*expected"),
        (b"- 1\n- 2\n", "must be a mapping of names, got list"),
        (b"", "must be a mapping of names, got NoneType"),
        (b"1: 2\n", "must be a mapping of names"),
        (b"\xff\xfe\x00", "config.yaml cannot be read"),
        (b"a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        (b"a: " + b"x" * (1 << 20), "at most 1048576 bytes"),
    ],
)
def test_open_damaged_config(new_run: NewRun, content: bytes, message: str) -> None:
    path = new_run(steps=1).path
    (path / "config.yaml").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        RunDirectory.open(path)
    assert "\n" not in str(caught.value)


def test_open_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing there"):
        RunDirectory.open(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"a run directory \(with config.yaml\), got a folder without one"):
        RunDirectory.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="got a file"):
        RunDirectory.open(tmp_path / "file")


def test_checkpoint_prefers_the_best(new_run: NewRun) -> None:
    run = new_run(steps=1)
    with pytest.raises(CheckpointError, match=r"no checkpoint yet.*elman resume"):
        run.checkpoint()
    run.last.write_bytes(b"")
    assert run.checkpoint() == run.last
    run.best.write_bytes(b"")
    assert run.checkpoint() == run.best


def test_lock_is_exclusive(new_run: NewRun) -> None:
    run = new_run(steps=1)
    with run.lock(), pytest.raises(CheckpointError, match="trained by another process"), run.lock():
        pass
    with run.lock():
        pass


def test_rewind_cuts_deletes_and_reports(new_run: NewRun) -> None:
    run = new_run(steps=1)
    run.metrics.write_bytes(b"12345")
    first, second = (run.tensorboard / f"events.out.tfevents.{n}" for n in "12")
    first.write_bytes(b"abc")
    sizes = run.journal_sizes()
    assert sizes == {"metrics.jsonl": 5, "tensorboard/events.out.tfevents.1": 3}
    run.metrics.write_bytes(b"1234567")
    first.write_bytes(b"ab")
    second.write_bytes(b"new")
    (run.tensorboard / "notes.txt").write_text("of the user")
    (notes,) = run.rewind(sizes | {"tensorboard/../config.yaml": 0})[:1]
    assert "tensorboard/events.out.tfevents.1 is shorter" in notes
    assert run.metrics.read_bytes() == b"12345"
    assert first.read_bytes() == b"ab"
    assert not second.exists()
    assert (run.tensorboard / "notes.txt").exists()
    assert (run.path / "config.yaml").stat().st_size > 0  # a hostile name reaches no other file


def test_metrics_file_has_no_nan(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "m.jsonl")
    point = Measurement(
        step=2, epoch=0.5, samples=8, seconds=1.23456, split="train",
        metrics={"loss": float("nan")}, speed={"gradient_norm": 0.1 + 0.2},
    )  # fmt: skip
    file.log(point)
    file.log(point)
    file.close()
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    expected = {"step": 2, "epoch": 0.5, "samples": 8, "split": "train", "loss": None}
    assert lines == [expected | {"gradient_norm": 0.1 + 0.2, "seconds": 1.235}] * 2


def test_growing_file_on_a_full_disk() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    file = GrowingFile(Path("/dev/full"))
    with pytest.raises(CheckpointError, match=r"No space left on device.*kept.*Free some space.*elman resume"):
        file.write(b"x")
    file.close()
