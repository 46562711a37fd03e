"""Checkpoints: one safetensors file with everything a run needs to go on as if it had never stopped.

Tensors are named by prefix: ``model.`` (the state dict), ``optimizer.<parameter>.<key>``, ``random.<generator>`` and
``task.`` (a carried state). All else is one JSON document in the file's metadata, beside a checksum over everything.
Nothing is pickled. A file is written under another name, forced to disk and renamed: it is the old or the new one.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import torch
from annotated_types import Ge, Gt
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from elman.errors import CheckpointError, describe
from elman.training.run import writing

__all__ = [
    "Checkpoint",
    "Document",
    "Progress",
    "Window",
    "capture",
    "load_checkpoint",
    "replace_file",
    "save_checkpoint",
]

FORMAT = "elman checkpoint"
VERSION = 1
_SHOWN = 3  # tensors named in a message
_LONGEST_SHOWN = 80  # characters of a value in a message

Count = Annotated[int, Ge(0)]


@dataclass(kw_only=True)
class Window:
    """Sums since the last point of the training curve."""

    count: Count = 0
    sums: dict[str, float] = field(default_factory=dict)
    gradient_norm: float = 0.0
    seconds: float = 0.0


@dataclass(kw_only=True)
class Progress:
    """All that the loop remembers from one step to the next, the model's, optimiser's and task's state aside.

    Attributes:
        step: Optimiser steps done; the next batch is ``task.batch(step)``.
        steps_per_epoch: Steps of an epoch.
        samples: Training examples seen.
        seconds: Training time, interruptions left out.
        window: Means in progress.
        best_value: The best value of the monitored metric, and ``best_step``, when it was reached.
        stale: Evaluations in a row since then.
        validation: Metrics of the last evaluation.
    """

    step: Count = 0
    steps_per_epoch: Annotated[int, Gt(0)]
    samples: Count = 0
    seconds: float = 0.0
    window: Window = field(default_factory=Window)
    best_value: float | None = None
    best_step: Count | None = None
    stale: Count = 0
    validation: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Document:
    """The part of a checkpoint that is not tensors.

    Attributes:
        progress: Where the run stands.
        optimizer: Name of the optimiser whose state is kept.
        seed: Seed of the run.
        threads: CPU threads; the same number gives the same bits.
        device: Kind of device: ``cpu``.
        torch: Version of PyTorch.
        task: The task's description of itself.
        journal: Sizes of the run's journals in bytes.
    """

    progress: Progress
    optimizer: str
    seed: Count
    threads: Annotated[int, Gt(0)]
    device: str
    torch: str
    task: dict[str, Any]
    journal: dict[str, Count]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found sound. See :func:`load_checkpoint`.

    Attributes:
        path: Its file.
        document: What it says.
        tensors: Its tensors on the CPU, by full name.
    """

    path: Path
    document: Document
    tensors: Mapping[str, Tensor]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix (``model``, ``optimizer``, ``random``, ``task``), by the rest of their names."""
        start = prefix + "."
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}

    def restore_model(self, model: nn.Module) -> None:
        """Put the weights into a model of the same make.

        Raises:
            CheckpointError: If names or shapes differ; nothing is changed then.
        """
        saved, wanted = self.group("model"), model.state_dict()
        problems = [f"{name} is missing" for name in wanted if name not in saved]
        problems += [f"{name} is not in the model" for name in saved if name not in wanted]
        problems += [
            f"{name} has shape {tuple(saved[name].shape)} where the model has {tuple(value.shape)}"
            for name, value in wanted.items()
            if name in saved and saved[name].shape != value.shape
        ]
        self._refuse(problems, "Was it trained with another --cell or --hidden-size?")
        model.load_state_dict(saved)

    def restore_optimizer(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put the optimiser's state back, bit for bit.

        Raises:
            CheckpointError: If it belongs to another model.
        """
        names = {id(parameter): key for key, parameter in model.named_parameters()}
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        index = {names[id(parameter)]: position for position, parameter in enumerate(parameters)}
        state: dict[int, dict[str, Tensor]] = {}
        problems = []
        for full_name, value in self.group("optimizer").items():
            parameter, _, key = full_name.rpartition(".")
            if parameter not in index:
                problems.append(f"optimizer.{full_name} belongs to no parameter")
            elif value.dim() and value.shape != parameters[index[parameter]].shape:
                problems.append(f"optimizer.{full_name} has shape {tuple(value.shape)}")
            else:
                state.setdefault(index[parameter], {})[key] = value
        self._refuse(problems, "Was it trained with another model?")
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    def restore_random(self, device: torch.device) -> None:
        """Set torch's generators, of the CPU and of the device, to where they stood.

        Raises:
            CheckpointError: If their state is missing or not of this PyTorch's kind.
        """
        states = self.group("random")
        generators = _generators(device)
        try:
            for kind, generator in generators.items():
                if kind in states or kind == "cpu":  # a device that the run was moved to has no state to restore
                    generator.set_rng_state(states[kind])
        except (KeyError, RuntimeError, TypeError) as error:
            message = f"{self.path}: the state of the random numbers cannot be restored."
            raise CheckpointError(f"{message} Was it written by another PyTorch, {self.document.torch}?") from error

    def check(self, now: Document) -> None:
        """Compare what a resumed run must share with the run that wrote this: data, seed, optimiser.

        Raises:
            CheckpointError: If something differs; the first few differences are named.
        """
        then, new = _identity(self.document), _identity(now)
        problems = [
            _difference(key, then.get(key), new.get(key))
            for key in {**then, **new}
            if key not in then or key not in new or then[key] != new[key]
        ]
        self._refuse(problems, "Has the data or the configuration changed?")

    def _refuse(self, problems: list[str], cause: str) -> None:
        if problems:
            more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise CheckpointError(f"{self.path} does not fit: {'; '.join(problems[:_SHOWN])}{more}. {cause}")


