"""A classifier learns the same bits on any number of threads: every product and every long sum of it is elman's own."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from elman.cli import main


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_same_bits_on_any_number_of_threads(tmp_path, cell, capsys):
    learned = []
    for threads in (1, 2, 3):
        run = tmp_path / f"threads{threads}"
        asked = ["train", "digits", "--out", str(run), "--cell", cell, "--samples", "960", "--threads", str(threads)]
        assert main(asked) == 0
        learned.append(load_file(run / "checkpoints" / "last.safetensors"))
    assert learned[0]
    for other in learned[1:]:
        assert other.keys() == learned[0].keys()
        for name, value in learned[0].items():
            assert torch.equal(value, other[name]), name
