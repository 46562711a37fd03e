"""A trained layer of torch goes on as a layer of elman: the same outputs, its gates by name, its state in the open.

python examples/torch_weights.py
"""

from __future__ import annotations

import torch

import elman


def main() -> None:
    """Take the weights over, compare, and look at the gates."""
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(3, 8, num_layers=2, bidirectional=True, batch_first=True, dtype=torch.float64)
    ours = elman.from_torch(theirs)
    x = torch.randn(4, 10, 3, dtype=torch.float64)
    outputs, state = ours(x)
    expected, (h, _) = theirs(x)
    print(f"largest difference of the outputs: {(outputs - expected).abs().max():.0e}")
    # torch has (layers * directions, batch, hidden), elman (batch, layers, directions, hidden)
    print(f"largest difference of the states:  {(state.h.flatten(1, 2) - h.transpose(0, 1)).abs().max():.0e}")

    outputs.square().mean().backward()
    for place, cell in ours.named_cells():
        for name, _, gradient in cell.named_gate_parameters():
            if name == "f/weight_h" and gradient is not None:
                print(f"{place}: norm of the gradient of the forget gate's U: {gradient.norm():.1e}")


if __name__ == "__main__":
    main()
