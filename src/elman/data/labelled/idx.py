"""The idx file format of MNIST: a big-endian array behind a header of its type and sizes, plain or gzip.

Layout: two zero bytes, one byte for the type, one for the number of dimensions, a 32-bit size for each, the values.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from elman.data.limits import require_memory
from elman.errors import DataError, OptionError, describe

__all__ = ["read_idx", "write_idx"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8
_GZIP = b"\x1f\x8b"
_MAX_EXPANSION = 1032  # the most that deflate can pack into one byte
_TOO_SHORT = "The file is cut short or its header is wrong."
_TOO_LONG = "The header does not belong to these values."

_Array = np.ndarray[Any, np.dtype[Any]]


def read_idx(path: str | os.PathLike[str]) -> _Array:
    """Read an idx file, trusting none of its numbers before they are checked.

    Args:
        path: A plain or gzip file; told apart by its first bytes, not by its name.

    Returns:
        The array in the machine's byte order: uint8, int8, int16, int32, float32 or float64.

    Raises:
        DataError: Missing, not idx, damaged, cut short, with bytes after its end, or larger than it can be.
    """
    path = Path(path)
    try:
        stored = path.stat().st_size
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else contextlib.nullcontext(raw) as file:
                return _read(file, path, stored, packed)  # type: ignore[arg-type]  # both are binary readers
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(
            describe(
                str(path),
                expected="a whole gzip file",
                got=f"a damaged one ({error})",
                cause="The file is cut short or damaged; fetch it again.",
            )
        ) from error
    except OSError as error:
        raise DataError(
            describe(str(path), expected="a readable idx file", got=error.strerror or str(error))
        ) from error


def _read(file: BinaryIO, path: Path, stored: int, packed: bool) -> _Array:
    dtype, shape, header = _read_header(file, path)
    size = math.prod(shape) * dtype.itemsize
    # A plain file is exactly as long as its header says, and a gzip file cannot unpack to more than deflate allows.
    held = stored - header
    if not packed and held > size:
        raise _wrong_size(path, shape, dtype, f"{held:,} bytes", _TOO_LONG)
    if size > held * (_MAX_EXPANSION if packed else 1):
        raise _wrong_size(path, shape, dtype, f"{held:,} bytes{' of gzip' if packed else ''}", _TOO_SHORT)
    require_memory(path, size)
    values = np.empty(size, dtype=np.uint8)
    filled = 0
    with memoryview(values.data) as view:
        while filled < size and (count := file.readinto(view[filled:])):  # type: ignore[attr-defined]
            filled += count
    if filled < size:
        raise _wrong_size(path, shape, dtype, f"{filled:,} bytes", _TOO_SHORT)
    if file.read(1):
        raise _wrong_size(path, shape, dtype, "more", _TOO_LONG)
    array: _Array = values.view(dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(file: BinaryIO, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= _MAX_DIMENSIONS:
        cause = "This looks like a web page, saved in place of the file." if magic.startswith(b"<") else ""
        raise DataError(
            describe(
                f"{path}: the first four bytes",
                expected=f"00 00, a type of idx (08 to 0e) and 1 to {_MAX_DIMENSIONS} dimensions",
                got=magic.hex(" ") or "an empty file",
                cause=cause or "This is not an idx file.",
            )
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(
            describe(
                f"{path}: header",
                expected=f"{4 + 4 * magic[3]} bytes for {magic[3]} dimensions",
                got=f"{4 + len(sizes)}",
                cause="The file is cut short.",
            )
        )
    return np.dtype(_TYPES[magic[2]]), struct.unpack(f">{magic[3]}I", sizes), 4 + len(sizes)


def _wrong_size(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], got: str, cause: str) -> DataError:
    return DataError(
        describe(
            f"{path}: values after the header",
            expected=f"{math.prod(shape) * dtype.itemsize:,} bytes ({' x '.join(map(str, shape))} of {dtype.name})",
            got=got,
            cause=cause,
        )
    )


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an idx file; a name that ends in ``.gz`` is compressed.

    Args:
        path: Where to write.
        array: 1 to 8 dimensions of uint8, int8, int16, int32, float32 or float64.

    Raises:
        OptionError: A dtype or a number of dimensions that idx does not have.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_idx(f"{folder}/labels-idx1-ubyte.gz", np.array([3, 1, 4], dtype=np.uint8))
        ...     read_idx(f"{folder}/labels-idx1-ubyte.gz")
        array([3, 1, 4], dtype=uint8)
    """
    path = Path(path)
    codes = {np.dtype(name): code for code, name in _TYPES.items()}
    stored = array.dtype.newbyteorder(">")
    if stored not in codes or not 1 <= array.ndim <= _MAX_DIMENSIONS:
        raise OptionError(
            describe(
                f"{path}: array",
                expected=f"1 to {_MAX_DIMENSIONS} dimensions of {', '.join(dtype.name for dtype in codes)}",
                got=f"{array.ndim} dimensions of {array.dtype.name}",
            )
        )
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, codes[stored], array.ndim, *array.shape)
    content = header + array.astype(stored).tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
