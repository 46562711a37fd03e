"""Each cell once more, in plain NumPy, from the equations of its paper: one file a cell, named as for users."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

__all__ = ["oracle_of"]


def oracle_of(name: str) -> Callable[..., Any]:
    """Return the oracle of a registered cell."""
    return importlib.import_module(f"oracles.{name.replace('-', '_')}").step
