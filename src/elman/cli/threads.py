"""``--threads``: how many CPU threads a command uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from elman.errors import OptionError, describe

__all__ = ["using_threads"]


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Use so many CPU threads, or PyTorch's choice.

    Raises:
        OptionError: Less than one.
    """
    import torch

    if count is not None and count < 1:
        raise OptionError(describe("--threads", expected="at least 1", got=str(count)))
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
