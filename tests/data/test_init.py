from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import elman.data


def test_every_public_name_is_there():
    for home, names in elman.data._HOME.items():
        for name in names:
            assert getattr(elman.data, name) is getattr(importlib.import_module(home), name)
    assert set(elman.data.__all__) <= set(dir(elman.data))
    assert set(elman.data.__all__) == {name for names in elman.data._HOME.values() for name in names}
    modules = {path.stem for path in Path(elman.data.__file__).parent.glob("*.py")}
    assert not modules & set(elman.data.__all__), "a module would hide the name once it is imported"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'load_everything'"):
        elman.data.load_everything  # noqa: B018


def test_the_catalogue_loads_nothing_heavy():
    program = (
        "import sys, elman.data; from elman.data.catalogue import catalogue; catalogue(); elman.data.fetch('digits'); "
        "print([name for name in ('torch', 'sklearn', 'PIL', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
