"""Clipping in the optimiser's step, against torch's own clipping before it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from elman.training.clipping import clip_in_step

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
}


@pytest.mark.parametrize("factor", [1.0, 35.0])
@pytest.mark.parametrize("clip_norm", [None, 0.5, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_as_clipping_before_the_step(name, dtype, clip_norm, factor) -> None:
    """Weights and gradients, over steps of which some are clipped."""
    start = [torch.randn(5, 3, dtype=dtype), torch.randn(7, dtype=dtype)]
    ours, theirs = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    optimizer, other = OPTIMIZERS[name](ours), OPTIMIZERS[name](theirs)
    for size in (1.0, 0.05, 1e-3, 10.0, 0.0):
        for mine, yours in zip(ours, theirs, strict=True):
            mine.grad = size * torch.randn_like(mine)
            yours.grad = mine.grad * factor
        clip_in_step(optimizer, nn.utils.get_total_norm([p.grad for p in ours]), clip_norm, factor=factor)
        optimizer.step()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(theirs, clip_norm)
        other.step()
        for mine, yours in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, yours, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(mine.grad, yours.grad, rtol=1e-5, atol=1e-5)


def test_nothing_is_touched_where_nothing_is_clipped() -> None:
    weight = nn.Parameter(torch.randn(100))
    weight.grad = torch.randn(100)
    before = weight.grad.clone()
    optimizer = torch.optim.SGD([weight], lr=0.1, fused=True)
    clip_in_step(optimizer, before.norm(), 100.0)
    optimizer.step()
    assert weight.grad.equal(before)
    assert optimizer.grad_scale is None
