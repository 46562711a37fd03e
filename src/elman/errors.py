"""The errors of elman: what went wrong, what was expected, what came, and the likely cause.

::

    ElmanError
    ├── OptionError         a constructor argument, a flag or a configuration value      (also ValueError)
    ├── ShapeError          a tensor of the wrong shape, dtype or device                 (also ValueError)
    ├── TraceError          a cell's step that cannot be read as equations               (also TypeError)
    ├── BackendError        a backend that cannot run what it is asked to run            (also RuntimeError)
    ├── DataError           a file from outside that is not what it should be            (also ValueError)
    ├── DownloadError       a file that could not be had from any mirror
    ├── CheckpointError     a run directory or checkpoint that cannot be written or used
    ├── DivergenceError     a loss that is not finite
    └── MissingExtraError   an optional package that is not installed                    (also ImportError)

Everything that a user can cause is one of these; the command line prints it as one line and leaves with status 2
(3 for a diverged run). Anything else that escapes is a bug in elman.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BackendError",
    "CheckpointError",
    "DataError",
    "DivergenceError",
    "DownloadError",
    "ElmanError",
    "MissingExtraError",
    "OptionError",
    "ShapeError",
    "TraceError",
    "describe",
    "did_you_mean",
]


class ElmanError(Exception):
    """Base of every error that elman raises on purpose."""


class OptionError(ElmanError, ValueError):
    """A constructor argument, a flag or a configuration value is wrong."""


class ShapeError(ElmanError, ValueError):
    """A tensor has the wrong shape, dtype or device."""


class TraceError(ElmanError, TypeError):
    """The step of a cell cannot be read as equations."""


class BackendError(ElmanError, RuntimeError):
    """A backend cannot run what it is asked to run."""


class DataError(ElmanError, ValueError):
    """A file from outside is missing, damaged, or not what it should be."""


class DownloadError(ElmanError):
    """A file could not be had from any of its mirrors."""


class CheckpointError(ElmanError):
    """A run directory or a checkpoint cannot be written or used."""


class DivergenceError(ElmanError):
    """The loss of a run is not finite."""


class MissingExtraError(ElmanError, ImportError):
    """An optional package is not installed."""


def describe(what: str, *, expected: str, got: str, cause: str = "") -> str:
    """One form for every message: what · expected · got · likely cause.

    Example:
        >>> describe("LSTM: x", expected="(batch, time, input_size=3)", got="(2, 5, 7)", cause="Did you pass hidden?")
        'LSTM: x must be (batch, time, input_size=3), got (2, 5, 7). Did you pass hidden?'
    """
    return f"{what} must be {expected}, got {got}.{' ' + cause if cause else ''}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Name the nearest of the known names, or all of them where none is near.

    Example:
        >>> did_you_mean("lsmt", ["gru", "lstm"])
        "Did you mean 'lstm'?"
        >>> did_you_mean("transformer", ["gru", "lstm"])
        'Known: gru, lstm.'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(names)}." if names else "There is none."
