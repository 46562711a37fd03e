"""Which backend is wanted, and what is said where it cannot be had."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, get_args

from elman.errors import BackendError, OptionError, did_you_mean

__all__ = ["BACKENDS", "Name", "backend", "fall_back", "wanted"]

Name = Literal["auto", "llvm", "reference"]
BACKENDS: Final[tuple[str, ...]] = get_args(Name)

_wanted: ContextVar[str] = ContextVar("elman.backend", default="auto")
_logger = logging.getLogger("elman")
_said: set[str] = set()


@contextmanager
def backend(name: Name) -> Iterator[None]:
    """Say which backend runs the layers that are called inside the ``with`` block, in this thread or task.

    ``"auto"``, the default outside, takes compiled code where it can run and the reference elsewhere. ``"llvm"`` allows
    compiled code alone; ``"reference"`` runs the equations in torch operations, step by step. A backward pass goes the
    way of its forward pass, wherever it is called.

    Args:
        name: one of ``auto``, ``llvm`` and ``reference``.

    Raises:
        OptionError: there is no backend of this name.
        BackendError: inside the block, a call that compiled code cannot run under ``"llvm"``; the message says why.

    Example:
        >>> import torch
        >>> from elman import LSTM
        >>> layer, x = LSTM(3, 4), torch.ones(2, 5, 3)
        >>> with backend("reference"):
        ...     expected, _ = layer(x)
        >>> torch.testing.assert_close(layer(x)[0], expected)
    """
    if name not in BACKENDS:
        raise OptionError(f"There is no backend {name!r}. {did_you_mean(str(name), BACKENDS)}")
    token = _wanted.set(name)
    try:
        yield
    finally:
        _wanted.reset(token)


def wanted() -> str:
    """Return the name that `backend` was given, ``auto`` outside of it."""
    return _wanted.get()


def fall_back(reason: str, *, log: bool = True, instead: str = "the reference backend runs") -> None:
    """Take the reference backend where the user leaves the choice to elman, and say so once for each reason.

    Raises:
        BackendError: the user wants compiled code alone.
    """
    if _wanted.get() == "llvm":
        raise BackendError(f"The backend llvm cannot run this: {reason}. Allow others with elman.backend('auto').")
    if log and reason not in _said:
        _said.add(reason)
        _logger.info("%s, not compiled code: %s", instead, reason)
