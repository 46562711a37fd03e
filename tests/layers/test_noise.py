"""Variational and recurrent dropout, weight drop, zoneout: against their equations, done by hand with their masks."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, vmap

import elman
from elman import GRU, LSTM, Affine, Cell, Diagonal, Recurrent, sigmoid, tanh
from elman.backends import philox
from elman.backends.dispatch import backend
from elman.cells import LSTMCell
from elman.compiler.noise import recurrent_dropout
from elman.errors import OptionError
from elman.layers import noise
from elman.testing.subject import weighted_sum
from handwritten import ComputedOperandsCell, DelayCell, NoBiasCell, ThreeStatesCell, TwoStatesCell
from oracles import oracle_of

CELLS = [
    *Cell.registry.values(),
    TwoStatesCell,
    ComputedOperandsCell,
    DelayCell,
    NoBiasCell,
    ThreeStatesCell,
]
OPTIONS = {
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "zoneout": {"zoneout": 0.4},
    "weight drop": {"weight_drop": 0.3},
    "everything": {
        **{"recurrent_dropout": 0.3, "zoneout": 0.2, "weight_drop": 0.1},
        **{"variational": True, "dropout": 0.3, "input_dropout": 0.2, "output_dropout": 0.4},
    },
}
DEEP = {"num_layers": 2, "bidirectional": True}
RANDOM = ("dropout", "input_dropout", "output_dropout", "recurrent_dropout", "weight_drop", "zoneout")

cells = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
backends = pytest.mark.parametrize("name", ["llvm", "reference"])
close = torch.testing.assert_close


@pytest.fixture
def draws(monkeypatch):
    """All that layers draw, in order."""
    seen = []

    def watched(*args):
        seen.append(philox.chosen(*args))
        return seen[-1]

    monkeypatch.setattr(noise, "chosen", watched)
    return seen


def made(cell, **options):
    layer = Recurrent(cell, 3, 4, dtype=torch.float64, **options)
    x = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
    shape = (3, layer.num_layers, layer.directions, 4)
    state = [torch.rand(shape, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_() for _ in cell.states]
    return layer, x, state


def by_hand(layer, draws, x, state, *, lengths=None, reset=None):
    """What a layer does, step by step and row by row, with the masks that it drew.

    Masking what a gate multiplies with U is masking the columns of U, so that the cell's own step serves.
    """
    draws = iter(draws)
    batch, time, _ = x.shape
    ends = [time] * batch if lengths is None else lengths.tolist()
    packed = [dict(cell.named_parameters()) for _, cell in layer.named_cells()]
    if layer.weight_drop:
        packed = [{**p, "weight_h": p["weight_h"] * next(draws)} for p in packed]
    below = x * next(draws) if layer.input_dropout else x
    final = [[[None] * batch for _ in packed] for _ in state]
    outputs = []
    for k, (_, cell) in enumerate(layer.named_cells()):
        direction = k % layer.directions
        kept = {name: next(draws) for name in layer.zoneout}
        mask = next(draws) if layer.recurrent_dropout else torch.ones(batch, layer.hidden_size, dtype=x.dtype)
        rows = []
        for b in range(batch):
            weights = {**packed[k], "weight_h": packed[k]["weight_h"] * mask[b]}
            states = [s[b : b + 1, k // layer.directions, direction] for s in state]
            done = [torch.zeros(1, layer.hidden_size, dtype=x.dtype)] * time
            for t in reversed(range(ends[b])) if direction else range(ends[b]):
                if reset is not None and t + direction < ends[b] and reset[b, t + direction]:
                    states = [torch.zeros_like(s) for s in states]
                new = functional_call(cell, weights, (below[b : b + 1, t], states))
                pairs = zip(layer.cell.states, states, new, strict=True)
                states = [torch.where(kept[n][b, t] > 0, o, v) if n in kept else v for n, o, v in pairs]
                done[t] = states[0]
            rows.append(torch.stack(done, dim=1))
            for s, value in enumerate(states):
                final[s][k][b] = value
        outputs.append(torch.cat(rows))
        if direction == layer.directions - 1:
            below = torch.cat(outputs, dim=2)
            last = k == len(packed) - 1
            below = below * next(draws) if (layer.output_dropout if last else layer.dropout) else below
            outputs = []
    assert next(draws, None) is None
    return below, [torch.stack([torch.cat(r) for r in s], dim=1).view(state[0].shape) for s in final]


def results(layer, run, x, state):
    outputs, final = run(x, state)
    values = {"outputs": outputs, **dict(zip(layer.cell.states, final, strict=True))}
    leaves = {"x": x, **{f"initial {n}": s for n, s in zip(layer.cell.states, state, strict=True)}}
    leaves.update(layer.named_parameters())
    gradients = torch.autograd.grad(weighted_sum(values), list(leaves.values()), materialize_grads=True)
    return {**values, **{f"gradient of {n}": g for n, g in zip(leaves, gradients, strict=True)}}


def assert_by_hand(layer, draws, x, state, *, rtol=1e-9, **given):
    draws.clear()
    got = results(layer, lambda x, state: layer(x, state, **given), x, state)
    seen = list(draws)
    expected = results(layer, lambda x, state: by_hand(layer, seen, x, state, **given), x, state)
    for key, value in expected.items():
        close(got[key], value, rtol=rtol, atol=1e-11, msg=lambda m, k=key: f"{k}: {m}")


# Values and gradients


@options
@backends
@cells
def test_one_layer_is_its_equations(cell, name, options, draws):
    options = {k: v for k, v in options.items() if k != "dropout"}
    layer, x, state = made(cell, **options)
    with backend(name):
        assert_by_hand(layer, draws, x, state)


@options
@backends
@pytest.mark.parametrize("cell", ["lstm", "gru-reset-before"])
def test_stacks_with_lengths_and_resets_are_their_equations(cell, name, options, draws):
    reset = torch.rand(3, 5) < 0.4
    reset[0, 3], reset[2, 0] = True, True
    for recompute in (False, True):
        layer, x, state = made(Cell.registry[cell], **options, **DEEP, recompute=recompute)
        with backend(name):
            assert_by_hand(layer, draws, x, state, lengths=torch.tensor([5, 0, 3]), reset=reset)


def test_many_segments_share_their_noise(draws):
    layer, _, _ = made(LSTMCell, recurrent_dropout=0.3, zoneout={"c": 0.4}, bidirectional=True, recompute=True)
    x, state = torch.randn(20, 9, 3, dtype=torch.float64, requires_grad=True), layer.initial_state(20)
    assert_by_hand(layer, draws, x, [s.requires_grad_() for s in state], reset=torch.rand(20, 9) < 0.3)


@pytest.mark.parametrize("name", Cell.registry)
def test_noise_is_that_of_the_papers_in_numpy(name, draws):
    """The cell as its NumPy oracle has it; U with masked columns; old values where a mask says so."""
    layer, x, state = made(Cell.registry[name], recurrent_dropout=0.4, zoneout=0.3)
    outputs, final = layer(x, state)
    *kept, mask = (d.numpy() for d in draws)
    cell = layer.cell_at(0, 0)
    parameters = {n: p.detach().numpy() for n, p, _ in cell.named_gate_parameters()}
    for b in range(3):
        own = {n: p * mask[b] if "weight_h" in n else p for n, p in parameters.items()}
        states = [s.detach().numpy()[b : b + 1, 0, 0] for s in state]
        for t in range(5):
            new = oracle_of(name)(own, x.detach().numpy()[b : b + 1, t], *states)
            states = [np.where(kept[k][b, t] > 0, states[k], new[k]) for k in range(len(states))]
            np.testing.assert_allclose(outputs[b, t].detach().numpy(), states[0][0], rtol=1e-10, atol=1e-12)
        for k, value in enumerate(final):
            np.testing.assert_allclose(value[b, 0, 0].detach().numpy(), states[k][0], rtol=1e-10, atol=1e-12)


def test_the_equations_of_an_lstm_spelled_out(draws):
    """U reads m h; c is carried whole; each state keeps old values by a mask of its own."""
    layer, x, _ = made(LSTMCell, recurrent_dropout=0.5, zoneout={"h": 0.2, "c": 0.4})
    outputs, state = layer(x)
    z_h, z_c, m = draws
    cell = layer.cell_at(0, 0)
    h = c = torch.zeros(3, 4, dtype=torch.float64)
    for t in range(5):
        gates = x[:, t] @ cell.weight_x.T + (m * h) @ cell.weight_h.T + cell.bias
        i, f, g, o = gates.chunk(4, dim=1)
        new = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h, c = torch.where(z_h[:, t] > 0, h, o.sigmoid() * new.tanh()), torch.where(z_c[:, t] > 0, c, new)
        close(outputs[:, t], h)
    close(state.c[:, 0, 0], c)


def test_weight_drop_drops_weights_u_alone(draws):
    layer, x, state = made(LSTMCell, weight_drop=0.5)
    outputs, _ = layer(x, state)
    (mask,) = draws
    assert mask.shape == (16, 4)
    plain = copy.deepcopy(layer).eval()
    with torch.no_grad():
        plain.cell_at(0, 0).weight_h.mul_(mask)
    close(outputs, plain(x, state)[0])


def test_gradcheck():
    layer, x, state = made(LSTMCell, num_layers=2, **OPTIONS["everything"])

    def run(*inputs):
        torch.manual_seed(1)
        held = dict(zip(dict(layer.named_parameters()), inputs[3:], strict=True))
        outputs, final = functional_call(layer, held, (inputs[0], inputs[1:3]))
        return outputs, *final

    assert gradcheck(run, (x, *state, *layer.parameters()), fast_mode=True)


# Evaluation, and options that are off


@backends
@cells
def test_evaluation_is_the_mean_of_zoneout_and_nothing_of_the_others(cell, name, draws):
    rates = {s: 0.1 + k / 4 for k, s in enumerate(cell.states)}
    layer, x, state = made(cell, recurrent_dropout=0.3, weight_drop=0.4, output_dropout=0.3, zoneout=rates)
    layer.eval()
    with backend(name):
        outputs, final = layer(x, state)
        with torch.no_grad():  # layers as one
            close(layer(x, state), (outputs, final), rtol=1e-12, atol=1e-12)
    states = [s[:, 0, 0] for s in state]
    for t in range(5):
        new = layer.cell_at(0, 0)(x[:, t], states)
        states = [p * o + (1 - p) * n for p, o, n in zip(rates.values(), states, new, strict=True)]
        close(outputs[:, t], states[0])
    close([s[:, 0, 0] for s in final], states)
    assert not draws


def test_options_that_are_off_change_no_bits_and_draw_nothing(draws):
    off = {"recurrent_dropout": 0.0, "weight_drop": 0.0, "zoneout": {"h": 0.0}, "variational": True}
    layer, plain = LSTM(3, 4, **DEEP, **off), LSTM(3, 4, **DEEP)
    plain.load_state_dict(layer.state_dict())
    x, before = torch.randn(2, 5, 3), torch.get_rng_state()
    close(layer(x), plain(x), rtol=0, atol=0)
    assert layer.graph is layer.cell_at(0, 0).graph
    assert torch.get_rng_state().equal(before)
    assert not draws


def test_in_training_layers_draw_without_gradients_too(draws):
    layer, x, state = made(LSTMCell, recurrent_dropout=0.5)
    with torch.no_grad():
        first, second = layer(x, state)[0], layer(x, state)[0]
    assert len(draws) == 2
    assert not first.equal(second)


# Which draws there are


def test_shapes_and_rates_of_what_is_drawn(draws):
    layer = LSTM(50, 60, **DEEP, **OPTIONS["everything"])
    layer(torch.randn(40, 7, 50))
    rates = Counter()
    for drawn in draws:
        value = drawn.max().item()
        rates[(tuple(drawn.shape), round(value, 4), round((drawn > 0).double().mean().item() * 20) / 20)] += 1
    assert rates == {
        ((240, 60), 1.1111, 0.9): 4,  # weights, of each layer and direction
        ((40, 1, 50), 1.25, 0.8): 1,  # x
        ((40, 1, 120), 1.4286, 0.7): 1,  # between the layers
        ((40, 1, 120), 1.6667, 0.6): 1,  # outputs
        ((40, 7, 60), 1.0, 0.2): 8,  # zoneout, of each layer, direction, and state
        ((40, 60), 1.4286, 0.7): 4,  # hidden values
    }
    alike = [d for d in draws if d.shape in {(40, 60), (240, 60)} or d.shape == (40, 7, 60)]
    assert all(not a.equal(b) for k, a in enumerate(alike) for b in alike[:k])


@pytest.mark.parametrize("option", ["dropout", "input_dropout", "output_dropout"])
def test_variational_dropout_is_the_same_at_every_step(option, draws):
    layer = GRU(30, 20, 2, variational=True, **{option: 0.5})
    layer(torch.randn(4, 6, 30))
    (drawn,) = draws
    assert drawn.shape == (4, 1, 30 if option == "input_dropout" else 20)
    layer = GRU(30, 20, 2, **{option: 0.5})
    layer(torch.randn(4, 6, 30))
    drawn = draws[-1]
    assert drawn.shape[1] == 6
    assert not drawn[:, 0].equal(drawn[:, 1])


@pytest.mark.parametrize("option", RANDOM)
def test_equal_seeds_give_equal_bits_by_any_backend_and_number_of_threads(option):
    layer, _, _ = made(LSTMCell, num_layers=2, **{option: 0.5})
    x, runs = torch.randn(33, 5, 3, dtype=torch.float64), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        torch.manual_seed(7)
        outputs, _ = layer(x)
        gradients = torch.autograd.grad(outputs.sin().sum(), list(layer.parameters()))
        runs.append((outputs, *gradients, torch.get_rng_state()))
        assert all(a.equal(b) for a, b in zip(runs[0], runs[-1], strict=True))
    torch.manual_seed(7)
    with backend("reference"):
        close(layer(x)[0], runs[0][0])
    assert torch.get_rng_state().equal(runs[0][-1])
    torch.manual_seed(8)
    assert not layer(x)[0].equal(runs[0][0])


def test_a_state_of_the_generator_brings_the_masks_back():
    layer, x, _ = made(LSTMCell, **{k: v for k, v in OPTIONS["everything"].items() if k != "dropout"})
    layer(x)
    held = torch.get_rng_state()
    later = [layer(x)[0] for _ in range(2)]
    torch.set_rng_state(held)
    assert all(layer(x)[0].equal(value) for value in later)


# In torch, and out


class GatedCell(Cell):
    """One of a user's own: a value of the step is multiplied with U, another state is read unit by unit."""

    states = ("h", "memory")
    f, n = Affine(bias=1.0), Affine()
    p = Diagonal()

    def step(self, x, h, memory):
        f = sigmoid(self.f(x, h) + self.p(memory))
        memory = f * memory + (1 - f) * tanh(self.n(x, f * memory))
        return tanh(memory), memory


