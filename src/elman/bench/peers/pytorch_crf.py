"""The CRF of the package pytorch-crf, with the weights of elman's."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from elman.bench.example import Example
from elman.bench.peers.optional import Library
from elman.bench.peers.torch_nn import layer_gradients, matching
from elman.bench.program import Program, Results, own_gradients, torch_program
from elman.bench.tagger import Tagger
from elman.layers import LinearChainCRF

__all__ = ["crf", "tagger"]

torchcrf = Library("torchcrf")


def crf(example: Example, threads: int) -> Program:
    """Its loss alone; of a tagger, elman's layer and its loss."""
    del threads  # those of torch
    if isinstance(example.model, LinearChainCRF):
        loss = _CRF(example.model)
        return torch_program(example, loss, loss.gradients)
    model = copy.deepcopy(cast(Tagger, example.model))
    model.crf = loss = _CRF(cast(LinearChainCRF, model.crf))
    ours = {"recurrent": model.recurrent, "readout": model.readout}
    others = own_gradients(nn.ModuleDict(ours))
    return torch_program(example, model, lambda: {**others(), **loss.gradients("crf.")})


def tagger(example: Example, threads: int) -> Program:
    """A tagger of torch's layer and that loss."""
    del threads
    model = copy.deepcopy(cast(Tagger, example.model))
    loss, layer = _CRF(cast(LinearChainCRF, model.crf)), matching(example.layer, batch_first=True)
    others = own_gradients(nn.ModuleDict({"readout": model.readout}))

    def gradients() -> Results:
        return {**others(), **layer_gradients(layer, example.layer, "recurrent."), **loss.gradients("crf.")}

    return torch_program(example, Tagger(layer, model.readout, loss), gradients)


class _CRF(nn.Module):
    """Called as elman's is."""

    def __init__(self, ours: LinearChainCRF) -> None:
        super().__init__()
        self.crf = torchcrf.CRF(ours.tags, batch_first=True)
        self.pairs = {"transitions": "transitions", "start": "start_transitions", "end": "end_transitions"}
        with torch.no_grad():
            for name, theirs in self.pairs.items():
                self.crf.get_parameter(theirs).copy_(ours.get_parameter(name))

    def forward(self, x: Tensor, tags: Tensor) -> Tensor:
        mask = torch.ones_like(tags, dtype=torch.bool)  # its own, of bytes, makes torch warn
        return -cast(Tensor, self.crf(x, tags, mask, reduction="none"))

    def gradients(self, prefix: str = "") -> Results:
        found: Results = {}
        for name, theirs in self.pairs.items():
            gradient = self.crf.get_parameter(theirs).grad
            assert gradient is not None
            found[f"gradient of {prefix}{name}"] = gradient.clone()
        return found
