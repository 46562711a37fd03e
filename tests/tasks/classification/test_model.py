from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from elman.cells import Cell
from elman.data import ImageFormat
from elman.errors import CheckpointError, OptionError, ShapeError
from elman.tasks.classification.config import ClassifierConfig
from elman.tasks.classification.model import SequenceClassifier, Specification
from oracles import oracle_of

IMAGE = ImageFormat(height=5, width=4, dark_background=True, frame=(0.7, 0.8), ink=0.5, maximum=16)
SPECIFICATION = Specification(("ape", "bee", "cow"), steps=5, features=4, scale=0.5, image=IMAGE)
CELLS = sorted(name for name, cell in Cell.registry.items() if cell.__module__.startswith("elman."))


def make(**config: Any) -> SequenceClassifier:
    model = SequenceClassifier(ClassifierConfig(**{"hidden_size": 6} | config), SPECIFICATION).double().eval()
    for parameter in model.parameters():  # so that no bias is zero
        torch.nn.init.uniform_(parameter, -0.8, 0.8)
    return model


def by_hand(model: SequenceClassifier, x: np.ndarray, cell: str) -> np.ndarray:
    """The final state of one direction and one layer, from the equations of the paper."""
    owner = model.recurrent.cell_at(0, 0)
    weights = {name: value.detach().numpy() for name, value, _ in owner.named_gate_parameters()}
    if model.recurrent.projection is not None:
        projection = model.recurrent.projection
        x = x @ projection.weight.detach().numpy().T + projection.bias.detach().numpy()
    states = tuple(np.zeros((len(x), 6)) for _ in owner.states)
    for t in range(x.shape[1]):
        after = oracle_of(cell)(weights, x[:, t], *states)
        states = after if isinstance(after, tuple) else (after,)
    return states[0]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("projection", [None, 3])
