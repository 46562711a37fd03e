"""The gradient flow against torch's derivatives of the equations, step by step, row by row and without masks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from elman import Affine, Cell, Recurrent, RNNCell, tanh
from elman.errors import OptionError, ShapeError
from elman.insight import Curve, fresh_flow, gradient_flow

CELLS = sorted(name for name, cell in Cell.registry.items() if cell.__module__.startswith("elman."))


class DelayedCell(Cell):
    """Its second state is the first one of the step before, handed on as it is."""

    states = ("h", "before")
    a = Affine()

    def step(self, x, h, before):
        return tanh(self.a(x, h - 0.5 * before)), h


class PairCell(Cell):
    """Two states that are the same value."""

    states = ("h", "c")
    a = Affine()

    def step(self, x, h, c):
        new = tanh(self.a(x, h - 0.5 * c))
        return new, new


def scrambled(layer: Recurrent) -> Recurrent:
    """Weights that are all different, biases too."""
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, -0.7, 0.7)
    return layer


def by_hand(layer: Recurrent, x: Tensor, state: Sequence[Tensor], pieces: list[slice]) -> tuple[Tensor, list, dict]:
    """Run one row over its pieces (between resets), by the cells' own equations, and keep every state.

    Returns:
        outputs ``(time, directions · hidden)``, the final states by layer and direction, and the states by
        (layer, direction, t, state).
    """
    values = x if layer.projection is None else x @ layer.projection.weight.T + layer.projection.bias
    kept: dict[tuple[int, int, int, int], Tensor] = {}
    final = []
    for k in range(layer.num_layers):
        sides = []
        for direction in range(layer.directions):
            cell, outputs = layer.cell_at(k, direction), {}
            states = [s[k, direction][None].clone().requires_grad_() for s in state]
            for number, piece in enumerate(reversed(pieces) if direction else pieces):
                if number:
                    states = [torch.zeros_like(s) for s in states]
                steps = range(piece.start, piece.stop)
                for t in reversed(steps) if direction else steps:
                    states = [s.clone() if s is states[0] else s for s in cell(values[t][None], states)]
                    for number_of_state, s in enumerate(states):
                        s.retain_grad()
                        kept[k, direction, t, number_of_state] = s
                    outputs[t] = states[0][0]
            sides.append(torch.stack([outputs[t] for t in range(len(x))]) if outputs else x.new_zeros(0, 1))
            final.append(states)
        values = torch.cat(sides, 1)
    return values, final, kept


def weighed(outputs: Tensor, final: Sequence[Tensor]) -> Tensor:
    """A number that weighs everything differently."""
    parts = [outputs, *final]
    return sum(
        (torch.linspace(-1, 2 + k, part.numel(), dtype=part.dtype).reshape(part.shape) * part.sin()).sum()
        for k, part in enumerate(parts)
    )


def assert_flow(layer: Recurrent, x: Tensor, state: Any, lengths: list[int], reset: Tensor) -> None:
    """Compare with `by_hand`, all rows in one graph."""
    batch, time, _ = x.shape
    rows = []
    for b, length in enumerate(lengths):
        cuts = [0, *[t for t in range(1, length) if reset[b, t]], length]
        pieces = [slice(*pair) for pair in pairwise(cuts)]
        rows.append(by_hand(layer, x[b, :length], [s[b] for s in state], pieces))
    outputs = torch.stack([torch.cat([row[0], row[0].new_zeros(time - len(row[0]), row[0].shape[1])]) for row in rows])
    shape = (batch, layer.num_layers, layer.directions, layer.hidden_size)
    final = [torch.stack([torch.cat([s[j] for s in row[1]]) for row in rows]).view(shape) for j in range(len(state))]
    weighed(outputs, final).backward()
    expected = torch.zeros(len(state), layer.num_layers, layer.directions, time, dtype=torch.float64)
    for _, _, kept in rows:
        for (k, direction, t, j), s in kept.items():
            expected[j, k, direction, t] += s.grad.square().sum()

    def loss() -> Tensor:
        found, last = layer(x, state, lengths=torch.tensor(lengths), reset=reset)
        torch.testing.assert_close(found, outputs)
        return weighed(found, last)

    flow = gradient_flow(layer, loss)
    assert list(flow.norms) == list(layer.cell.states)
    for j, name in enumerate(flow.norms):
        torch.testing.assert_close(flow.norms[name], expected[j].sqrt(), rtol=1e-10, atol=1e-12, msg=name)
        assert flow.norms[name][..., : max(lengths)].min() > 1e-6, name  # so that zeros cannot pass


@pytest.mark.parametrize("cell", [*(Cell.registry[name] for name in CELLS), DelayedCell, PairCell])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "input_projection": 3}])
def test_every_state_of_every_step(cell: type[Cell], options: dict[str, Any]) -> None:
    layer = scrambled(Recurrent(cell, 2, 3, **options, dtype=torch.float64))
    batch, time = 4, 7
    x = torch.randn(batch, time, 2, dtype=torch.float64)
    shape = (batch, layer.num_layers, layer.directions, 3)
    state = [torch.rand(shape, dtype=torch.float64) for _ in cell.states]
    whole = torch.zeros(batch, time, dtype=torch.bool)
    assert_flow(layer, x, state, [time] * batch, whole)


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_and_resets(name: str, bidirectional: bool) -> None:
    layer = scrambled(Recurrent(Cell.registry[name], 2, 3, 2, bidirectional=bidirectional, dtype=torch.float64))
    x = torch.randn(5, 6, 2, dtype=torch.float64)
    lengths = [6, 3, 1, 4, 6]
    x[torch.arange(6) >= torch.tensor(lengths)[:, None]] = torch.nan
    reset = torch.zeros(5, 6, dtype=torch.bool)
    for b, t in ((0, 2), (0, 5), (1, 1), (1, 4), (3, 3), (4, 1), (4, 2)):  # (1, 4) lies past the end
        reset[b, t] = True
    state = [torch.rand(5, 2, layer.directions, 3, dtype=torch.float64) for _ in layer.cell.states]
    assert_flow(layer, x, state, lengths, reset)


def test_a_network_with_other_parts() -> None:
    """The gradient goes through whatever stands between the layer and the loss."""
    layer = scrambled(Recurrent(Cell.registry["gru"], 2, 3, dtype=torch.float64))
    readout = torch.nn.Linear(3, 4, dtype=torch.float64)
    x, y = torch.randn(5, 6, 2, dtype=torch.float64), torch.randint(4, (5,))
    flow = gradient_flow(layer, lambda: torch.nn.functional.cross_entropy(readout(layer(x)[0][:, -1]), y))
    h = layer(x)[0][:, -1].detach().requires_grad_()
    torch.nn.functional.cross_entropy(readout(h), y).backward()
    assert flow.norms["h"][0, 0, -1].item() == pytest.approx(h.grad.norm().item(), rel=1e-12)


@pytest.mark.parametrize(("factor", "steps", "verdict"), [
    (1.0, 200, "flows"), (0.5, 10, "flows"), (0.5, 11, "vanishes"), (2.0, 10, "flows"), (2.0, 11, "explodes"),
])  # fmt: skip
def test_a_rate_that_is_known(factor: float, steps: int, verdict: str) -> None:
    """At h = 0, tanh' is 1, and the Jacobian of a step is U, here an orthogonal matrix times a factor."""
    layer = Recurrent(RNNCell, 1, 5, dtype=torch.float64)
    with torch.no_grad():
        layer.cell_at(0, 0).weight_h.mul_(factor)
    x = torch.zeros(3, steps, 1, dtype=torch.float64)
    (curve,) = gradient_flow(layer, lambda: layer(x)[0][:, -1].sum()).curves()
    last = 15**0.5  # three rows of five ones
    torch.testing.assert_close(curve.norms, last * factor ** torch.arange(steps, dtype=torch.float64).flip(0))
    assert curve.rate == pytest.approx(factor)
    assert curve.verdict == verdict