def capture(
    model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device, task: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """All tensors of a checkpoint, by full name. Draws no random number."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        tensors |= {f"optimizer.{name}.{key}": value for key, value in state.items() if value is not None}
    tensors |= {f"random.{kind}": generator.get_rng_state() for kind, generator in _generators(device).items()}
    return tensors | {f"task.{name}": value for name, value in task.items()}


def save_checkpoint(path: Path, document: Document, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint; whatever happens meanwhile, ``path`` is the old file or the new one.

    Raises:
        CheckpointError: If the disk is full or the folder cannot be written, or the task describes itself at too great
            length for the format (100 MB); the old file is kept.
    """
    stored, aliases = _separate(tensors)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "document": json.dumps(asdict(document)),
        "aliases": json.dumps(aliases),
    }
    metadata["checksum"] = str(_checksum(metadata, stored))
    try:
        content = safetensors.torch.save(stored, metadata)
    except SafetensorError as error:
        size = sum(map(len, metadata.values()))
        expected, got = "at most 100 MB of names and descriptions", f"{size:,} bytes ({error})"
        raise CheckpointError(describe(f"{path}: its header", expected=expected, got=got)) from error
    with writing(path):
        replace_file(path, content)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under another name, force it to disk and rename it: it is the old or the new one.

    Raises:
        OSError: If the disk is full or the folder cannot be written; the old file is kept.
    """
    draft = path.with_name(path.name + ".tmp")  # one name: a draft left by a crash is written over
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check that it is whole.

    Raises:
        CheckpointError: If it is missing, damaged, of another kind, or written by a newer elman.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise CheckpointError(describe(str(path), expected="a checkpoint", got="nothing there")) from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            describe(str(path), expected="a checkpoint (safetensors)", got=f"a file that cannot be read ({error})")
        ) from error
    if metadata.get("checksum") != str(_checksum(metadata, tensors)):
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content.")
    try:
        document = _document().validate_json(metadata["document"], strict=True)
        aliases = _aliases().validate_json(metadata["aliases"], strict=True)
        tensors |= {alias: tensors[name] for alias, name in aliases.items()}
    except (ValidationError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged: {_first_line(error)}.") from error
    return Checkpoint(path, document, tensors)


def _identity(document: Document) -> dict[str, Any]:
    own = {
        "seed": document.seed,
        "optimizer": document.optimizer,
        "steps an epoch": document.progress.steps_per_epoch,
    }
    task: dict[str, Any] = json.loads(json.dumps(document.task))  # tuples become the lists that were read back
    return own | task


def _difference(key: str, then: Any, now: Any) -> str:
    """Say what was and what is; of long values, such as a vocabulary, only that they differ."""
    shown = [repr(value) for value in (then, now)]
    if max(map(len, shown)) > _LONGEST_SHOWN:
        return f"{key} is another now"
    return f"{key} was {shown[0]} and is {shown[1]} now"


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        got = "a safetensors file of another kind"
        cause = "Is it the weights of another program?"
        raise CheckpointError(describe(str(path), expected="a checkpoint of elman", got=got, cause=cause))
    version = metadata.get("version", "")
    if version != str(VERSION):
        got, cause = f"version {version}", "It was written by another elman; a newer one may read it."
        raise CheckpointError(describe(f"{path}: the format", expected=f"version {VERSION}", got=got, cause=cause))


def _separate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Copies of the tensors that share no memory; a tied tensor is kept once and its other names as aliases."""
    stored: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    memory: set[int] = set()
    for name, value in tensors.items():
        key = (value.data_ptr(), value.device, value.dtype, value.shape, value.stride())
        if value.numel() and key in first:
            aliases[name] = first[key]
            continue
        first[key] = name
        plain = value.detach().cpu().contiguous()
        if plain.untyped_storage().data_ptr() in memory or plain.untyped_storage().nbytes() > plain.nbytes:
            plain = plain.clone()  # a view of something larger, such as cuDNN's one block of weights
        memory.add(plain.untyped_storage().data_ptr())
        stored[name] = plain
    return stored, aliases


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> int:
    """A checksum over all but itself: safetensors has none of its own."""
    total = zlib.crc32(json.dumps([metadata.get("document"), metadata.get("aliases")]).encode())
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return total


def _sync_folder(folder: Path) -> None:
    """Force the folder's entries to disk, where the system knows such a thing."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _generators(device: torch.device) -> dict[str, Any]:
    """The modules that hold random state, by kind of device: a run draws on the CPU and on its device."""
    return {"cpu": torch} if device.type == "cpu" else {"cpu": torch, device.type: torch.get_device_module(device)}


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return f"{type(error).__name__} {error}"


@cache
def _document() -> TypeAdapter[Document]:
    return TypeAdapter(Document)


@cache
def _aliases() -> TypeAdapter[dict[str, str]]:
    return TypeAdapter(dict[str, str])
