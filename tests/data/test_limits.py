from __future__ import annotations

import os
from pathlib import Path

import pytest

from elman.data.limits import require_memory
from elman.errors import DataError


def test_refuses_more_than_the_memory_of_the_machine(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 100}.__getitem__)
    require_memory(Path("x"), 1000)
    with pytest.raises(
        DataError, match=r"x: unpacked size must be below this machine's memory \(1,000 bytes\), got 1,001"
    ):
        require_memory(Path("x"), 1001)


def test_leaves_it_to_the_allocation_where_memory_is_not_known(monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    require_memory(Path("x"), 10**18)
