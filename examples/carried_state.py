"""Truncated back-propagation through time: endless streams in windows, the state carried, the gradient cut.

Eight streams of two waves each; the network says the next value. A window shows a fifth of the slow wave's period, so
that a network that starts every window from zero cannot know where in it it stands.

python examples/carried_state.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import elman

STREAMS, WINDOW = 8, 10


def window(step: int, phases: Tensor) -> Tensor:
    """Return the values of a window and the one after it, ``(streams, WINDOW + 1, 1)``."""
    time = torch.arange(step * WINDOW, (step + 1) * WINDOW + 1)
    return (torch.sin(time / 2 + phases) * torch.sin(time / 16 + 2 * phases))[:, :, None]


def train(steps: int, *, carry: bool) -> float:
    """Train, and return the mean squared error of the last fifty windows."""
    torch.manual_seed(0)
    phases = torch.rand(STREAMS, 1) * 6
    layer, readout = elman.GRU(1, 32), nn.Linear(32, 1)
    parameters = [*layer.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    state = layer.initial_state(STREAMS)
    losses: list[float] = []
    for step in range(steps):
        values = window(step, phases)
        outputs, new = layer(values[:, :-1], state)
        loss = (readout(outputs) - values[:, 1:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if carry:
            state = type(new)(*(s.detach() for s in new))  # its value goes on, its history ends here
        losses.append(loss.item())
    return sum(losses[-50:]) / 50


def main() -> None:
    """Compare the two."""
    print(f"every window from zero: mean squared error {train(400, carry=False):.5f}")
    print(f"state carried over:     mean squared error {train(400, carry=True):.5f}")


if __name__ == "__main__":
    main()
