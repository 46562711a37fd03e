"""The run directory: what a training leaves on disk, and its journals.

::

    RUN/
    ├── config.yaml            the configuration, valid as --config
    ├── run.json               versions, seed, threads, device, start, command line
    ├── metrics.jsonl          the curves, a point a line
    ├── checkpoints/last.safetensors, best.safetensors
    ├── tensorboard/           event files
    └── .lock                  held while a process trains

The *journals* are the files that only grow: metrics.jsonl and the event files. A checkpoint notes their sizes, and
resuming cuts them back to these, so that curves have neither gaps nor double points.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import yaml

from elman.errors import CheckpointError, describe
from elman.training.measurement import Measurement

__all__ = ["GrowingFile", "RunDirectory", "writing"]

_CONFIG = "config.yaml"
_LARGEST_CONFIG = 1 << 20  # bytes; ours are about one kilobyte
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PACKAGES = ("elman", "torch", "numpy", "lightning-fabric")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into a CheckpointError that says what is kept and what to do."""
    try:
        yield
    except OSError as error:
        advice = "Free some space" if error.errno in _FULL else "See to the folder"
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror or error}. The last good checkpoint is kept. "
            f"{advice}, then go on with `elman resume`."
        ) from error


class GrowingFile:
    """A file that is only appended to; what ``write`` has returned from is in the file.

    Raises:
        CheckpointError: If the disk is full or the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> int:
        """Append the bytes, all of them or an error."""
        with writing(self.path):
            rest = memoryview(data)
            while rest:  # an unbuffered write may be cut short; the next one then says why
                rest = rest[self._file.write(rest) :]
        return len(data)

    def flush(self) -> None:
        """Nothing is ever held back; TensorBoard's writer wants the method."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MetricsFile(GrowingFile):
    """metrics.jsonl: one measurement a line."""

    def log(self, measurement: Measurement) -> None:
        """Append one point."""
        self.write(json.dumps(measurement.as_json(), allow_nan=False).encode() + b"\n")


