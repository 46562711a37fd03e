"""`Alike` tells tensors of the same kind from all others."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.utils._python_dispatch import TorchDispatchMode

from elman.backends.alike import Alike


class Subclass(torch.Tensor):
    pass


class Passing(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


WORDS = torch.tensor([3])
OTHERS = {
    "rows": torch.ones(4, 5),
    "columns": torch.ones(3, 6),
    "order of sizes": torch.ones(5, 3),
    "dimensions": torch.ones(15),
    "strides": torch.ones(5, 3).t(),
    "rows further apart": torch.ones(3, 6)[:, :5],
    "every second row": torch.ones(6, 5)[::2],
    "type": torch.ones(3, 5, dtype=torch.float64),
    "device": torch.ones(3, 5, device="meta"),
    "gradients": torch.ones(3, 5, requires_grad=True),
    "a parameter": nn.Parameter(torch.ones(3, 5), requires_grad=False),
    "a subclass": torch.ones(3, 5).as_subclass(Subclass),
    "a negative view": torch._neg_view(torch.ones(3, 5)),
    "sparse": torch.ones(3, 5).to_sparse(),
    "a list": [[1.0] * 5] * 3,
    "none": None,
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_kinds(other):
    alike = Alike(WORDS, torch.ones(3, 5))
    assert alike(torch.tensor([9]), torch.randn(3, 5))
    assert not alike(WORDS, OTHERS[other])
    if isinstance(OTHERS[other], torch.Tensor) and not OTHERS[other].is_sparse:
        assert Alike(WORDS, OTHERS[other])(WORDS, OTHERS[other])


def test_every_tensor_counts():
    alike = Alike(*(torch.ones(2) for _ in range(3)))
    for k in range(3):
        others = [torch.ones(2) for _ in range(3)]
        others[k] = torch.ones(3)
        assert not alike(*others)


def test_what_is_on_in_torch():
    x, seen = torch.ones(3), []
    alike = Alike(x)
    with torch.no_grad():
        assert alike(x)
    for on in (torch.inference_mode(), torch.autocast("cpu"), Passing()):
        with on:
            assert not alike(x)
    vmap(lambda row: (seen.append(alike(x)), row)[1])(torch.ones(2))
    assert seen == [False]
    assert alike(x)


def test_tensors_are_not_held():
    x = torch.ones(3)
    alike = Alike(x)
    del x
    assert alike(torch.zeros(3))
