"""Libraries that elman is measured against and does not need: imported when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

from elman.errors import MissingExtraError

__all__ = ["Library"]


class Library:
    """A module of a library that may not be installed; its names are those of the module.

    Args:
        name: of the module.

    Raises:
        MissingExtraError: a name is used, and it is not installed.

    Example:
        >>> Library("json").dumps([1])
        '[1]'
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Return a name of the module."""
        if name.startswith("__"):  # Python and its tools look for these; they are no use of the library
            raise AttributeError(name)
        try:
            module = importlib.import_module(self._name)
        except ModuleNotFoundError as error:
            if error.name != self._name.partition(".")[0]:
                raise
            raise MissingExtraError(f"This peer needs the package {error.name}: pip install 'elman[bench]'") from error
        return getattr(module, name)