@backends
def test_a_cell_of_ones_own(name, draws):
    layer, x, state = made(GatedCell, recurrent_dropout=0.4, zoneout={"memory": 0.3}, **DEEP)
    with backend(name):
        assert_by_hand(layer, draws, x, state, lengths=torch.tensor([5, 2, 4]))
    assert recurrent_dropout(layer.cell_at(0, 0).graph).states == ("h", "memory", "(m h)")


def test_one_compiled_graph(monkeypatch):
    """With masks that are not drawn, since torch.compile draws by itself."""

    def chosen(shape, probability, value, like):
        numbers = torch.arange(shape[0] * shape[-1]).view(shape[0], *[1] * (len(shape) - 2), -1)
        return ((numbers * 7919 % 100 < 100 * probability).to(like.dtype) * value).expand(shape)

    monkeypatch.setattr(noise, "chosen", chosen)
    torch.compiler.reset()
    layer, x, state = made(LSTMCell, num_layers=2, **OPTIONS["everything"])
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for each in (x, torch.randn(6, 9, 3, dtype=torch.float64, requires_grad=True)):
        runs = []
        for run in (layer, compiled):
            outputs, final = run(each)
            runs.append((outputs, *final, *torch.autograd.grad(outputs.sin().sum(), [each, *layer.parameters()])))
        close(runs[1], runs[0])
    layer.eval()
    close(compiled(x, state)[0], layer(x, state)[0])


