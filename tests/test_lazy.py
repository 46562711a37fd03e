"""Names that are imported when they are used."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from elman.errors import MissingExtraError
from elman.lazy import exports


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one module that needs what is not installed, and one that is well."""
    (tmp_path / "well.py").write_text("answer = 42\n")
    (tmp_path / "needy.py").write_text("import no_such_package_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = ModuleType("lazy_package")
    monkeypatch.setitem(sys.modules, "lazy_package", module)
    module.__getattr__, module.__dir__ = exports("lazy_package", {"well": ("answer",), "needy": ("question",)})
    return module


def test_a_name_is_imported_once(package):
    assert "answer" in dir(package)
    assert "answer" not in vars(package)
    assert package.answer == 42
    assert vars(package)["answer"] == 42


def test_an_unknown_name(package):
    with pytest.raises(AttributeError, match="module 'lazy_package' has no attribute 'wrong'"):
        package.wrong  # noqa: B018


def test_a_missing_extra_is_named(package):
    expected = r"lazy_package\.question needs the package no_such_package_anywhere: pip install 'elman\[train\]'"
    with pytest.raises(MissingExtraError, match=expected):
        package.question  # noqa: B018
