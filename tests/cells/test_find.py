"""`find`: from a name on the command line to a cell class."""

from __future__ import annotations

import sys

import pytest

from elman.cells import (
    CoupledLSTMCell,
    GRUCell,
    LSTMCell,
    PeepholeLSTMCell,
    ReLURNNCell,
    ResetBeforeGRUCell,
    RNNCell,
    find,
)
from elman.errors import OptionError

SOURCE = """
from elman import Affine, Cell, tanh

class FoundCell(Cell):
    states = ("h",)
    a = Affine()

    def step(self, x, h):
        return tanh(self.a(x, h))

number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the current folder and forget it afterwards."""
    (tmp_path / "cell_of_a_user.py").write_text(SOURCE)
    (tmp_path / "broken_of_a_user.py").write_text("import there_is_no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in ("cell_of_a_user", "broken_of_a_user"):
        sys.modules.pop(name, None)


def test_names():
    assert {name: find(name) for name in ("rnn", "rnn-relu", "lstm", "peephole", "coupled", "gru")} == {
        "rnn": RNNCell,
        "rnn-relu": ReLURNNCell,
        "lstm": LSTMCell,
        "peephole": PeepholeLSTMCell,
        "coupled": CoupledLSTMCell,
        "gru": GRUCell,
    }
    assert find("gru-reset-before") is ResetBeforeGRUCell


@pytest.mark.usefixtures("module")
def test_a_cell_of_the_current_folder():
    cell = find("cell_of_a_user:FoundCell")
    assert cell.__name__ == "FoundCell"
    assert cell(2, 3).weight_x.shape == (3, 2)
    assert find("elman.cells.lstm:LSTMCell") is LSTMCell


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lsmt", r"There is no cell 'lsmt'\. Did you mean 'lstm'\? A cell of your own: my_module:MyCell\."),
        ("transformer", r"There is no cell 'transformer'\. Known: coupled, .*rnn-relu\."),
        ("", r"There is no cell ''"),
        ("no_such_module:Cell", r"There is no module 'no_such_module' for the cell 'no_such_module:Cell'"),
        ("cell_of_a_user:FundCell", r"cell_of_a_user has no cell 'FundCell'\. Did you mean 'FoundCell'\?"),
        ("cell_of_a_user:number", r"cell_of_a_user has no cell 'number'"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(OptionError, match=message):
        find(name)


@pytest.mark.usefixtures("module")
def test_a_module_whose_import_fails_says_so():
    with pytest.raises(ModuleNotFoundError, match=r"there_is_no_such_package"):
        find("broken_of_a_user:Cell")