def test_a_compiled_layer_draws_at_every_call():
    torch.compiler.reset()
    layer = LSTM(3, 40, recurrent_dropout=0.3, output_dropout=0.4, zoneout=0.1)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.randn(20, 5, 3)
    first, second = compiled(x)[0], compiled(x)[0]
    assert not first.equal(second)
    assert (first == 0).double().mean().item() == pytest.approx(0.4, abs=0.03)


def test_functional_call_and_torch_func():
    layer, x, _ = made(LSTMCell, recurrent_dropout=0.3, zoneout=0.2, weight_drop=0.3)
    held = {name: value.detach() * 0.5 for name, value in layer.named_parameters()}
    halved = copy.deepcopy(layer)
    halved.load_state_dict(held)

    def loss(parameters, x):
        torch.manual_seed(5)
        return functional_call(layer, parameters, (x,))[0].sin().sum()

    torch.manual_seed(5)
    value = halved(x)[0].sin().sum()
    expected = torch.autograd.grad(value, list(halved.parameters()))
    close(loss(held, x), value)
    close(list(grad(loss)(held, x).values()), list(expected))

    def drawn(x):
        return functional_call(layer, held, (x[None],))[0][0]

    mapped = vmap(drawn, randomness="different")(x)
    assert mapped.shape == (3, 5, 4)
    assert not vmap(drawn, randomness="different")(x[:1].expand(2, -1, -1)).unbind()[0].equal(mapped[0])
    alike = vmap(drawn, randomness="same")(x[:1].expand(2, -1, -1))
    close(alike[0], alike[1])


