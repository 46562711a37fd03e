"""A language model learns the same bits on any number of threads, also what is carried and what is clipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from elman.cli import main

DROPOUT = ("--input-dropout", "0.2", "--dropout", "0.2", "--output-dropout", "0.2")


@pytest.mark.parametrize("options", [("--optimizer", "sgd", "--loss", "sum-over-steps"), ("--tied-weights",)])
def test_same_bits_on_any_number_of_threads(tmp_path: Path, options: tuple[str, ...]) -> None:
    learned = []
    for threads in (1, 2, 3):
        run = tmp_path / f"threads{threads}"
        size = ("--hidden-size", "70", "--batch-size", "7", "--steps", "8", "--clip-norm", "0.01")
        asked = ["train", "pydoc", "--out", str(run), *size, *DROPOUT, *options, "--threads", str(threads)]
        assert main(asked) == 0
        learned.append(load_file(run / "checkpoints" / "last.safetensors"))
    assert "task.state.h" in learned[0]
    for other in learned[1:]:
        assert other.keys() == learned[0].keys()
        for name, value in learned[0].items():
            assert torch.equal(value, other[name]), name
