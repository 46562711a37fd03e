"""`elman equations`: what it prints, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from elman.cells import Cell
from elman.compiler.equations import derive
from elman.compiler.typeset import html_page, latex_document, plain_text
from elman.compiler.unfolding import unfold

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
    unfolded = write(unfold(cell(2, 3).graph, 4), cell.__name__)
    assert elman("equations", name, "--unfold", 4, *flags) == (0, unfolded, "")


def test_a_cell_of_ones_own(elman, tmp_path, monkeypatch) -> None:
    (tmp_path / "own_for_equations.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    status, out, err = elman("equations", "own_for_equations:Own_Cell")
    assert (status, err) == (0, "")
    assert "  gateₜ = max(W xₜ + U memoryₜ₋₁ + b, 0)\n" in out
    assert "  δmemoryₜ = ∂ℓₜ/∂memoryₜ + 0.5 δmemoryₜ₊₁ + Uᵀ δgateₜ₊₁\n" in out
    assert "    δgateₜ = δmemoryₜ ⊙ [gateₜ > 0]\n" in out
    unfolded = elman("equations", "own_for_equations:Own_Cell", "--unfold", 2).out
    assert "  ∂memoryₜ/∂memoryₜ₋₁ = 0.5 I + diag([gateₜ > 0]) U\n" in unfolded
    assert "  dℓ₂/dmemory₁ = ∂ℓ₂/∂memory₂ · ∂memory₂/∂memory₁    ℓ₂ → memory₂ → memory₁\n" in unfolded
    assert r"\section*{Own\_Cell}" in elman("equations", "own_for_equations:Own_Cell", "--latex").out


@pytest.mark.parametrize("command", ["equations lstm", "equations rnn --unfold 3"])
def test_the_page_of_the_documentation_shows_what_it_prints(elman, command) -> None:
    (shown,) = re.findall(rf"^```console\n\$ elman {command}\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    assert elman(*command.split()).out == shown


def test_the_page_of_the_documentation_quotes_the_lstm(elman) -> None:
    *_, quoted = re.findall(r"^```text\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    printed = [line.rstrip() for line in elman("equations", "lstm", "--unfold", 3).out.splitlines()]
    assert all(line in printed for line in quoted.splitlines() if line != "...")


def test_refusals(refused) -> None:
    assert refused("equations", "lsmt").startswith("elman: There is no cell 'lsmt'. Did you mean 'lstm'?")
    expected = "elman: --latex and --html are two forms of the same: give one of them.\n"
    assert refused("equations", "lstm", "--latex", "--html") == expected
    expected = "elman: the number of steps to unfold must be 2 to 9, got 10.\n"
    assert refused("equations", "lstm", "--unfold", 10) == expected
