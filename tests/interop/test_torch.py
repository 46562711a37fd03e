"""`from_torch`: outputs, final states and every gradient of torch's layers, by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from elman import GRU, LSTM, RNN, LSTMCell, ReLURNN, from_torch
from elman.errors import OptionError

MODULES = {
    "rnn-tanh": (nn.RNN, {"nonlinearity": "tanh"}, RNN),
    "rnn-relu": (nn.RNN, {"nonlinearity": "relu"}, ReLURNN),
    "lstm": (nn.LSTM, {}, LSTM),
    "gru": (nn.GRU, {}, GRU),
}


def close(got, expected, what):
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10, msg=lambda text: f"{what}: {text}")


def ours(state, layers, directions):
    """From torch's (layers · directions, batch, hidden) to (batch, layers, directions, hidden)."""
    return state.reshape(layers, directions, *state.shape[1:]).permute(2, 0, 1, 3)


def expected_gradients(module, layer):
    """Torch's gradients under the names of our gates; where torch has two biases, both must agree with ours."""
    size, gradients = module.hidden_size, {name: p.grad for name, p in module.named_parameters()}
    for level in range(module.num_layers):
        for direction, place in enumerate(["forward", "backward"][: layer.directions]):
            suffix = f"l{level}{'_reverse' if direction else ''}"
            gates_x = gates_h = {"RNN": "n", "LSTM": "i f g o", "GRU": "r z n_x"}[type(module).__name__].split()
            if isinstance(module, nn.GRU):
                gates_h = ["r", "z", "n_h"]
            for weight, bias, gates, kind in (("ih", "ih", gates_x, "weight_x"), ("hh", "hh", gates_h, "weight_h")):
                for k, gate in enumerate(gates):
                    rows = slice(k * size, (k + 1) * size)
                    yield f"layer_{level}/{place} {gate}/{kind}", gradients[f"weight_{weight}_{suffix}"][rows]
                    if module.bias:
                        yield f"layer_{level}/{place} {gate}/bias", gradients[f"bias_{bias}_{suffix}"][rows]


def compare(module, batch, time):
    layers, directions = module.num_layers, 1 + module.bidirectional
    x = torch.randn(batch, time, module.input_size, dtype=torch.float64)
    shape = (layers * directions, batch, module.hidden_size)
    states = [torch.randn(shape, dtype=torch.float64) for _ in range(1 + isinstance(module, nn.LSTM))]
    weights = torch.randn(batch, time, directions * module.hidden_size, dtype=torch.float64)

    their_x, their_states = x.clone().requires_grad_(), [s.clone().requires_grad_() for s in states]
    given_state = tuple(their_states) if len(states) == 2 else their_states[0]
    out, final = module(their_x if module.batch_first else their_x.transpose(0, 1), given_state)
    out = out if module.batch_first else out.transpose(0, 1)
    final = final if isinstance(final, tuple) else (final,)
    ((out * weights).sum() + sum((s * s.detach()).sum() for s in final)).backward()

    layer = from_torch(module)
    our_x = x.clone().requires_grad_()
    our_states = [ours(s, layers, directions).clone().requires_grad_() for s in states]
    our_out, our_final = layer(our_x, our_states)
    ((our_out * weights).sum() + sum((s * s.detach()).sum() for s in our_final)).backward()

    close(our_out, out, "outputs")
    close(our_x.grad, their_x.grad, "the gradient of x")
    for name, got, expected in zip(layer.cell.states, our_final, final, strict=True):
        close(got, ours(expected, layers, directions), f"final state {name}")
    for name, got, expected in zip(layer.cell.states, our_states, their_states, strict=True):
        close(got.grad, ours(expected.grad, layers, directions), f"the gradient of initial state {name}")
    got = {
        f"{place} {n}": gradient
        for place, cell in layer.named_cells()
        for n, _, gradient in cell.named_gate_parameters()
    }
    compared = set()
    for name, expected in expected_gradients(module, layer):
        close(got[name], expected, f"the gradient of {name}")
        compared.add(name)
    assert compared == {name for name in got if module.bias or not name.endswith("bias")}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", MODULES)
def test_parity(kind, layers, bidirectional, bias):
    make, options, expected = MODULES[kind]
    module = make(
        3, 4, layers, bias=bias, bidirectional=bidirectional, batch_first=True, dtype=torch.float64, **options
    )
    assert type(from_torch(module)) is expected
    compare(module, batch=2, time=5)


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from(sorted(MODULES)),
    batch=st.integers(1, 5),
    time=st.integers(1, 9),
    input_size=st.integers(1, 9),
    hidden_size=st.integers(1, 9),
    batch_first=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_parity_of_any_size(kind, batch, time, input_size, hidden_size, batch_first, seed):
    torch.manual_seed(seed)
    make, options, _ = MODULES[kind]
    compare(make(input_size, hidden_size, batch_first=batch_first, dtype=torch.float64, **options), batch, time)


def test_lengths_are_packed_sequences():
    module = nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True, dtype=torch.float64)
    x, lengths = torch.randn(4, 6, 3, dtype=torch.float64), torch.tensor([2, 6, 1, 5])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    out, (h, c) = module(packed)
    expected, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
    got, state = from_torch(module)(x, lengths=lengths)
    close(got, expected, "outputs")
    close(state.h, ours(h, 2, 2), "final state h")
    close(state.c, ours(c, 2, 2), "final state c")


def test_takes_over_mode_dropout_and_type():
    module = nn.GRU(3, 4, 2, dropout=0.25, dtype=torch.bfloat16).eval()
    layer = from_torch(module)
    assert (layer.dropout, layer.training, layer.input_dropout, layer.output_dropout) == (0.25, False, 0.0, 0.0)
    assert {p.dtype for p in layer.parameters()} == {torch.bfloat16}
    assert from_torch(nn.GRU(3, 4)).training


def test_dropout_of_one_layer_is_nothing_in_torch():
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        module = nn.RNN(3, 4, dropout=0.5)
    assert from_torch(module).dropout == 0.0


def test_shares_no_memory():
    module = nn.LSTM(3, 4)
    layer = from_torch(module)
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    assert layer.cell_at(0, 0).weight_h.any()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: nn.LSTM(3, 4, proj_size=2), r"from_torch: proj_size=2 of the LSTM has no equal in elman"),
        (lambda: nn.Linear(3, 4), r"from_torch: module must be a torch\.nn\.RNN, LSTM or GRU, got Linear"),
        (lambda: nn.LSTMCell(3, 4), r"module must be a torch\.nn\.RNN, LSTM or GRU, got LSTMCell"),
        (lambda: LSTMCell(3, 4), r"module must be a torch\.nn\.RNN, LSTM or GRU, got LSTMCell"),
    ],
)
def test_refuses(module, message):
    with pytest.raises(OptionError, match=message):
        from_torch(module())
