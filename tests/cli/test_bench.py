"""`elman bench`: what it prints, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch

KEYS = ["work", "peer", "elman_ms", "peer_ms", "ratio", "share_of_peak", "elman_mb", "peer_mb"]


def test_rows_as_json(elman, tmp_path) -> None:
    arguments = ("--only", "rnn", "--peers", "torch.nn", "--pairs", 2, "--threads", 1, "--json", "--plot", "rows.svg")
    status, out, err = elman("bench", *arguments)
    assert status == 0
    (row,) = json.loads(out)
    assert list(row) == KEYS
    assert (row["work"], row["peer"]) == ("rnn", "torch.nn")
    assert row["peer_ms"] > 0
    assert 0 < row["share_of_peak"] < 1.5
    assert "[1/1] rnn: training: rnn, 128 units" in err
    assert "pairs a row" in err
    assert b"x torch.nn" in (tmp_path / "rows.svg").read_bytes()


def test_rows_as_a_table(elman) -> None:
    status, out, err = elman("bench", "--only", "growth-time-1", "--pairs", 2)
    assert status == 0
    lines = out.splitlines()
    assert " ".join(lines[1].split()) == "work peer ms ms ratio of peak MB MB"
    assert lines[2].startswith("growth-time-1 ")
    assert lines[-1].endswith("; 2 pairs a row")
    assert "[1/1] growth-time-1" in err


def test_the_list(elman) -> None:
    status, out, err = elman("bench", "--list")
    assert (status, err) == (0, "")
    for said in ("lstm ", "own-cell", "growth-time-1 to growth-time-4096", "torch.LSTMCell", "onnxruntime"):
        assert said in out


def test_what_is_refused_shows_in_the_exit_status(elman, monkeypatch) -> None:
    monkeypatch.setattr("elman.bench.run.wrong", lambda *results, yardstick: "the outputs are wrong")
    status, out, err = elman("bench", "--only", "rnn", "--json", "--plot", "rows.svg")
    assert (status, json.loads(out)) == (1, [])
    assert "refused: elman: the outputs are wrong" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "lsmt"), "There is no work 'lsmt'. Did you mean 'lstm'?"),
        (("--only", "rnn", "--peers", "kers"), "There is no peer 'kers'. Did you mean 'keras'?"),
        (("--pairs", 1), "--pairs must be at least 2, got 1."),
        (("--threads", 0), "--threads must be at least 1, got 0."),
        (("--plot", "rows.txt"), "--plot must be a file that ends in .svg or .png or .pdf, got rows.txt."),
    ],
)
def test_refusals(refused, arguments, message) -> None:
    assert refused("bench", *arguments) == f"elman: {message}\n"


def test_a_cell_of_ones_own(elman, tmp_path, monkeypatch) -> None:
    source = "from elman import RNNCell\n\nclass SlowCell(RNNCell):\n    pass\n"
    (tmp_path / "own_for_bench.py").write_text(source)
    monkeypatch.setattr("elman.bench.run.step_megabytes", lambda work, peer, threads: None)
    status, out, _ = elman("bench", "--only", "own_for_bench:SlowCell", "--peers", "loop", "--pairs", 2, "--json")
    assert status == 0
    assert [(row["work"], row["peer"]) for row in json.loads(out)] == [("own_for_bench:SlowCell", "loop")]
    assert torch.get_num_threads() == 1
