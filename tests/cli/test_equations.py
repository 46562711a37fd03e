"""`elman equations`: what it prints, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from elman.cells import Cell
from elman.compiler.equations import derive
from elman.compiler.typeset import html_page, latex_document, plain_text

PAGE = Path(__file__).parents[2] / "docs" / "equations.md"

SOURCE = """
from elman import Affine, Cell, relu

class Own_Cell(Cell):
    states = ("memory",)
    gate = Affine()

    def step(self, x, memory):
        return 0.5 * memory + relu(self.gate(x, memory))
"""


@pytest.mark.parametrize(
    ("flags", "write"), [((), plain_text), (("--latex",), latex_document), (("--html",), html_page)]
)
@pytest.mark.parametrize("name", ["lstm", "gru-reset-before"])
def test_prints_what_the_compiler_writes(elman, name, flags, write) -> None:
    cell = Cell.registry[name]
    assert elman("equations", name, *flags) == (0, write(derive(cell(2, 3).graph), cell.__name__), "")


def test_a_cell_of_ones_own(elman, tmp_path, monkeypatch) -> None:
    (tmp_path / "own_for_equations.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    status, out, err = elman("equations", "own_for_equations:Own_Cell")
    assert (status, err) == (0, "")
    assert "  gateₜ = max(W xₜ + U memoryₜ₋₁ + b, 0)\n" in out
    assert "  δmemoryₜ = ∂ℓₜ/∂memoryₜ + 0.5 δmemoryₜ₊₁ + Uᵀ δgateₜ₊₁\n" in out
    assert "    δgateₜ = δmemoryₜ ⊙ [gateₜ > 0]\n" in out
    assert r"\section*{Own\_Cell}" in elman("equations", "own_for_equations:Own_Cell", "--latex").out


def test_the_page_of_the_documentation_shows_what_it_prints(elman) -> None:
    (shown,) = re.findall(r"^```console\n\$ elman equations lstm\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    assert elman("equations", "lstm").out == shown


def test_refusals(refused) -> None:
    assert refused("equations", "lsmt").startswith("elman: There is no cell 'lsmt'. Did you mean 'lstm'?")
    expected = "elman: --latex and --html are two forms of the same: give one of them.\n"
    assert refused("equations", "lstm", "--latex", "--html") == expected
