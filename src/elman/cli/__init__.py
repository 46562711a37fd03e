"""The command ``elman``: one file a command.

==================  ====================================================================
``train.py``         ``elman train PRESET|TASK``
``resume.py``        ``elman resume RUN``
``evaluate.py``      ``elman evaluate RUN``
``predict.py``       ``elman predict RUN FILE...``
``generate.py``      ``elman generate RUN``
``score.py``         ``elman score RUN FILE``
``data.py``          ``elman data list|fetch|verify``
``cells.py``         ``elman cells``
``equations.py``     ``elman equations CELL``
``explain.py``       ``elman explain CELL``
``check.py``         ``elman check CELL``; ``check_report.py`` is what it shows
``flow.py``          ``elman check --flow CELL|RUN ...``
``bench.py``         ``elman bench``
``board.py``         ``elman board RUN``
``arguments.py``     from a function's signature to flags
``texts.py``         running text on standard output, and from standard input
``threads.py``       ``--threads``
==================  ====================================================================

Exit status: 0 done; 1 a check failed, or a fault of elman (a traceback); 2 bad input, one line says what; 3 the loss
was not finite; 130 stopped by Ctrl-C, 143 by SIGTERM (both saved).
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from elman.errors import DivergenceError, ElmanError, MissingExtraError, did_you_mean

__all__ = ["main"]

COMMANDS: Final[dict[str, str]] = {
    "train": "train a network: elman train digits",
    "resume": "go on with a run where it stopped",
    "evaluate": "measure a run on held-out examples",
    "predict": "ask a run about files of your own",
    "generate": "write text with a run of a language model",
    "score": "say how likely a run finds each word of a text",
    "board": "open TensorBoard on a run, also while it trains",
    "data": "list, fetch and verify data sets",
    "cells": "list the recurrent cells",
    "equations": "print a cell and its back-propagation through time",
    "explain": "say what runs a cell here, why, and what it costs",
    "check": "check a cell on every backend and device of this machine",
    "bench": "measure time, share of peak and memory, beside other libraries",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what a terminal of another encoding lacks is written as an escape
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(*(list(sys.argv[1:] if argv is None else argv) or ["--help"]))
        sys.stdout.flush()  # Python's own flush at exit would be too late for the errors below
    except ElmanError as error:
        return _fail(str(error), status=3 if isinstance(error, DivergenceError) else 2)
    except KeyboardInterrupt:
        return _fail("stopped.", status=130)
    except BrokenPipeError:  # the reader of our output has gone: `elman --help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _run(name: str, *argv: str) -> int:
    if name in {"-h", "--help"}:
        print(_usage())
        return 0
    if name == "--version":
        from elman import __version__

        print(f"elman {__version__}")
        return 0
    if name not in COMMANDS:
        return _fail(f"There is no command {name!r}. {did_you_mean(name, COMMANDS)}")
    try:
        run: Callable[[Sequence[str]], int] = importlib.import_module(f"elman.cli.{name}").main
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("elman"):
            raise
        message = f"elman {name} needs the package {error.name}, which is not installed: pip install 'elman[train]'"
        raise MissingExtraError(message) from error
    return run(argv)


def _fail(message: str, status: int = 2) -> int:
    print(f"elman: {message}", file=sys.stderr)
    return status


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: elman COMMAND ...",
            "",
            "Recurrent neural networks: a cell is written once, as its equations.",
            "",
            *lines,
            "",
            "elman COMMAND --help says more; elman --version the version.",
        ]
    )
