"""`elman explain`: what it prints, of which layer, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import elman as package
from elman.backends.llvm import runtime
from elman.backends.llvm.vectors import Shape
from elman.cells import Cell

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"

SOURCE = """
from elman import Affine, Cell, tanh

class SlowCell(Cell):
    states = ("memory",)
    gate = Affine()

    def step(self, x, memory):
        return 0.5 * memory + tanh(self.gate(x, memory))
"""


@pytest.mark.parametrize("name", ["lstm", "gru-reset-before"])
def test_prints_what_python_says(elman, name) -> None:
    layer = package.Recurrent(Cell.registry[name], 128, 128)
    assert elman("explain", name) == (0, f"{package.explain(layer, (128, 28, 128))}\n", "")


def test_every_option(elman) -> None:
    layer = package.Recurrent(package.GRUCell, 20, 30, 2, bidirectional=True, dtype=torch.float64)
    expected = package.explain(layer, (7, 9, 20))
    sizes = ["--input-size", 20, "--hidden-size", 30, "--num-layers", 2, "--batch", 7, "--steps", 9]
    options = [*sizes, "--bidirectional", "--dtype", "float64"]
    assert elman("explain", "gru", *options) == (0, f"{expected}\n", "")
    status, out, err = elman("explain", "gru", *options, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == json.loads(json.dumps(expected.as_dict()))
    assert [run["name"] for run in json.loads(out)["runs"]][1:] == ["layer_0/backward", *LAYER_1]


LAYER_1 = ["layer_1/forward", "layer_1/backward"]


def test_threads_are_those_asked_for_and_no_longer(elman) -> None:
    found = json.loads(elman("explain", "lstm", "--threads", 3, "--json").out)
    assert (found["threads"], found["runs"][0]["code"]["threads"]) == (3, 3)
    assert torch.get_num_threads() == 1


def test_a_cell_of_ones_own(elman, tmp_path, monkeypatch) -> None:
    (tmp_path / "own_for_explain.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    status, out, err = elman("explain", "own_for_explain:SlowCell")
    assert (status, err) == (0, "")
    assert out.startswith("Recurrent(SlowCell, 128, 128) on x (128, 28, 128), float32, with 1 thread\n")
    assert " Uᵀ δ for memory  128 x 128 x 128  gate\n" in out


def test_the_page_of_the_documentation_shows_what_it_prints(elman, monkeypatch) -> None:
    """On the machine of the page."""
    monkeypatch.setattr(runtime, "host", lambda: runtime.Host("x86_64", "znver4", "", 512, 32))
    monkeypatch.setattr(runtime, "shape", lambda size: Shape.of(512, 32, size))
    monkeypatch.setattr(runtime, "pool", lambda: runtime.Pool("libgomp.so.1", None, 0, 0))
    ((command, shown),) = re.findall(
        r"^```console\n\$ elman (.*)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.DOTALL
    )
    assert elman(*command.split()).out == shown


def test_refusals(refused) -> None:
    assert refused("explain", "lsmt").startswith("elman: There is no cell 'lsmt'. Did you mean 'lstm'?")
    for flag in ("--batch", "--steps", "--threads"):
        assert refused("explain", "rnn", flag, 0) == f"elman: {flag} must be at least 1, got 0.\n"
    assert refused("explain", "rnn", "--input-size", 0).startswith("elman: RNNCell: input_size must be a positive int")