def test_copies_and_repr_keep_the_options():
    layer, x, state = made(LSTMCell, recurrent_dropout=0.25, zoneout={"c": 0.5}, weight_drop=0.1, variational=True)
    again = copy.deepcopy(layer)
    assert (again.recurrent_dropout, again.zoneout, again.weight_drop) == (0.25, {"c": 0.5}, 0.1)
    text = "LSTMCell, 3, 4, variational=True, recurrent_dropout=0.25, weight_drop=0.1, zoneout={'c': 0.5}"
    assert repr(layer).splitlines()[1].strip() == text or text in repr(layer)
    torch.manual_seed(1)
    outputs = layer(x, state)[0]
    torch.manual_seed(1)
    close(again(x, state)[0], outputs, rtol=0, atol=0)


def test_autocast_and_half_precision():
    for dtype, context in ((torch.bfloat16, False), (torch.float32, True)):
        layer = LSTM(3, 8, recurrent_dropout=0.3, zoneout=0.2, output_dropout=0.2, weight_drop=0.2).to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=context):
            outputs, _ = layer(torch.randn(2, 5, 3, dtype=dtype))
        assert outputs.isfinite().all()
        outputs.float().sum().backward()
        assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_explain_knows_what_runs():
    layer = LSTM(8, 16, recurrent_dropout=0.3)
    (run,) = elman.explain(layer, (32, 7, 8)).runs
    assert [product.what for product in run.forward.phases[0].products] == ["W x", "U (m h)"]
    plain, mean = elman.explain(layer.eval(), (32, 7, 8)).runs[0], LSTM(8, 16, zoneout=0.1).eval()
    assert plain == elman.explain(LSTM(8, 16), (32, 7, 8)).runs[0]
    operations = elman.explain(mean, (32, 7, 8)).runs[0].forward.phases[0].operations
    assert operations == plain.forward.phases[0].operations + 6


