"""A cell of one's own, checked, and trained on handwritten digits in a plain torch loop.

python examples/own_cell.py
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elman import Affine, Cell, Recurrent, relu, sigmoid
from elman.data import ShuffledBatches, load_labelled
from elman.testing import assert_cell_conforms


class LightGRUCell(Cell):
    """A GRU without reset gate, with a rectifier (Ravanelli et al. 2018, without its batch normalisation)."""

    states = ("h",)
    z, n = Affine(), Affine()

    def step(self, x: Any, h: Any) -> Any:
        """Return h_t."""
        z = sigmoid(self.z(x, h))
        return z * h + (1 - z) * relu(self.n(x, h))


class Classifier(nn.Module):
    """Read rows of pixels, then say the class by the final state."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = Recurrent(LightGRUCell, 8, 64)
        self.readout = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(batch, 10)`` of images ``(batch, 8, 8)`` with pixels from 0 to 16."""
        _, state = self.recurrent(images / 16)
        logits: Tensor = self.readout(state.h[:, -1].flatten(1))
        return logits


def main() -> None:
    """Check the cell, train for ten epochs, measure on the test images."""
    torch.manual_seed(0)
    assert_cell_conforms(LightGRUCell)
    data = load_labelled("digits")
    batches = ShuffledBatches(data.train, batch_size=32, seed=0)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(10 * batches.steps_per_epoch):
        batch = batches.batch(step)
        loss = nn.functional.cross_entropy(model(batch.x), batch.y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        right = (model(data.test.x).argmax(1) == data.test.y).double().mean()
    print(f"test accuracy {right:.3f}")


if __name__ == "__main__":
    main()
