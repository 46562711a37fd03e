"""The check of a promised size before memory is taken for it: a header is only a claim."""

from __future__ import annotations

import os
from pathlib import Path

from elman.errors import DataError, describe

__all__ = ["require_memory"]


def require_memory(path: Path, size: int) -> None:
    """Refuse a file that unpacks to more bytes than this machine has memory.

    Args:
        path: The file, for the message.
        size: Bytes that its header promises.

    Raises:
        DataError: The data cannot be held in memory.
    """
    if not hasattr(os, "sysconf"):  # Windows reserves what it grants, so there the allocation itself fails
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise DataError(
            describe(
                f"{path}: unpacked size",
                expected=f"below this machine's memory ({memory:,} bytes)",
                got=f"{size:,} bytes",
                cause="The header may be damaged; a data set that large does not fit in memory.",
            )
        )
