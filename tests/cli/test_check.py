"""`elman check`: what it shows, when it fails, and what it refuses."""

from __future__ import annotations

import json
import re

import pytest

from elman.backends.llvm import recurrence
from elman.testing import CASES, comparison

SOURCE = """
from elman import Affine, Cell, relu, tanh

class LightCell(Cell):
    states = ("memory",)
    gate = Affine()

    def step(self, x, memory):
        return 0.5 * memory + tanh(self.gate(x, memory))

class DeadCell(Cell):
    states = ("h",)
    a, b = Affine(), Affine()

    def step(self, x, h):
        return tanh(self.a(x, h)) + relu(tanh(self.b(x, h)) - 2)
"""
RESULTS = ["outputs", "final state h", "gradient of x", "gradient of initial state h"]
RESULTS += [f"gradient of n/{name}" for name in ("weight_x", "weight_h", "bias")]


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_for_check.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def few_cases(monkeypatch):
    """Two of the cases; all of them are run by the tests of the comparison."""
    monkeypatch.setattr(comparison.compare_backends, "__kwdefaults__", {**DEFAULTS, "cases": CASES[10:13]})


DEFAULTS = comparison.compare_backends.__kwdefaults__


@pytest.fixture
def wrong_bias(monkeypatch):
    """Compiled code that is off by one part in a thousand in one gradient."""
    backward = recurrence.backward

    def spoiled(*arguments, **options):
        found = backward(*arguments, **options)
        return {name: value * 1.001 if name == "bias" else value for name, value in found.items()}

    monkeypatch.setattr(recurrence, "backward", spoiled)


def test_shows_every_backend_by_name(elman) -> None:
    status, out, err = elman("check", "rnn", "--device", "cpu")
    assert (status, err) == (0, "")
    numbers, gradients, _ = out.split("\n\n")
    rows = dict(re.findall(r"^ (\S.*?)  +((?:\d\S+ \S+ *)+)$", numbers, re.MULTILINE))
    assert list(rows) == RESULTS
    assert [line.split() for line in out.splitlines()[:3]] == [
        ["llvm", "llvm", "reference", "reference"],
        ["cpu"] * 4,
        ["error", *["float64", "float32"] * 2],
    ]
    for row in rows.values():
        errors = [float(number) for number in row.split()[::2]]
        assert row.split()[1::2] == ["ok"] * 4
        assert max(errors[::2]) < 1e-12 < min(errors[1::2]) < max(errors[1::2]) < 1e-4
    rows = re.findall(r"^ (\S.*?)  +(\d+)  +(\S+)  +(\S+) ok  +(\S+) ok *$", gradients, re.MULTILINE)
    sizes = {name: int(entries) for name, entries, *_ in rows}
    assert sizes == {"x": 12, "initial state h": 6, "n/weight_x": 6, "n/weight_h": 9, "n/bias": 3}
    assert list(sizes) == [name.removeprefix("gradient of ") for name in RESULTS[2:]]
    assert all(0.01 < float(norm) < 10 and float(a) < 1e-6 > float(b) for _, _, norm, a, b in rows)
    assert gradients.rstrip().endswith("; limit 1e-06")
    assert re.search(r"^ central differences +ok +ok *$", out, re.MULTILINE)
    assert out.endswith("\nRNNCell is right in all 28 comparisons, 10 gradients and 28 properties.\n")


@pytest.mark.usefixtures("few_cases", "own")
def test_json_of_a_cell_of_ones_own(elman) -> None:
    status, out, err = elman("check", "own_for_check:LightCell", "--backend", "reference", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["cell"], found["passed"], found["not_checked"]) == ("LightCell", True, [])
    (comparison, *_) = found["comparisons"]
    assert comparison.keys() == {"what", "backend", "device", "dtype", "error", "limit", "case", "passed"}
    assert {c["what"] for c in found["comparisons"]} >= {"final state memory", "gradient of gate/weight_h"}
    assert {(c["backend"], c["dtype"]) for c in found["comparisons"]} == {
        ("reference", "float64"),
        ("reference", "float32"),
    }
    assert [g["name"] for g in found["gradients"]] == [
        "x",
        "initial state memory",
        *(f"gate/{name}" for name in ("weight_x", "weight_h", "bias")),
    ]
    gradient = found["gradients"][-1]
    assert 0 < gradient.pop("norm") < 10
    assert gradient.pop("error") < gradient["limit"]
    assert gradient == {
        "name": "gate/bias",
        "backend": "reference",
        "device": "cpu",
        "entries": 3,
        "limit": 1e-6,
        "passed": True,
    }
    assert found["properties"][0] == {
        "property": "steps by hand",
        "backend": "reference",
        "device": "cpu",
        "message": None,
        "passed": True,
    }


