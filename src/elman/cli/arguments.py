"""From a function's signature, or a dataclass, to flags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

__all__ = ["RunPath", "parse"]

RunPath = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]

T = TypeVar("T")


def parse(function: Callable[..., T], argv: Sequence[str], command: str, *, pairs: bool = False) -> T:
    """Call a function with what the command line says; its annotations and docstring are the help.

    Args:
        function: or a dataclass.
        argv: the arguments behind the command.
        command: the command, for ``--help``.
        pairs: give each switch a ``--no-`` twin, for switches that a preset may have on.

    Raises:
        SystemExit: after ``--help`` (0), or with what is wrong on standard error (2).
    """
    config: list[Any] = [tyro.conf.OmitArgPrefixes]
    if not pairs:
        config.append(tyro.conf.FlagCreatePairsOff)
    return tyro.cli(function, args=list(argv), prog=f"elman {command}", config=tuple(config))