@pytest.mark.parametrize(("place", "norms", "rate", "verdict"), [
    ("layer_0/forward", [1.0, 2.0, 4.0], 0.5, "flows"),
    ("layer_0/backward", [1.0, 2.0, 4.0], 2.0, "flows"),
    ("layer_1/forward", [1.0, 4.0, 0.0, 0.0], 0.25, "flows"),  # the loss depends on the first two alone
    ("layer_0/forward", [0.0, 0.0, 1.0], 0.0, "vanishes"),
    ("layer_0/forward", [0.0, 0.0], 0.0, "vanishes"),
    ("layer_0/forward", [3.0], 1.0, "flows"),
    ("layer_0/forward", [float("inf"), 1.0], float("inf"), "explodes"),
])  # fmt: skip
def test_curves(place: str, norms: list[float], rate: float, verdict: str) -> None:
    curve = Curve(place, "h", torch.tensor(norms, dtype=torch.float64))
    assert (curve.rate, curve.verdict) == (rate, verdict)


def test_places_of_the_curves() -> None:
    layer = Recurrent(Cell.registry["lstm"], 2, 3, 2, bidirectional=True)
    x = torch.randn(1, 4, 2)
    flow = gradient_flow(layer, lambda: layer(x)[0].sum())
    places = [place for place, _ in layer.named_cells()]
    assert [(c.place, c.state) for c in flow.curves()] == [(place, s) for place in places for s in ("h", "c")]
    assert all(torch.equal(c.norms, flow.norms[c.state].flatten(0, 1)[places.index(c.place)]) for c in flow.curves())