@pytest.mark.usefixtures("few_cases", "wrong_bias")
def test_a_wrong_number_is_named_and_is_the_exit_status(elman) -> None:
    status, out, err = elman("check", "rnn", "--backend", "llvm")
    assert (status, err) == (1, "")
    assert re.search(r"^ gradient of n/bias +1\.0e-03 WRONG +1\.0e-03 WRONG *$", out, re.MULTILINE)
    assert re.search(r"^ gradient of n/weight_x +\S+ ok +\S+ ok *$", out, re.MULTILINE)
    assert "\nRNNCell: gradient of n/bias (llvm, cpu, float32) is off by 0.001, allowed are 1e-05: batch " in out
    assert re.search(r"^ central differences +WRONG *$", out, re.MULTILINE)
    assert re.search(r"^RNNCell: central differences: .* n/bias is off by 0.001, .*\(llvm, cpu\)$", out, re.MULTILINE)
    assert re.search(r"^ n/bias +3 +\S+ +1\.0e-03 WRONG *$", out, re.MULTILINE)
    assert re.search(r"^ n/weight_h +9 +\S+ +\S+ ok *$", out, re.MULTILINE)
    assert (
        "\nRNNCell: gradient of n/bias (llvm, cpu) against central differences is off by 0.001, allowed are 1e-06\n"
        in out
    )
    wrong = 3 + len(re.findall(r"^ [a-z ]+ WRONG *$", out, re.MULTILINE))
    assert out.endswith(f"\nRNNCell is wrong in {wrong} of 14 comparisons, 5 gradients and 14 properties.\n")


@pytest.mark.usefixtures("few_cases", "own")
def test_a_broken_property_alone_fails(elman) -> None:
    status, out, _ = elman("check", "own_for_check:DeadCell", "--backend", "reference", "--json")
    found = json.loads(out)
    assert (status, found["passed"]) == (1, False)
    assert all(c["passed"] for c in found["comparisons"])
    (broken,) = [p for p in found["properties"] if not p["passed"]]
    assert broken["property"] == "all gradients"
    assert "the gradient of layer_0/forward b/weight_x is zero everywhere" in broken["message"]


@pytest.mark.usefixtures("few_cases")
def test_says_what_cannot_run(elman, monkeypatch) -> None:
    monkeypatch.setattr(recurrence, "refusal", lambda *_: "the host is a toaster")
    status, out, _ = elman("check", "rnn", "--device", "cpu")
    assert status == 0
    assert "\nnot checked: llvm, cpu, float64: the host is a toaster\n" in out
    found = json.loads(elman("check", "rnn", "--device", "cpu", "--json").out)
    reasons = [{"backend": "llvm", "device": "cpu", "dtype": dtype} for dtype in ("float64", "float32")]
    assert found["not_checked"] == [{**place, "reason": "the host is a toaster"} for place in reasons]


@pytest.mark.usefixtures("few_cases")
def test_a_device_that_cannot_is_wrong(elman) -> None:
    """Every device is run, whatever it is; this one has no numbers."""
    status, out, _ = elman("check", "rnn", "--device", "meta", "--json")
    found = json.loads(out)
    assert (status, found["passed"]) == (1, False)
    assert [c["error"] for c in found["comparisons"]] == [None, None]
    assert found["gradients"] == []
    assert {p["passed"] for p in found["properties"] if p["property"] != "bad inputs"} == {False}


def test_refusals(refused, monkeypatch) -> None:
    assert refused("check", "lsmt").startswith("elman: There is no cell 'lsmt'. Did you mean 'lstm'?")
    expected = "elman: backend must be llvm or reference, got fastest.\n"
    assert refused("check", "rnn", "--backend", "fastest") == expected
    assert refused("check", "rnn", "--device", "cuda:99").startswith("elman: device must be cpu")
    monkeypatch.setattr(recurrence, "refusal", lambda *_: "the host is a toaster")
    assert "llvm, cpu, float64: the host is a toaster" in refused("check", "rnn", "--backend", "llvm")
