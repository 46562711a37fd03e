"""`Recurrent`: options, dropout, shapes and errors. Values over time are in tests/cells/test_conformance.py."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from elman import GRU, LSTM, RNN, CoupledLSTM, PeepholeLSTM, Recurrent, ReLURNN, ResetBeforeGRU
from elman.cells import (
    Cell,
    CoupledLSTMCell,
    GRUCell,
    LSTMCell,
    PeepholeLSTMCell,
    ReLURNNCell,
    ResetBeforeGRUCell,
    RNNCell,
)
from elman.errors import OptionError, ShapeError
from handwritten import NoBiasCell, TwoStatesCell

NAMED = {
    RNN: RNNCell,
    ReLURNN: ReLURNNCell,
    LSTM: LSTMCell,
    PeepholeLSTM: PeepholeLSTMCell,
    CoupledLSTM: CoupledLSTMCell,
    GRU: GRUCell,
    ResetBeforeGRU: ResetBeforeGRUCell,
}
close = torch.testing.assert_close


def ones(*shape):
    return torch.ones(shape)


@pytest.mark.parametrize("layer_class", NAMED, ids=lambda layer_class: layer_class.__name__)
def test_named_layers_are_recurrent_with_their_cell(layer_class):
    options = {"bidirectional": True, "dropout": 0.1, "input_projection": 5, "dtype": torch.float64}
    layer, same = layer_class(3, 4, 2, **options), Recurrent(NAMED[layer_class], 3, 4, 2, **options)
    same.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    close(layer.eval()(x), same.eval()(x), rtol=0, atol=0)
    assert type(layer.cell_at(1, 1)) is layer.cell is NAMED[layer_class]


def test_every_registered_cell_has_a_named_layer():
    assert set(NAMED.values()) == set(Cell.registry.values())


def test_shapes_and_names_of_the_state():
    layer = Recurrent(TwoStatesCell, 3, 4, num_layers=2, bidirectional=True)
    outputs, state = layer(torch.randn(5, 6, 3))
    assert outputs.shape == (5, 6, 8)
    assert type(state) is TwoStatesCell.State
    assert state.h.shape == state.c.shape == (5, 2, 2, 4)
    assert [name for name, _ in layer.named_cells()] == [
        *("layer_0/forward", "layer_0/backward"),
        *("layer_1/forward", "layer_1/backward"),
    ]
    assert layer.cell_at(1, 0).input_size == 8


def test_final_states_are_the_last_outputs():
    layer = RNN(3, 4, 2, bidirectional=True)
    outputs, state = layer(torch.randn(5, 6, 3), lengths=torch.tensor([6, 1, 3, 6, 2]))
    for row, length in enumerate((6, 1, 3, 6, 2)):
        close(state.h[row, 1, 0], outputs[row, length - 1, :4], rtol=0, atol=0)
        close(state.h[row, 1, 1], outputs[row, 0, 4:], rtol=0, atol=0)


def test_initial_state():
    layer = LSTM(3, 4, 2, bidirectional=True, dtype=torch.float64)
    state = layer.initial_state(5)
    assert type(state) is LSTMCell.State
    assert state.c.shape == (5, 2, 2, 4)
    assert state.c.dtype == torch.float64
    assert not any(s.any() for s in state)
    x = torch.randn(5, 6, 3, dtype=torch.float64)
    close(layer(x, state), layer(x), rtol=0, atol=0)


def test_the_given_state_is_not_changed():
    layer = LSTM(3, 4)
    state = [torch.randn(2, 1, 1, 4) for _ in range(2)]
    before, x = [s.clone() for s in state], torch.randn(2, 5, 3)
    kept = x.clone()
    layer(x, state, lengths=torch.tensor([2, 5]), reset=torch.rand(2, 5) > 0.5)
    assert x.equal(kept)
    assert all(s.equal(b) for s, b in zip(state, before, strict=True))


def test_no_rows():
    outputs, state = LSTM(3, 4, 2, bidirectional=True)(ones(0, 5, 3), lengths=torch.zeros(0, dtype=torch.long))
    assert outputs.shape == (0, 5, 8)
    assert state.h.shape == (0, 2, 2, 4)


@pytest.mark.parametrize(
    "lengths", [[2, 0, 5], torch.tensor([2, 0, 5], dtype=torch.int32), torch.tensor([2, 0, 5]).byte()]
)
def test_lengths_of_any_integer_type(lengths):
    layer, x = GRU(3, 4), torch.randn(3, 5, 3)
    outputs, state = layer(x, lengths=lengths)
    close(outputs[0, :2], layer(x[:1, :2])[0][0])
    assert not outputs[0, 2:].any()
    assert not outputs[1].any()
    assert not state.h[1].any()
    close(outputs[2], layer(x[2:])[0][0])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_lengths_and_resets_of_any_size(data):
    """Every row is what its sequences are alone, whatever the sizes, lengths and resets."""
    batch, time = data.draw(st.integers(1, 4), "batch"), data.draw(st.integers(1, 7), "time")
    cell = data.draw(st.sampled_from([RNNCell, LSTMCell, GRUCell, ResetBeforeGRUCell]), "cell")
    sizes = data.draw(st.integers(1, 5), "input"), data.draw(st.integers(1, 5), "hidden")
    lengths = data.draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch), "lengths")
    reset = data.draw(st.lists(st.lists(st.booleans(), min_size=time, max_size=time), min_size=batch, max_size=batch))
    layer = Recurrent(cell, *sizes, bidirectional=data.draw(st.booleans(), "bidirectional"), dtype=torch.float64)
    x = torch.randn(batch, time, sizes[0], dtype=torch.float64)
    outputs, state = layer(x, lengths=torch.tensor(lengths), reset=torch.tensor(reset))
    for row, length in enumerate(lengths):
        cuts = [0, *(t for t in range(1, length) if reset[row][t]), length]
        alone = [layer(x[row : row + 1, a:b]) for a, b in pairwise(cuts) if b > a]
        expected = torch.cat([piece[0] for piece in alone], dim=1)[0] if alone else x.new_zeros(0)
        close(outputs[row, :length].flatten(), expected.flatten(), rtol=1e-10, atol=1e-12)
        assert not outputs[row, length:].any()
        if alone:
            close(state.h[row, :, 0], alone[-1][1].h[0, :, 0], rtol=1e-10, atol=1e-12)
            close(
                state.h[row, :, -1:],
                alone[-1 if not layer.bidirectional else 0][1].h[0, :, -1:],
                rtol=1e-10,
                atol=1e-12,
            )


# Dropout


def test_input_dropout_drops_and_scales_what_the_first_layer_reads():
    layer = RNN(2000, 1, input_dropout=0.25, dtype=torch.float64)
    with torch.no_grad():
        cell = layer.cell_at(0, 0)
        cell.weight_x.copy_(1e-9 * 2.0 ** torch.arange(2000).remainder(2)[None])
        cell.weight_h.zero_()
    x = torch.ones(1, 1, 2000, dtype=torch.float64)
    layer.eval()
    close(layer(x)[0].item(), 3000e-9, rtol=1e-6, atol=0)
    layer.train()
    means = torch.stack([layer(x)[0] for _ in range(50)]).mean().item()
    close(means, 3000e-9, rtol=0.02, atol=0)  # scaled by 1 / (1 - p), so that the mean stays
    assert layer(x)[0] != layer(x)[0]


def test_output_dropout_leaves_the_states_alone():
    layer = LSTM(3, 100, output_dropout=0.4)
    x = torch.randn(20, 5, 3)
    outputs, state = layer(x)
    exact, exact_state = layer.eval()(x)
    close(tuple(state), tuple(exact_state), rtol=0, atol=0)
    kept = outputs != 0
    assert kept.float().mean().item() == pytest.approx(0.6, abs=0.02)
    close(outputs[kept], (exact / 0.6)[kept])
    close(exact[:, -1], exact_state.h[:, 0, 0], rtol=0, atol=0)


def test_dropout_acts_between_layers_alone():
    layer = GRU(3, 50, 3, dropout=0.3)
    x = torch.randn(10, 5, 3)
    _, state = layer(x)
    outputs, exact = layer.eval()(x)
    close(state.h[:, 0], exact.h[:, 0], rtol=0, atol=0)  # nothing on the input
    assert not torch.equal(state.h[:, 1], exact.h[:, 1])
    assert (outputs != 0).all()
    layer.train()
    assert (layer(x)[0] != 0).all()  # nothing on the output


def test_dropout_between_layers_is_dropped_and_scaled():
    """The second layer sees each output of the first either as 0 or divided by 1 - p."""
    seen = []

    class Watching(RNNCell):
        pass

    layer = Recurrent(Watching, 2, 400, 2, dropout=0.2)
    from elman.backends import dispatch

    right = dispatch.unroll

    def watched(graph, parameters, x, *args, **kwargs):
        seen.append(x)
        return right(graph, parameters, x, *args, **kwargs)

    x = torch.randn(3, 6, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "unroll", watched)
        layer(x)
    exact, _ = Recurrent(Watching, 2, 400), None
    exact.cell_at(0, 0).load_state_dict(layer.cell_at(0, 0).state_dict())
    below, kept = exact(x)[0], seen[1] != 0
    assert kept.float().mean().item() == pytest.approx(0.8, abs=0.02)
    close(seen[1][kept], (below / 0.8)[kept])
    assert seen[0].equal(x)


@pytest.mark.parametrize("option", ["dropout", "input_dropout", "output_dropout"])
def test_dropout_is_off_in_eval_mode_and_at_zero(option):
    layer, plain = LSTM(3, 4, 2, **{option: 0.5}), LSTM(3, 4, 2)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 3)
    assert not layer(x)[0].equal(plain(x)[0])
    close(layer.eval()(x), plain(x), rtol=0, atol=0)


def test_equal_seeds_give_equal_masks():
    layer, x = LSTM(3, 4, 2, dropout=0.5, input_dropout=0.5, output_dropout=0.5), torch.randn(2, 5, 3)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(layer(x)[0])
    assert runs[0].equal(runs[1])
    assert not runs[0].equal(runs[2])


# Input projection, initial biases


def test_input_projection_is_a_linear_layer_before_the_first():
    layer = LSTM(3, 4, 2, bidirectional=True, input_projection=6, dtype=torch.float64)
    assert isinstance(layer.projection, nn.Linear)
    assert layer.projection.weight.shape == (6, 3)
    assert layer.cell_at(0, 0).input_size == 6
    plain = LSTM(6, 4, 2, bidirectional=True, dtype=torch.float64)
    plain.cells.load_state_dict(layer.cells.state_dict())
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    close(layer(x), plain(layer.projection(x)))
    layer(x)[0].sum().backward()
    assert layer.projection.weight.grad.any()
    assert layer.projection.bias.grad.any()


def test_input_projection_does_not_wake_padding():
    layer = GRU(3, 4, input_projection=6, bidirectional=True)
    x = torch.randn(2, 5, 3)
    x[0, 2:] = torch.nan
    outputs, _ = layer(x, lengths=torch.tensor([2, 5]))
    close(outputs[0, :2], layer(x[:1, :2])[0][0])
    assert not outputs[0, 2:].any()
    outputs.sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_initial_bias_reaches_every_cell():
    layer = LSTM(3, 4, 2, bidirectional=True, initial_bias={"f": 5.0})
    for _, cell in layer.named_cells():
        assert cell.f.bias.tolist() == [5.0] * 4
        assert cell.i.bias.tolist() == [0.0] * 4


def test_every_cell_draws_its_own_weights():
    layer = RNN(4, 4, 2, bidirectional=True)
    first = [cell.weight_h for _, cell in layer.named_cells()]
    assert len({tuple(w.flatten().tolist()) for w in first}) == 4


# A module among others


def test_repr_names_what_is_not_default():
    layer = LSTM(3, 4, 2, bidirectional=True, dropout=0.5)
    assert repr(layer).splitlines()[1].strip() == "LSTMCell, 3, 4, num_layers=2, bidirectional=True, dropout=0.5"
    assert "LSTMCell, 3, 4\n" in repr(LSTM(3, 4))


def test_copies_and_pickles():
    layer, x = PeepholeLSTM(3, 4, 2), torch.randn(2, 5, 3)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301  ours
        close(again(x), layer(x), rtol=0, atol=0)


def test_meta_device_and_loading_with_assign():
    layer = LSTM(3, 4, 2, device="meta")
    assert {p.device.type for p in layer.parameters()} == {"meta"}
    weights = LSTM(3, 4, 2)
    layer.load_state_dict(weights.state_dict(), assign=True)
    x = torch.randn(2, 5, 3)
    close(layer(x), weights(x), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_follows_float64(dtype):
    layer = LSTM(3, 8, 2, bidirectional=True)
    x = torch.randn(2, 20, 3)
    exact, _ = copy.deepcopy(layer).double()(x.double())
    outputs, state = layer.to(dtype)(x.to(dtype))
    assert outputs.dtype == state.c.dtype == dtype
    close(outputs.double(), exact, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_autocast():
    layer, x = LSTM(3, 8, 2), torch.randn(2, 5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, _ = layer(x, lengths=torch.tensor([3, 5]))
    close(outputs.float(), layer(x, lengths=torch.tensor([3, 5]))[0], rtol=0, atol=0.03)


def test_module_hooks_and_apply_work():
    layer, called = GRU(3, 4), []
    layer.register_forward_hook(lambda *_: called.append("forward"))
    layer(ones(2, 5, 3))
    layer.apply(lambda module: called.append(type(module).__name__))
    assert called == ["forward", "GRUCell", "ModuleList", "ModuleList", "GRU"]


X = (2, 5, 3)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LSTM(0, 4), OptionError, r"LSTMCell: input_size must be a positive int, got 0\."),
        (lambda: LSTM(3, "4"), OptionError, r"hidden_size must be a positive int, got '4'"),
        (lambda: LSTM(3, 4, 0), OptionError, r"^LSTM: num_layers must be a positive int, got 0\."),
        (lambda: LSTM(3, 4, True), OptionError, r"num_layers must be a positive int, got True"),
        (lambda: LSTM(3, 4, input_projection=0), OptionError, r"input_projection must be a positive int, got 0"),
        (
            lambda: LSTM(3, 4, 2, dropout=1.0),
            OptionError,
            r"LSTM: dropout must be at least 0 and under 1, got 1\.0\. It is",
        ),
        (
            lambda: LSTM(3, 4, input_dropout=-0.1),
            OptionError,
            r"input_dropout must be at least 0 and under 1, got -0\.1",
        ),
        (lambda: LSTM(3, 4, output_dropout="a"), OptionError, r"output_dropout must be .* dropping, not of keeping"),
        (lambda: LSTM(3, 4, output_dropout=float("nan")), OptionError, r"output_dropout must be .* got nan"),
        (
            lambda: LSTM(3, 4, dropout=0.5),
            OptionError,
            r"dropout acts between layers and there is one layer\. Use input",
        ),
        (
            lambda: LSTM(3, 4, initial_bias={"q": 1}),
            OptionError,
            r"initial_bias names 'q', which is no gate with a bias",
        ),
        (
            lambda: Recurrent(NoBiasCell, 3, 4, initial_bias={"a": 1}),
            OptionError,
            r"NoBiasCell: initial_bias names 'a'",
        ),
        (
            lambda: Recurrent(nn.LSTMCell, 3, 4),
            OptionError,
            r"Recurrent: cell must be a class of elman\.Cell, got <class",
        ),
        (
            lambda: Recurrent(LSTMCell(3, 4), 3, 4),
            OptionError,
            r"cell must be a class of elman\.Cell, got LSTMCell\(3, 4\)",
        ),
        (lambda: Recurrent("lstm", 3, 4), OptionError, r"cell must be a class of elman\.Cell, got 'lstm'"),
        (
            lambda: LSTM(3, 4)(ones(5, 3)),
            ShapeError,
            r"^LSTM: x must be .*got \(5, 3\)\. For one sequence, pass x\[None\]",
        ),
        (
            lambda: LSTM(3, 4)(ones(2, 5, 4)),
            ShapeError,
            r"input_size=3\), got \(2, 5, 4\)\. Did you pass hidden features\?",
        ),
        (lambda: LSTM(3, 4)(ones(2, 5, 7)), ShapeError, r"input_size=3\), got \(2, 5, 7\)\.$"),
        (lambda: LSTM(3, 4)(ones(2, 0, 3)), ShapeError, r"got \(2, 0, 3\)\. There is no step to do\."),
        (
            lambda: LSTM(3, 4)(ones(*X).double()),
            ShapeError,
            r"got torch\.float64\. Call x\.to\(torch\.float32\), or layer\.to",
        ),
        (lambda: LSTM(3, 4)(ones(*X).long()), ShapeError, r"got torch\.int64\. Call x\.to\(torch\.float32\)\.$"),
        (
            lambda: LSTM(3, 4)(ones(*X), ones(2, 1, 1, 4)),
            ShapeError,
            r"state must be a sequence of states \(h, c\), got one tensor",
        ),
        (
            lambda: LSTM(3, 4)(ones(*X), [ones(2, 1, 1, 4)]),
            ShapeError,
            r"state must be a sequence of states \(h, c\), got 1\.",
        ),
        (lambda: GRU(3, 4)(ones(*X), [ones(1, 1, 1, 4)]), ShapeError, r"^GRU: state h must .* got \(1, 1, 1, 4\)\.$"),
        (lambda: GRU(3, 4, 2)(ones(*X), [ones(2, 1, 1, 4)]), ShapeError, r"= \(2, 2, 1, 4\), got \(2, 1, 1, 4\)\.$"),
        (
            lambda: LSTM(3, 4)(ones(*X), [ones(2, 1, 1, 4), ones(1, 2, 4)]),
            ShapeError,
            r"LSTM: state c must be \(batch, layers, .*\) = \(2, 1, 1, 4\), got \(1, 2, 4\)\. torch\.nn has",
        ),
        (
            lambda: LSTM(3, 4)(ones(*X), [ones(2, 1, 1, 4), ones(2, 1, 1, 4).double()]),
            ShapeError,
            r"LSTM: state c must be of the type of x torch\.float32, got torch\.float64",
        ),
        (
            lambda: LSTM(3, 4)(ones(*X), lengths=ones(2)),
            ShapeError,
            r"lengths must be integers \(batch=2,\), got torch\.float32 \(2,\)",
        ),
        (
            lambda: LSTM(3, 4)(ones(*X), lengths=[1, 2, 3]),
            ShapeError,
            r"lengths must be integers \(batch=2,\), got torch\.int64 \(3,\)",
        ),
        (
            lambda: LSTM(3, 4)(ones(*X), lengths=[True, False]),
            ShapeError,
            r"lengths must be integers .*got torch\.bool",
        ),
        (lambda: LSTM(3, 4)(ones(*X), lengths=[1, 6]), ShapeError, r"lengths must be 0 to time=5, got 1 to 6"),
        (lambda: LSTM(3, 4)(ones(*X), lengths=[-1, 5]), ShapeError, r"lengths must be 0 to time=5, got -1 to 5"),
        (
            lambda: LSTM(3, 4)(ones(*X), reset=ones(2, 5)),
            ShapeError,
            r"reset must be torch\.bool \(batch=2, time=5\), got torch\.float32",
        ),
        (lambda: LSTM(3, 4)(ones(*X), reset=ones(2).bool()), ShapeError, r"reset must be .*got torch\.bool \(2,\)"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