def test_logits_are_those_of_the_equations(cell: str, projection: int | None) -> None:
    model = make(cell=cell, input_projection=projection)
    x = torch.rand(7, 5, 4, dtype=torch.float64)
    state = by_hand(model, 0.5 * x.numpy(), cell)
    expected = state @ model.readout.weight.detach().numpy().T + model.readout.bias.detach().numpy()
    np.testing.assert_allclose(model(x).detach().numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("lengths", [None, torch.tensor([5, 1, 3, 0])])
def test_readouts_of_one_direction_are_the_same(lengths: torch.Tensor | None) -> None:
    final, last = make(readout="final", num_layers=2), make(readout="last", num_layers=2)
    last.load_state_dict(final.state_dict())
    x = torch.rand(4, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(last(x, lengths), final(x, lengths), rtol=0, atol=1e-14)


@pytest.mark.parametrize("lengths", [None, torch.tensor([5, 1, 3])])
def test_readouts_of_two_directions(lengths: torch.Tensor | None) -> None:
    final, last = make(readout="final", bidirectional=True), make(readout="last", bidirectional=True)
    last.load_state_dict(final.state_dict())
    x = torch.rand(3, 5, 4, dtype=torch.float64)
    outputs, state = final.recurrent(0.5 * x, lengths=lengths)
    ends = (torch.full((3,), 5) if lengths is None else lengths) - 1
    backward_at_the_end = outputs[torch.arange(3), ends, 6:]
    torch.testing.assert_close(outputs[:, 0, 6:], state[0][:, 0, 1])  # the backward direction ends at step 0
    by_name = {
        "final": torch.cat([state[0][:, 0, 0], state[0][:, 0, 1]], 1),
        "last": torch.cat([state[0][:, 0, 0], backward_at_the_end], 1),
    }
    for name, model in (("final", final), ("last", last)):
        torch.testing.assert_close(model(x, lengths), model.readout(by_name[name]), rtol=0, atol=1e-14)
    longer = slice(None) if lengths is None else torch.tensor([0, 2])
    assert (final(x, lengths) - last(x, lengths))[longer].abs().min() > 1e-4
    if lengths is not None:  # of a single step, first and last are the same
        torch.testing.assert_close(final(x, lengths)[1], last(x, lengths)[1])


@pytest.mark.parametrize("options", [{}, {"readout": "last"}, {"bidirectional": True, "readout": "last"}])
def test_padding_does_not_matter(options: dict[str, Any]) -> None:
    model = make(num_layers=2, **options)
    lengths = torch.tensor([2, 5, 1, 4])
    x = torch.rand(4, 5, 4, dtype=torch.float64)
    changed = x.clone()
    changed[torch.arange(5) >= lengths[:, None]] = torch.nan
    longer = torch.cat([changed, torch.full((4, 3, 4), 9.0, dtype=torch.float64)], 1)
    for other in (changed, longer):
        torch.testing.assert_close(model(other, lengths), model(x, lengths), rtol=0, atol=1e-14)
    for row, length in enumerate(lengths.tolist()):
        alone = model(x[row : row + 1, :length])
        torch.testing.assert_close(alone[0], model(x, lengths)[row], rtol=0, atol=1e-12)


def test_bytes_are_floats_times_scale() -> None:
    model = make()
    x = torch.randint(0, 256, (3, 5, 4), dtype=torch.uint8)
    torch.testing.assert_close(model(x), model(x.double()), rtol=0, atol=0)
    unscaled = SequenceClassifier(model.config, Specification(("a", "b", "c"), 5, 4, scale=1.0, image=None)).double()
    unscaled.load_state_dict(model.state_dict())
    torch.testing.assert_close(unscaled(0.5 * x), model(x), rtol=0, atol=1e-12)


def test_probabilities() -> None:
    model = make(input_dropout=0.5, output_dropout=0.5).train()
    x = torch.rand(3, 5, 4, dtype=torch.float64)
    lengths = torch.tensor([5, 2, 4])
    found = model.probabilities(x, lengths)
    assert model.training
    logits = model.eval()(x, lengths).detach().numpy()
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    assert not found.requires_grad


@pytest.mark.parametrize("place", ["input_dropout", "output_dropout"])
def test_dropout_acts_in_training_alone(place: str) -> None:
    model, x = make(**{place: 0.5}), torch.rand(3, 5, 4, dtype=torch.float64)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.allclose(model(x), model(x))


def test_output_dropout_acts_on_what_the_readout_reads() -> None:
    model, x = make(output_dropout=0.5).train(), torch.rand(1, 5, 4, dtype=torch.float64)
    _, state = model.recurrent(0.5 * x)
    torch.manual_seed(3)
    mask = torch.nn.functional.dropout(torch.ones(1, 6, dtype=torch.float64), 0.5)
    torch.manual_seed(3)
    torch.testing.assert_close(model(x), model.readout(state[0][:, -1, 0] * mask))


def test_initial_bias() -> None:
    model = SequenceClassifier(ClassifierConfig(initial_bias={"f": -2.0}), SPECIFICATION)
    biases = {name: value for name, value, _ in model.recurrent.cell_at(0, 0).named_gate_parameters() if "bias" in name}
    assert {name: set(value.tolist()) for name, value in biases.items()} == {
        "i/bias": {0.0}, "f/bias": {-2.0}, "g/bias": {0.0}, "o/bias": {0.0},
    }  # fmt: skip
    with pytest.raises(OptionError, match=r"initial_bias names 'z', which is no gate with a bias\. Known: f, g, i, o"):
        SequenceClassifier(ClassifierConfig(initial_bias={"z": 0.0}), SPECIFICATION)


@pytest.mark.parametrize("shape", [(5, 4), (3, 5, 5), (1, 3, 5, 4)])
def test_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"x must be \(batch, time, features=4\), got \("):
        make()(torch.zeros(shape))


def test_specification_survives_json() -> None:
    for specification in (SPECIFICATION, Specification(("0", "1"), 3, 2, 1.0, None)):
        assert Specification.from_json(json.loads(json.dumps(specification.to_json()))) == specification


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"classes": None}, "NoneType"),
        ({"features": "many"}, "many"),
        ({"scale": [1]}, "float"),
        ({"image": {"height": -3}}, "image format"),
        ({"image": 7}, ""),
    ],
)
def test_damaged_specification(change: dict[str, Any], got: str) -> None:
    with pytest.raises(CheckpointError, match=rf"must be the description of a classifier, got .*{got}"):
        Specification.from_json(SPECIFICATION.to_json() | change)
    missing = SPECIFICATION.to_json()
    del missing[next(iter(change))]
    with pytest.raises(CheckpointError, match="must be the description of a classifier"):
        Specification.from_json(missing)
