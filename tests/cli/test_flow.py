"""`elman check --flow`: gradients over time, of cells and of runs."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch

from elman.cells import Cell
from elman.cli.flow import _bars
from elman.insight import GradientFlow, fresh_flow
from elman.insight.plot import draw
from elman.tasks.memory.task import Memory
from elman.tasks.runs import open_run

SMALL = ("--length", 9, "--steps", 4, "--hidden-size", 6, "--evaluation-steps", 4, "--threads", 1, "--no-tensorboard")


def test_cells_as_json(elman) -> None:
    status, out, _ = elman("check", "lstm", "gru", "--flow", "--steps", 7, "--hidden-size", 5, "--seed", 3, "--json")
    assert status == 0
    found = {(row["name"], row["state"]): row for row in json.loads(out)}
    assert list(found) == [("lstm", "h"), ("lstm", "c"), ("gru", "h")]
    for (name, state), row in found.items():
        flow = fresh_flow(Cell.registry[name], steps=7, hidden_size=5, seed=3)
        (curve,) = (curve for curve in flow.curves() if curve.state == state)
        assert row["norms"] == curve.norms.tolist()
        assert (row["place"], row["rate"], row["verdict"]) == ("layer_0/forward", curve.rate, curve.verdict)


def test_shows_a_curve_a_state(elman) -> None:
    status, out, _ = elman("check", "--flow", "rnn", "lstm", "--steps", 30)
    assert status == 0
    rows = [line.split() for line in out.splitlines() if "∂L" in line]
    assert [row[:2] for row in rows] == [["rnn", "∂L/∂h"], ["lstm", "∂L/∂h"], ["lstm", "∂L/∂c"]]
    levels = "·▁▂▃▄▅▆▇█"
    for row in rows:
        heights = [levels.index(sign) for sign in row[2]]
        assert len(heights) == 20
        assert heights == sorted(heights)  # a fresh cell forgets
        assert heights[-1] == 8
    flows = (fresh_flow(Cell.registry[name], steps=30) for name in ("rnn", "lstm"))
    curves = [curve for flow in flows for curve in flow.curves()]
    assert [row[3:] for row in rows] == [
        [c.verdict, f"{c.norms[0]:.1e}", f"{c.norms[-1]:.1e}", "x", f"{c.rate:.3g}"] for c in curves
    ]


def test_a_run_beside_a_cell_of_its_name(elman, tmp_path: Path) -> None:
    for problem in ("adding", "copy"):
        assert elman("train", problem, *SMALL, "--cell", "gru", "--out", problem).status == 0
    status, out, _ = elman("check", "adding", "./copy", "gru", "--flow", "--examples", 12, "--json")
    assert status == 0
    rows = json.loads(out)
    assert [(row["name"], len(row["norms"])) for row in rows] == [("adding", 9), ("./copy", 29), ("gru", 100)]
    for row in rows[:2]:
        expected = open_run(tmp_path / row["name"], Memory).gradient_flow(12)
        assert row["norms"] == pytest.approx(expected.norms["h"].flatten().tolist(), rel=1e-6)


def test_a_classifier(elman, digits_run: Path) -> None:
    _, out, _ = elman("check", "--flow", digits_run, "--json")
    assert [(row["state"], len(row["norms"])) for row in json.loads(out)] == [("h", 8), ("c", 8)]


def test_a_picture(elman, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        assert elman("check", "--flow", "lstm", "rnn", "--steps", 5, "--plot", name).status == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    text = re.sub(r"<[^>]*>|\s", "", (tmp_path / "a.svg").read_text())
    assert "step" in text
    assert text.count("lstm:") == 2
    assert text.count("rnn:") == 1


def test_refusals(refused, words_run: Path) -> None:
    assert refused("check", "--flow") == "elman: elman check --flow needs the name of a cell, or a run directory.\n"
    assert refused("check", "lsmt", "--flow").startswith("elman: There is no cell 'lsmt'. Did you mean 'lstm'?")
    assert "no/run must be a run directory" in refused("check", "no/run", "--flow")
    assert "must be classification, memory, got language-model" in refused("check", words_run, "--flow")
    assert "--steps must be at least 1, got 0" in refused("check", "rnn", "--flow", "--steps", 0)
    assert "--plot must be a file that ends in" in refused("check", "rnn", "--flow", "--plot", "a.bmp")


@pytest.mark.parametrize(
    ("norms", "bars"),
    [
        ([1.0, 1.1e-7, 0.9e-7, 1e-8], "█▁··"),
        ([1e300, math.inf, 1e299, math.nan], "█∞▇∞"),
        ([math.nan] * 2, "∞∞"),
        ([0.0, 0.0], "··"),
    ],
)
def test_bars(norms: list[float], bars: str) -> None:
    assert _bars(torch.tensor(norms, dtype=torch.float64)) == bars


def test_a_picture_of_what_is_not_finite(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw({"mine": GradientFlow({"h": torch.full((1, 1, 3), math.inf)})}, tmp_path / "a.svg")
    assert "mine" in (tmp_path / "a.svg").read_text()
