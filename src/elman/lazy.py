"""Packages whose names are imported when they are first used: importing torch alone takes more than a second."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from elman.errors import MissingExtraError

__all__ = ["exports"]


def exports(package: str, homes: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make a package's ``__getattr__`` and ``__dir__``.

    Args:
        package: its ``__name__``.
        homes: the names that each of its modules gives.

    Raises:
        MissingExtraError: a name is used whose module needs a package of an extra that is not installed.

    Example:
        >>> get, names = exports("elman", {"elman.errors": ("ElmanError",)})
        >>> get("ElmanError")
        <class 'elman.errors.ElmanError'>
    """
    module_of = {name: module for module, names in homes.items() for name in names}

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = getattr(importlib.import_module(module_of[name]), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("elman"):
                raise
            message = f"{package}.{name} needs the package {error.name}: pip install 'elman[train]'"
            raise MissingExtraError(message) from error
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *module_of})

    return __getattr__, __dir__
