"""Plain operations, against cells stepped by hand and against torch's loss."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from elman import Recurrent
from elman.bench.plain import CRF, Readout, plain
from elman.bench.tagger import Tagger
from elman.cells import find
from elman.layers import LinearChainCRF, LinearCrossEntropy
from elman.tasks.classification.config import ClassifierConfig
from elman.tasks.classification.model import SequenceClassifier, Specification


def by_hand(layer: Recurrent, x: torch.Tensor, state: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Call the cells step by step."""
    if layer.projection is not None:
        x = F.linear(x, layer.projection.weight, layer.projection.bias)
    final = [torch.empty_like(s) for s in state]
    for k in range(layer.num_layers):
        runs = []
        for d in range(layer.directions):
            states, outputs = [s[:, k, d] for s in state], {}
            for t in range(x.shape[1])[:: -1 if d else 1]:
                states = layer.cell_at(k, d)(x[:, t], states)
                outputs[t] = states[0]
            for s, new in zip(final, states, strict=True):
                s[:, k, d] = new
            runs.append(torch.stack([outputs[t] for t in range(x.shape[1])], dim=1))
        x = torch.cat(runs, dim=2)
    return x, final


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 3}, {"num_layers": 2, "bidirectional": True}, {"input_projection": 4}]
)
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru-reset-before", "peephole", "elman.bench.own_cell:OwnCell"])
def test_a_layer_is_its_cells_step_by_step(cell, options) -> None:
    layer = Recurrent(find(cell), 3, 5, dtype=torch.float64, **options)
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    state = [torch.randn_like(s) for s in layer.initial_state(2)]
    loop = plain(layer)
    assert dict(loop.named_parameters()).keys() == dict(layer.named_parameters()).keys()
    with torch.no_grad():
        outputs, final = by_hand(layer, x, state)
        got, ends = loop(x, state)
        torch.testing.assert_close(got, outputs)
        torch.testing.assert_close(list(ends), final)
        torch.testing.assert_close(loop(x)[0], by_hand(layer, x, [torch.zeros_like(s) for s in state])[0])


def test_a_classifier_keeps_its_names_and_numbers() -> None:
    config = ClassifierConfig(hidden_size=5, bidirectional=True, input_projection=4, output_dropout=0.5)
    model = SequenceClassifier(config, Specification(("a", "b"), 3, 6, 1 / 255, None)).double().eval()
    x = torch.randint(0, 256, (4, 3, 6))
    other = plain(model)
    assert type(other.recurrent).__name__ == "Loop"
    assert dict(other.named_parameters()).keys() == dict(model.named_parameters()).keys()
    torch.testing.assert_close(other(x), model(x))


def test_a_readout_is_torchs_two_operations() -> None:
    readout = LinearCrossEntropy(3, 7).double()
    x, targets = torch.randn(5, 3, dtype=torch.float64), torch.randint(0, 7, (5,))
    other = plain(readout)
    assert isinstance(other, Readout)
    torch.testing.assert_close(other(x, targets), F.cross_entropy(x @ readout.weight.T + readout.bias, targets))


def test_a_tagger_ends_in_a_loop_over_its_steps() -> None:
    layer, crf = Recurrent(find("lstm"), 3, 5), LinearChainCRF(4)
    model = Tagger(layer, torch.nn.Linear(5, 4), crf).double()
    x, tags = torch.randn(2, 6, 3, dtype=torch.float64), torch.randint(0, 4, (2, 6))
    other = plain(model)
    assert isinstance(other.crf, CRF)
    assert dict(other.named_parameters()).keys() == dict(model.named_parameters()).keys()
    torch.testing.assert_close(other(x, tags), model(x, tags))


def test_it_is_a_copy() -> None:
    layer = Recurrent(find("lstm"), 3, 5)
    before = copy.deepcopy(layer.state_dict())
    for parameter in plain(layer).parameters():
        parameter.data.zero_()
    torch.testing.assert_close(layer.state_dict(), before)