class UnconnectedCell(Cell):
    """Nothing hidden is multiplied with a matrix."""

    states = ("h",)
    n = Affine()
    p = Diagonal()

    def step(self, x, h):
        return tanh(self.n(x) + self.p(h))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LSTM(3, 4, recurrent_dropout=1.0),
            r"LSTM: recurrent_dropout must be at least 0 and under 1, got 1\.0",
        ),
        (lambda: LSTM(3, 4, weight_drop=-0.1), r"weight_drop must be at least 0 and under 1, got -0\.1"),
        (lambda: LSTM(3, 4, zoneout="a"), r"zoneout must be at least 0 and under 1, got 'a'"),
        (lambda: LSTM(3, 4, zoneout={"c": 1}), r"zoneout of c must be at least 0 and under 1, got 1\."),
        (lambda: LSTM(3, 4, zoneout={"d": 0.1}), r"zoneout must be by states of LSTMCell \(h, c\), got 'd'"),
        (
            lambda: Recurrent(UnconnectedCell, 3, 4, recurrent_dropout=0.1),
            r"recurrent_dropout acts where a gate multiplies a hidden value with a matrix, and no gate of Unconn",
        ),
        (lambda: Recurrent(UnconnectedCell, 3, 4, weight_drop=0.1), r"weight_drop acts where a gate multiplies"),
    ],
)
def test_options_that_cannot_be(make, message):
    with pytest.raises(OptionError, match=message):
        make()


def test_a_cell_without_matrices_has_zoneout(draws):
    layer, x, state = made(UnconnectedCell, zoneout=0.5)
    outputs, _ = layer(x, state)
    (kept,) = draws
    h = state[0][:, 0, 0]
    for t in range(5):
        h = torch.where(kept[:, t] > 0, h, layer.cell_at(0, 0)(x[:, t], [h]).h)
        close(outputs[:, t], h)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's, in forward mode
def test_derivatives_of_every_kind():
    layer, _, _ = made(LSTMCell, recurrent_dropout=0.3, zoneout=0.3, weight_drop=0.2, output_dropout=0.2)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *parameters):
        torch.manual_seed(1)
        outputs, final = functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))
        return outputs, *final

    inputs = (torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True), *layer.parameters())
    assert gradcheck(run, inputs, check_forward_ad=True, check_batched_grad=True, fast_mode=True)
    assert gradgradcheck(run, inputs, check_batched_grad=True, fast_mode=True)
