from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.data import Vocabulary
from elman.tasks.language_model.config import NetworkConfig
from elman.tasks.language_model.model import LanguageModel

VOCABULARY = Vocabulary("word", ("the", "cat", "dog", "<eos>", "<unk>"))
close = torch.testing.assert_close


def make(**options: Any) -> LanguageModel:
    return LanguageModel(NetworkConfig(**{"hidden_size": 7, "cell": "gru"} | options), VOCABULARY).double()


def words(batch: int, time: int) -> tuple[Tensor, Tensor]:
    drawn = torch.randint(len(VOCABULARY), (batch, time + 1))
    return drawn[:, :-1], drawn[:, 1:]


class Oracle(nn.Module):
    """The same network word by word, in torch's own operations and cells."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, targets: Tensor, state: Tensor | None = None, reset: Tensor | None = None) -> Any:
        layers = [cell for _, cell in self.model.recurrent.named_cells()]
        hidden = [torch.zeros(len(x), 7).double() if state is None else state[:, k, 0] for k in range(len(layers))]
        losses = []
        for t in range(x.shape[1]):
            value = self.model.embedding.weight[x[:, t]]
            for k, cell in enumerate(layers):
                before = hidden[k] if reset is None else torch.where(reset[:, t, None], 0.0, hidden[k])
                hidden[k] = cell(value, [before])[0]
                value = hidden[k]
            logits = value @ self.model.readout.weight.T + self.model.readout.bias
            losses.append(F.cross_entropy(logits, targets[:, t], reduction="none"))
        return torch.stack(losses, 1), torch.stack(hidden, 1)[:, :, None]


def gradients(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.parametrize("tied", [False, True])
def test_loss_state_and_gradients(tied: bool) -> None:
    model = make(tied_weights=tied)
    x, targets = words(3, 5)
    loss, state = model(x, targets)
    losses, hidden = Oracle(model)(x, targets)
    close(loss, losses.mean())
    close(state[0], hidden)
    close(gradients(loss, model), gradients(losses.mean(), model))
    assert (model.readout.weight is model.embedding.weight) == tied


@pytest.mark.parametrize("carry", [0, 1, 3, 5])
def test_a_window_that_is_read_again(carry: int) -> None:
    model = make()
    x, targets = words(3, 5)
    initial = torch.randn(3, 2, 1, 7).double()
    reset = torch.zeros(3, 5, dtype=torch.bool)
    reset[1, 3] = reset[2, 1] = True
    counted = (torch.arange(5) >= 2).expand(3, 5)
    loss, state = model(x, targets, [initial], reset=reset, counted=counted, carry=carry)
    losses, _ = Oracle(model)(x, targets, initial, reset)
    close(loss, losses[:, 2:].mean())
    close(gradients(loss, model), gradients(losses[:, 2:].mean(), model))
    expected = initial if carry == 0 else Oracle(model)(x[:, :carry], targets[:, :carry], initial, reset)[1]
    close(state[0], expected)


def test_what_is_random_is_the_same_in_all_of_a_window_that_is_read_again() -> None:
    model = make(output_dropout=0.5, variational=True)
    x, _ = words(3, 8)
    outputs, _ = model._run(model.embedding(x), None, None, None, 5)
    dropped = outputs == 0
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert 0 < int(dropped[:, 0].sum()) < dropped[:, 0].numel()


def test_carrying_nothing_from_nothing() -> None:
    model = make()
    x, targets = words(3, 5)
    _, state = model(x, targets, carry=0)
    assert torch.equal(state[0], torch.zeros(3, 2, 1, 7).double())


def test_short_rows() -> None:
    model = make()
    x, targets = words(3, 5)
    lengths = torch.tensor([5, 0, 2])
    counted = torch.arange(5) < lengths[:, None]
    loss, state = model(x, targets, lengths=lengths, counted=counted)
    losses, hidden = Oracle(model)(x, targets)
    close(loss, losses[counted].mean())
    close(gradients(loss, model), gradients(losses[counted].mean(), model))
    close(state[0][0], hidden[0])
    assert torch.equal(state[0][1], torch.zeros(2, 1, 7).double())


def test_log_probabilities() -> None:
    model = make()
    x, targets = words(2, 4)
    found, state = model.log_probabilities(x)
    losses, hidden = Oracle(model)(x, targets)
    close(found.exp().sum(-1), torch.ones(2, 4).double())
    close(-found.gather(2, targets[..., None])[..., 0], losses)
    close(state[0], hidden)


def test_a_step_is_one_of_the_sequence() -> None:
    model = make(zoneout={"h": 0.2}).eval()
    x, _ = words(2, 3)
    expected, final = model.log_probabilities(x)
    state = None
    for t in range(3):
        found, state = model.step(x[:, t], state)
        close(found, expected[:, t])
        assert not found.requires_grad
    close(state[0], final[0])


@pytest.mark.parametrize(
    "option", [{"recurrent_dropout": 0.5}, {"weight_drop": 0.5}, {"zoneout": {"h": 0.5}}, {"input_dropout": 0.5}]
)
def test_training_is_random_and_evaluation_is_not(option: dict[str, Any]) -> None:
    model = make(**option, variational=True)
    x, targets = words(3, 5)
    assert model(x, targets)[0].item() != model(x, targets)[0].item()
    model.eval()
    assert model(x, targets)[0].item() == model(x, targets)[0].item()


def test_initial_weights() -> None:
    model = make(init_scale=0.05, hidden_size=50, cell="lstm", initial_bias={"f": 0.5})
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and "cells" in name:
            assert set(parameter.tolist()) == {0.0, 0.5}, name
        else:
            largest = float(parameter.detach().abs().max())
            assert largest <= 0.05, name
            assert largest > 0.045 or parameter.numel() < 10, name


def test_embedding_of_another_size() -> None:
    model = make(embedding_size=3)
    assert model.embedding.weight.shape == (5, 3)
    assert model(*words(2, 4))[0].isfinite()


def test_a_step_is_one_word_of_each_row() -> None:
    model = make()
    x, _ = words(3, 4)
    whole, last = model.log_probabilities(x)
    state = None
    for t in range(4):
        found, state = model.step(x[:, t], state)
        close(found, whole[:, t])
    close(state[0], last[0])