def test_nothing_is_left_behind() -> None:
    layer = Recurrent(Cell.registry["lstm"], 2, 3, zoneout=0.5, output_dropout=0.5).train()
    x = torch.randn(2, 4, 2)
    with torch.no_grad():
        first = gradient_flow(layer, lambda: layer(x)[0].sum())
    again = gradient_flow(layer, lambda: layer(x)[0].sum())
    assert torch.equal(first.norms["h"], again.norms["h"])  # nothing is drawn at random
    assert layer.training
    assert all(parameter.grad is None for parameter in layer.parameters())

    def broken() -> Tensor:
        layer(x)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gradient_flow(layer, broken)
    assert layer.training
    assert not layer._forward_hooks


def test_zoneout_is_its_mean() -> None:
    """h_t = p h_{t-1} + (1 - p) tanh(a): at h = 0 the Jacobian of a step is p + (1 - p) U."""
    layer = Recurrent(RNNCell, 1, 1, zoneout=0.25, dtype=torch.float64)
    with torch.no_grad():
        layer.cell_at(0, 0).weight_h.fill_(0.2)
    x = torch.zeros(1, 3, 1, dtype=torch.float64)
    flow = gradient_flow(layer, lambda: layer(x)[0][0, -1, 0])
    torch.testing.assert_close(flow.norms["h"][0, 0], torch.tensor([0.16, 0.4, 1.0], dtype=torch.float64))


def test_refusals() -> None:
    layer, x = Recurrent(RNNCell, 2, 3), torch.randn(2, 4, 2)
    with pytest.raises(OptionError, match="loss must be to run the layer once, got 0 runs"):
        gradient_flow(layer, lambda: x.sum())
    with pytest.raises(OptionError, match="got 2 runs"):
        gradient_flow(layer, lambda: (layer(x)[0] + layer(x)[0]).sum())
    with pytest.raises(ShapeError, match=r"a scalar that depends on the layer, got \(2, 4, 3\)"):
        gradient_flow(layer, lambda: layer(x)[0])
    with pytest.raises(ShapeError, match="got one without gradient"):
        gradient_flow(layer, lambda: layer(x)[0].detach().sum())


@pytest.mark.parametrize("name", CELLS)
def test_fresh_cells(name: str) -> None:
    before = torch.get_rng_state()
    flow, same, other = (fresh_flow(Cell.registry[name], steps=6, hidden_size=5, rows=3, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert flow.norms["h"].shape == (1, 1, 6)
    assert flow.norms["h"][0, 0, -1].item() == pytest.approx(1.0, rel=1e-12)
    assert torch.equal(flow.norms["h"], same.norms["h"])
    assert not torch.equal(flow.norms["h"], other.norms["h"])
