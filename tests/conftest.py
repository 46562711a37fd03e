"""What holds for every test: unwritten memory is poison, random numbers are the same in every run."""

from __future__ import annotations

import builtins
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parent))  # for `oracles`, `faults` and `handwritten`

_CACHE = "ELMAN_TESTS_CACHE"  # of processes that tests start as well, so that code is compiled once


def pytest_configure(config: pytest.Config) -> None:
    """Compile into a folder of this run, not into the user's cache."""
    if _CACHE not in os.environ:
        os.environ[_CACHE] = tempfile.mkdtemp(prefix="elman-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(_CACHE)))
    os.environ["ELMAN_CACHE"] = os.environ[_CACHE]


def pytest_runtest_setup() -> None:
    """Forget what a doctest has left in the same process: `builtins._`, where tyro does not expect anything."""
    vars(builtins).pop("_", None)


def _poisoned(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def make_poison(*args: Any, **kwargs: Any) -> Tensor:
        values = make(*args, **kwargs)
        if values.is_floating_point() or values.is_complex():
            with torch.no_grad():
                values.fill_(torch.nan)
        return values

    return make_poison


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks in tests are too small for two threads; whatever a test sets is taken back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill what torch leaves unwritten with NaN, so that nothing that reads it can pass."""
    for name in ("empty", "empty_like", "empty_strided"):
        monkeypatch.setattr(torch, name, _poisoned(getattr(torch, name)))
    for name in ("new_empty", "new_empty_strided"):
        monkeypatch.setattr(Tensor, name, _poisoned(getattr(Tensor, name)))


@pytest.fixture(autouse=True)
def seed() -> int:
    """Start every test from the same random state."""
    torch.manual_seed(1990)
    return 1990
