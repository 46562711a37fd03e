from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from elman import __version__
from elman.cli import COMMANDS
from elman.errors import DataError, DivergenceError, ElmanError

HEAVY = ("torch", "numpy", "sklearn", "PIL", "tensorboard", "lightning_fabric")
HELPS = [
    ["--help"],
    ["data", "--help"],
    *([name, "--help"] for name in COMMANDS),
    *(["data", name, "--help"] for name in ("list", "fetch", "verify")),
    *(["train", name, "--help"] for name in ("classify", "digits", "mnist", "mnist-bidirectional")),
]


def test_help_lists_every_command(elman) -> None:
    for arguments in ([], ["-h"], ["--help"]):
        status, out, err = elman(*arguments)
        assert (status, err) == (0, "")
        assert out.startswith("usage: elman COMMAND")
        for name in COMMANDS:
            assert f"\n  {name} " in out


def test_every_command_is_a_module() -> None:
    for name in COMMANDS:
        assert callable(importlib.import_module(f"elman.cli.{name}").main)


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_of_every_command(elman, arguments: list[str]) -> None:
    status, out, err = elman(*arguments)
    assert (status, err) == (0, "")
    assert out.startswith("usage: elman")


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import contextlib, io, sys
from elman.cli import main
for arguments in {HELPS!r}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(arguments)
    print(arguments, sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    lines = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert lines == [f"{arguments} []" for arguments in HELPS]


def test_help_is_quick() -> None:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.check_output([sys.executable, "-m", "elman", "train", "digits", "--help"])
        times.append(time.perf_counter() - started)
    assert min(times) < 1.2  # 0.25 s on an idle machine; `import torch` alone takes 1.6


def test_version(elman) -> None:
    assert elman("--version") == (0, f"elman {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "There is no command 'trian'. Did you mean 'train'?"),
        (
            ["xyz"],
            "There is no command 'xyz'. Known: bench, board, cells, check, data, equations, evaluate, explain, "
            "generate, predict, resume, score, train.",
        ),
        (["data", "lst"], "There is no command 'data lst'. Did you mean 'list'?"),
    ],
)
def test_unknown_commands(refused, arguments: list[str], message: str) -> None:
    assert refused(*arguments) == f"elman: {message}\n"


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(argv: object) -> int:
        raise error

    monkeypatch.setattr("elman.cli.cells.main", fail)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ElmanError("what"), 2, "elman: what\n"),
        (DataError("what"), 2, "elman: what\n"),
        (DivergenceError("what"), 3, "elman: what\n"),
        (KeyboardInterrupt(), 130, "elman: stopped.\n"),
    ],
)
def test_exit_status(elman, monkeypatch, error: BaseException, status: int, message: str) -> None:
    fail_with(monkeypatch, error)
    assert elman("cells") == (status, "", message)


def test_a_fault_of_ours_is_not_hidden(elman, monkeypatch) -> None:
    fail_with(monkeypatch, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        elman("cells")


def block(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    """As if a package that the command imports were not installed."""
    monkeypatch.delitem(sys.modules, f"elman.cli.{name}", raising=False)
    for module in [module for module in sys.modules if module.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    real: Callable[..., object] = __import__

    def without(module: str, *rest: object) -> object:
        if module.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(module, *rest)

    monkeypatch.setattr("builtins.__import__", without)


def test_a_missing_extra_is_named(refused, monkeypatch) -> None:
    block(monkeypatch, "cells", "tyro")
    monkeypatch.delitem(sys.modules, "elman.cli.arguments")
    expected = "elman cells needs the package tyro, which is not installed: pip install 'elman[train]'"
    assert refused("cells") == f"elman: {expected}\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        command = [sys.executable, "-m", "elman", "train", "--help"]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