@dataclass(frozen=True)
class RunDirectory:
    """A folder that holds one training. Make one with :meth:`create` or :meth:`open`.

    Attributes:
        path: The folder.
        config: The configuration as read from config.yaml.
        info: What run.json says.
    """

    path: Path
    config: Mapping[str, Any]
    info: Mapping[str, Any]

    @classmethod
    def create(
        cls, path: Path, config: Mapping[str, Any], *, title: str, info: Mapping[str, Any] | None = None
    ) -> RunDirectory:
        """Make a run directory, whole or not at all.

        Args:
            path: A folder that does not exist yet, or is empty.
            config: Plain values (numbers, strings, lists, mappings) in the order in which config.yaml shall show them.
            title: What the run is, in a few words; the comment on the first line of config.yaml.
            info: What run.json shall say besides versions, start and command line: seed, threads, device.

        Raises:
            CheckpointError: If the folder holds a run or anything else, or cannot be written.
        """
        _refuse_occupied(path)
        record = {
            **_versions(),
            **(info or {}),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "argv": sys.argv,
        }
        text = _yaml(f"# {' '.join(title.split())}", config)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            try:
                (draft / _CONFIG).write_text(text, encoding="utf-8")
                (draft / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
                (draft / "checkpoints").mkdir()
                (draft / "tensorboard").mkdir()
                draft.chmod(0o777 & ~_umask())  # mkdtemp makes it private
                draft.rename(path)
            except BaseException:
                shutil.rmtree(draft)
                raise
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open an existing run directory.

        Raises:
            CheckpointError: If it is not one, or its files are damaged.
        """
        if not (path / _CONFIG).is_file():
            got = "a folder without one" if path.is_dir() else "a file" if path.exists() else "nothing there"
            cause = "Is the path right?" if path.exists() else "Is the path spelt right?"
            raise CheckpointError(
                describe(str(path), expected=f"a run directory (with {_CONFIG})", got=got, cause=cause)
            )
        config = _read_mapping(path / _CONFIG, yaml.safe_load, yaml.YAMLError)
        info = _read_mapping(path / "run.json", json.loads, ValueError) if (path / "run.json").exists() else {}
        return cls(path, config, info)

    def reconfigured(self, config: Mapping[str, Any]) -> RunDirectory:
        """Write another configuration in place of the one in config.yaml, whose first line stays.

        Raises:
            CheckpointError: If the file cannot be written; the old one is kept.
        """
        path = self.path / _CONFIG
        title = path.read_text(encoding="utf-8").partition("\n")[0]
        with writing(path):
            draft = path.with_name(_CONFIG + ".tmp")
            draft.write_text(_yaml(title, config), encoding="utf-8")
            draft.replace(path)
        return RunDirectory.open(self.path)

    @property
    def metrics(self) -> Path:
        """metrics.jsonl."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files. Give TensorBoard the run itself: its table of runs wants a name."""
        return self.path / "tensorboard"

    @property
    def last(self) -> Path:
        """The checkpoint to go on from; it may not exist yet."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The checkpoint of the best evaluation; it does not exist before one, or without a validation split."""
        return self.path / "checkpoints" / "best.safetensors"

    def checkpoint(self) -> Path:
        """The checkpoint to use the model from: the best, else the last.

        Raises:
            CheckpointError: If there is none yet.
        """
        for path in (self.best, self.last):
            if path.is_file():
                return path
        raise CheckpointError(
            f"{self.path} has no checkpoint yet: training stopped before its first one. "
            f"Train it with `elman resume {self.path}`."
        )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training this run. The lock falls when the process ends, however it ends.

        Raises:
            CheckpointError: If another process holds it, or the folder cannot be written.
        """
        with writing(self.path):
            try:
                held = filelock.FileLock(self.path / ".lock", timeout=0).acquire()
            except filelock.Timeout as error:
                message = f"{self.path} is being trained by another process. Wait for it, or stop it first."
                raise CheckpointError(message) from error
        with held:
            yield

    def journal_sizes(self) -> dict[str, int]:
        """The sizes of the journals in bytes, by path within the run directory."""
        return {str(file.relative_to(self.path).as_posix()): file.stat().st_size for file in self._journals()}

    def rewind(self, sizes: Mapping[str, int]) -> list[str]:
        """Cut the journals back to these sizes and delete those that are not listed.

        Returns:
            One sentence for each journal that has less than is listed: its curve has a gap.
        """
        found = {str(file.relative_to(self.path).as_posix()): file for file in self._journals()}
        with writing(self.path):
            for name, file in found.items():
                if name not in sizes:
                    file.unlink()
                elif file.stat().st_size > sizes[name]:
                    os.truncate(file, sizes[name])
        short = (name for name, size in sizes.items() if name not in found or found[name].stat().st_size < size)
        return [f"{name} is shorter than at the checkpoint: its curves have a gap." for name in short]

    def _journals(self) -> list[Path]:
        events = sorted(self.tensorboard.glob("events.out.tfevents.*"))
        return [file for file in (self.metrics, *events) if file.is_file() and not file.is_symlink()]


def _refuse_occupied(path: Path) -> None:
    if (path / _CONFIG).exists():
        raise CheckpointError(
            f"{path} already holds a run: go on with it by `elman resume {path}`, or take another --out."
        )
    if path.is_dir() and any(path.iterdir()):
        raise CheckpointError(describe(str(path), expected="a new or an empty folder", got="one with files in it"))
    if path.exists() and not path.is_dir():
        raise CheckpointError(describe(str(path), expected="a new or an empty folder", got="a file"))


def _read_mapping(path: Path, parse: Any, fault: type[Exception]) -> dict[str, Any]:
    """Read a small file from outside: its size, encoding, syntax and type are checked."""
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise CheckpointError(
                describe(str(path), expected=f"at most {_LARGEST_CONFIG} bytes", got=f"{path.stat().st_size}")
            )
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, fault) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} cannot be read: {reason}.") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(describe(str(path), expected="a mapping of names", got=type(content).__name__))
    return content


def _yaml(title: str, config: Mapping[str, Any]) -> str:
    return f"{title}\n" + yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def _versions() -> dict[str, str]:
    installed = {}
    for package in _PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # elman itself, run from its sources
            installed[package] = "not installed"
    return {**installed, "python": platform.python_version(), "platform": platform.platform()}


def _umask() -> int:
    mask = os.umask(0)  # the only way to read it is to set it
    os.umask(mask)
    return mask
