"""Sequences in an ``.npz`` file: checked header by header before anything is unpacked, and never unpickled."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch

from elman.data.labelled.images import ImageFormat
from elman.data.labelled.sequences import TEST_NOTE, LabelledData, LabelledSequences, split
from elman.data.limits import require_memory
from elman.errors import DataError, describe, did_you_mean

__all__ = ["checked_labels", "checked_values", "load_npz"]

_NAMES = ("x", "y", "lengths", "x_test", "y_test", "lengths_test")

# What zipfile and NumPy's header parser raise for damaged bytes (RuntimeError: an encrypted member).
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, SyntaxError, TokenError, ValueError)

_Array = np.ndarray[Any, np.dtype[Any]]


def load_npz(path: str | os.PathLike[str], *, validation: int | float = 0, seed: int = 0) -> LabelledData:
    """Load labelled sequences from an ``.npz`` file.

    Args:
        path: Holds ``x (N, T, F)`` of floats or bytes, ``y (N,)`` of whole numbers, optional ``lengths (N,)``, and
            optional test sequences ``x_test``, ``y_test``, ``lengths_test``; without them the same fifth of x is
            always held out. Bytes without lengths are taken for images.
        validation: Count or fraction to hold out of the training sequences; 0 for none.
        seed: Chooses the validation sequences.

    Raises:
        DataError: Not an .npz, damaged, with arrays of other names, shapes, dtypes or values.
    """
    path = Path(path)
    arrays = _read_arrays(path)
    values = {name: checked_values(f"{path}: {name}", arrays[name]) for name in ("x", "x_test") if name in arrays}
    labels, classes = checked_labels(str(path), arrays["y"], arrays.get("y_test"))
    train = _sequences(path, values["x"], labels[0], arrays.get("lengths"), "")
    test = _sequences(path, values["x_test"], labels[1], arrays.get("lengths_test"), "_test") if labels[1:] else None
    kept, held_out, test = split(train, test, validation=validation, seed=seed)
    is_image = train.x.dtype == torch.uint8 and train.lengths is None
    return LabelledData(
        name=path.stem,
        train=kept,
        validation=held_out,
        test=test,
        classes=classes,
        scale=1 / 255 if train.x.dtype == torch.uint8 else 1.0,
        image=ImageFormat.measure(values["x"]) if is_image else None,
        notes=() if "x_test" in values else (TEST_NOTE,),
    )


def checked_values(what: str, x: _Array) -> _Array:
    """The values of sequences as (N, T, F) of uint8 or finite float32.

    Raises:
        DataError: Another shape or dtype, or values that are not finite.
    """
    if x.ndim != 3 or not (x.dtype == np.uint8 or x.dtype.kind == "f"):
        cause = "Convert them with x.astype(numpy.float32)." if x.dtype.kind in "iu" and x.dtype != np.uint8 else ""
        if x.ndim == 2:
            cause = "One number a step? Write x[:, :, None]."
        raise DataError(
            describe(what, expected="(N, T, F) of floats or uint8", got=f"{x.shape} of {x.dtype.name}", cause=cause)
        )
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which is refused below
        values: _Array = np.ascontiguousarray(x, dtype=np.float32)
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise DataError(
            describe(what, expected="finite as float32", got=f"{bad} values that are not", cause="Padding counts too.")
        )
    return values


def checked_labels(what: str, y: _Array, y_test: _Array | None) -> tuple[list[_Array], tuple[str, ...]]:
    """Labels as positions in the classes, which are the different labels of the training sequences in their order.

    Raises:
        DataError: Labels that are not whole numbers from 0 on, or that occur in the test sequences alone.
    """
    both = [y] if y_test is None else [y, y_test]
    for name, labels in zip(("train", "test"), both, strict=False):
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise DataError(
                describe(
                    f"{what}: {name} labels", expected="(N,) of whole numbers", got=f"{labels.shape} of {labels.dtype}"
                )
            )
        if labels.size and int(labels.min()) < 0:
            raise DataError(describe(f"{what}: {name} labels", expected="0 or more", got=str(int(labels.min()))))
    values = np.unique(y)
    if y_test is not None and (unknown := np.setdiff1d(y_test, values)).size:
        raise DataError(
            describe(
                f"{what}: test labels",
                expected="labels that the training sequences have too",
                got=", ".join(str(int(label)) for label in unknown[:5]),
                cause="No model can have learnt these.",
            )
        )
    return [np.searchsorted(values, labels).astype(np.int64) for labels in both], tuple(str(int(v)) for v in values)


def _sequences(path: Path, x: _Array, y: _Array, lengths: _Array | None, suffix: str) -> LabelledSequences:
    for name, values in (("y", y), ("lengths", lengths)):
        if values is not None and (values.shape != (len(x),) or values.dtype.kind not in "iu"):
            raise DataError(
                describe(
                    f"{path}: {name}{suffix}",
                    expected=f"({len(x)},) of whole numbers, one for each row of x{suffix}",
                    got=f"{values.shape} of {values.dtype}",
                )
            )
    if lengths is not None and lengths.size and not 0 <= int(lengths.min()) <= int(lengths.max()) <= x.shape[1]:
        raise DataError(
            describe(
                f"{path}: lengths{suffix}",
                expected=f"from 0 to T={x.shape[1]}",
                got=f"{int(lengths.min())} to {int(lengths.max())}",
            )
        )
    steps = None if lengths is None else torch.from_numpy(lengths.astype(np.int64))
    return LabelledSequences(torch.from_numpy(x), torch.from_numpy(y), steps)


def _read_arrays(path: Path) -> dict[str, _Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            _check_names(path, set(members))
            sizes = [_promised_size(archive, member, path) for member in members.values()]
        require_memory(path, sum(sizes))
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in members}
    except _UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(describe(str(path), expected="a whole .npz file", got=f"a damaged one ({reason})")) from error


def _check_names(path: Path, names: set[str]) -> None:
    for name in sorted(names - set(_NAMES)):
        raise DataError(
            describe(
                f"{path}: arrays",
                expected=f"named {', '.join(_NAMES)}",
                got=repr(name),
                cause=did_you_mean(name.lower(), _NAMES),
            )
        )
    needed = {"x", "y"} | ({"x_test", "y_test"} if names & {"x_test", "y_test", "lengths_test"} else set())
    if missing := sorted(needed - names):
        raise DataError(
            describe(
                f"{path}: arrays",
                expected=f"{', '.join(sorted(needed))} and optional lengths",
                got=f"no {', '.join(missing)}",
            )
        )
    if "x_test" in names and ("lengths" in names) != ("lengths_test" in names):
        raise DataError(
            describe(f"{path}: lengths", expected="given for both train and test, or for neither", got="one of them")
        )


def _promised_size(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> int:
    """The bytes of an array by its own header, which has to agree with the archive's directory."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        header = file.tell()
    if dtype.hasobject:
        raise DataError(
            describe(
                f"{path}: {member.filename}",
                expected="numbers",
                got="Python objects",
                cause="They would have to be unpickled, which elman never does.",
            )
        )
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size != member.file_size - header:
        raise DataError(
            describe(
                f"{path}: {member.filename}",
                expected=f"{size:,} bytes for {shape} of {dtype}",
                got=f"{member.file_size - header:,}",
                cause="The file is damaged.",
            )
        )
    return size
