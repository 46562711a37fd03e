"""`Cell`: declaration, packed parameters, their names, initial values, one step, errors."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from elman.cells import Affine, Cell, Diagonal, LSTMCell, PeepholeLSTMCell, RNNCell
from elman.cells.words import tanh
from elman.errors import ElmanError, OptionError, ShapeError, TraceError
from handwritten import (
    AutonomousCell,
    ExtendedLSTMCell,
    IndependentCell,
    NoBiasCell,
    ScatteredBlocksCell,
    SomeBiasesCell,
    TwoStatesCell,
)
from oracles import oracle_of

D, H = 2, 3
#: Packed shapes for input 2 and hidden 3, and the gates of each packed parameter in the order of their blocks.
LAYOUT = {
    "rnn": {"weight_x": ((H, D), "n"), "weight_h": ((H, H), "n"), "bias": ((H,), "n")},
    "rnn-relu": {"weight_x": ((H, D), "n"), "weight_h": ((H, H), "n"), "bias": ((H,), "n")},
    "lstm": {"weight_x": ((4 * H, D), "i f g o"), "weight_h": ((4 * H, H), "i f g o"), "bias": ((4 * H,), "i f g o")},
    "peephole": {
        "weight_x": ((4 * H, D), "i f g o"),
        "weight_h": ((4 * H, H), "i f g o"),
        "bias": ((4 * H,), "i f g o"),
        "diagonal": ((3, H), "p_i p_f p_o"),
    },
    "coupled": {"weight_x": ((3 * H, D), "f g o"), "weight_h": ((3 * H, H), "f g o"), "bias": ((3 * H,), "f g o")},
    "gru": {
        "weight_x": ((3 * H, D), "r z n_x"),
        "weight_h": ((3 * H, H), "r z n_h"),
        "bias": ((4 * H,), "r z n_x n_h"),
    },
    "gru-reset-before": {
        "weight_x": ((3 * H, D), "r z n"),
        "weight_h": ((3 * H, H), "r z n"),
        "bias": ((3 * H,), "r z n"),
    },
}
#: The same for cells of users.
OWN_LAYOUT = {
    TwoStatesCell: {"weight_x": ((2 * H, D), "g m"), "weight_h": ((4 * H, H), "g g m m"), "bias": ((2 * H,), "g m")},
    ScatteredBlocksCell: {
        "weight_x": ((5 * H, D), "a b d e m"),
        "weight_h": ((5 * H, H), "a b d k m"),
        "bias": ((6 * H,), "a b d e k m"),
    },
    SomeBiasesCell: {"weight_x": ((2 * H, D), "a b"), "weight_h": ((3 * H, H), "a b d"), "bias": ((H,), "b")},
    NoBiasCell: {"weight_x": ((H, D), "a"), "weight_h": ((H, H), "a")},
    AutonomousCell: {"weight_h": ((H, H), "a"), "bias": ((H,), "a")},
    IndependentCell: {"weight_x": ((H, D), "a"), "bias": ((H,), "a"), "diagonal": ((1, H), "u")},
    ExtendedLSTMCell: {
        "weight_x": ((4 * H, D), "i f g o"),
        "weight_h": ((4 * H, H), "i g o r"),
        "bias": ((5 * H,), "i f g o r"),
    },
}
LAYOUTS = {**{Cell.registry.get(name): layout for name, layout in LAYOUT.items()}, **OWN_LAYOUT}


def cell_of(body=None, /, **declared):
    """Make a cell class with the state h and this step."""
    return type("Mine", (Cell,), {"states": ("h",), **({"step": body} if body else {}), **declared})


def test_every_registered_cell_is_pinned_and_has_an_oracle():
    assert set(Cell.registry) == set(LAYOUT)
    for name in Cell.registry:
        assert callable(oracle_of(name))


@pytest.mark.parametrize("cell", LAYOUTS, ids=lambda cell: cell.__name__)
def test_layout(cell):
    one = cell(D, H)
    assert {name: tuple(p.shape) for name, p in one.named_parameters()} == {
        name: shape for name, (shape, _) in LAYOUTS[cell].items()
    }
    for name, (shape, gates) in LAYOUTS[cell].items():
        parts = [part for part in one.gate_parameters if part.packed == name]
        assert [part.gate for part in parts] == gates.split()
        size = 1 if name == "diagonal" else H
        assert [part.rows for part in parts] == [slice(k, k + size) for k in range(0, shape[0], size)]


def test_names_of_gate_parameters():
    names = [name for name, _, _ in TwoStatesCell(D, H).named_gate_parameters()]
    assert names == [
        *("g/weight_x", "m/weight_x"),
        *("g/weight_h_1", "g/weight_h_2", "m/weight_h_1", "m/weight_h_2"),
        *("g/bias", "m/bias"),
    ]
    assert [n for n, _, _ in PeepholeLSTMCell(D, H).named_gate_parameters()][-4:] == ["o/bias", "p_i", "p_f", "p_o"]


def test_gate_parameters_are_the_blocks_with_their_gradients():
    cell = PeepholeLSTMCell(D, H)
    before = {name: gradient for name, _, gradient in cell.named_gate_parameters()}
    assert set(before.values()) == {None}
    for parameter in cell.parameters():
        parameter.grad = torch.arange(parameter.numel()).float().reshape(parameter.shape)
    parts = {name: (value, gradient) for name, value, gradient in cell.named_gate_parameters()}
    assert parts["f/weight_h"][0].equal(cell.weight_h[3:6])
    assert parts["f/weight_h"][1].equal(cell.weight_h.grad[3:6])
    assert parts["p_o"][1].tolist() == [6.0, 7.0, 8.0]
    assert cell.f.weight_x.equal(cell.weight_x[3:6])
    assert cell.g.weights_h[0].equal(cell.weight_h[6:9])
    assert cell.o.bias.equal(cell.bias[9:12])
    assert cell.p_f.weight.equal(cell.diagonal[1])


def test_gates_without_a_part_say_none():
    assert AutonomousCell(D, H).a.weight_x is None
    assert NoBiasCell(D, H).a.bias is None
    assert IndependentCell(D, H).a.weights_h == ()
    first, second = TwoStatesCell(D, H).m.weights_h
    assert first.shape == second.shape == (H, H)
    assert not first.equal(second)


def test_gates_of_the_class_are_their_declaration():
    assert LSTMCell.f.bias == 1.0
    assert isinstance(PeepholeLSTMCell.p_i, Diagonal)
    assert list(LSTMCell.gates) == ["i", "f", "g", "o"]


def test_initial_values():
    torch.manual_seed(0)
    cell = PeepholeLSTMCell(40, 50)
    values = {name: value.detach() for name, value, _ in cell.named_gate_parameters()}
    for gate in "ifgo":
        bound = (6 / 90) ** 0.5  # Glorot uniform of one block, not of all four
        assert 0.97 * bound < values[f"{gate}/weight_x"].abs().max() <= bound
        assert values[f"{gate}/weight_x"].std() == pytest.approx(bound / 3**0.5, rel=0.05)
        square = values[f"{gate}/weight_h"] @ values[f"{gate}/weight_h"].T
        torch.testing.assert_close(square, torch.eye(50), atol=1e-5, rtol=0)
        assert set(values[f"{gate}/bias"].tolist()) == {1.0 if gate == "f" else 0.0}
        if gate != "g":
            assert 0.8 * 50**-0.5 < values[f"p_{gate}"].abs().max() <= 50**-0.5
    assert not values["i/weight_h"].equal(values["g/weight_h"])


def test_initial_bias_replaces_the_declared_one():
    cell = LSTMCell(D, H, initial_bias={"f": 3.0, "o": -1})
    assert cell.bias.tolist() == [0.0] * 3 + [3.0] * 3 + [0.0] * 3 + [-1.0] * 3
    with torch.no_grad():
        cell.bias.fill_(9.0)
    cell.reset_parameters()
    assert cell.f.bias.tolist() == [3.0] * 3
    assert ExtendedLSTMCell(D, H).f.bias.tolist() == [-2.0] * 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_initial_values_in_every_type(dtype):
    cell = LSTMCell(D, 8, dtype=dtype)
    u = cell.f.weights_h[0].detach().double()
    torch.testing.assert_close(u @ u.T, torch.eye(8).double(), atol=4 * torch.finfo(dtype).eps, rtol=0)
    assert {p.dtype for p in cell.parameters()} == {dtype}


def test_equal_seeds_give_equal_weights():
    torch.manual_seed(5)
    one = LSTMCell(D, H)
    torch.manual_seed(5)
    other = LSTMCell(D, H)
    assert all(a.equal(b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_equal_equations_make_equal_graphs():
    assert LSTMCell(D, H).graph == LSTMCell(7, 9).graph
    assert hash(LSTMCell(D, H).graph) == hash(LSTMCell(D, H).graph)
    assert LSTMCell(D, H).graph != PeepholeLSTMCell(D, H).graph


def test_state_is_a_named_tuple_that_pickles():
    state = LSTMCell(D, H)(torch.ones(2, D))
    assert state._fields == ("h", "c")
    assert state.h is state[0]
    again = pickle.loads(pickle.dumps(LSTMCell.State(1, 2)))  # noqa: S301  ours
    assert type(again) is LSTMCell.State
    assert again == (1, 2)


def test_copies_share_nothing():
    cell = LSTMCell(D, H)
    again = copy.deepcopy(cell)
    with torch.no_grad():
        again.weight_x.zero_()
    assert not again.f.weight_x.any()
    assert cell.f.weight_x.all()


def test_repr_says_the_sizes():
    assert repr(LSTMCell(D, H)) == "LSTMCell(2, 3)"


def test_a_state_may_be_any_sequence():
    cell = LSTMCell(D, H)
    x, h, c = torch.randn(4, D), torch.randn(4, H), torch.randn(4, H)
    by_tuple, by_list = cell(x, (h, c)), cell(x, [h, c])
    assert all(a.equal(b) for a, b in zip(by_tuple, by_list, strict=True))


def test_autocast_takes_other_types():
    cell = RNNCell(D, H)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = cell(torch.ones(4, D, dtype=torch.bfloat16)).h
    torch.testing.assert_close(out.float(), cell(torch.ones(4, D)).h, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LSTMCell(0, 3), OptionError, r"LSTMCell: input_size must be a positive int, got 0\."),
        (lambda: LSTMCell(2, 3.0), OptionError, r"LSTMCell: hidden_size must be a positive int, got 3\.0\."),
        (lambda: LSTMCell(True, 3), OptionError, r"input_size must be a positive int, got True"),
        (
            lambda: LSTMCell(2, 3, initial_bias={"forget": 1.0}),
            OptionError,
            r"LSTMCell: initial_bias names 'forget', which is no gate with a bias\. Known: f, g, i, o\.",
        ),
        (lambda: LSTMCell(2, 3, initial_bias={"oo": 1.0}), OptionError, r"'oo'.* Did you mean 'o'\?"),
        (lambda: NoBiasCell(2, 3, initial_bias={"a": 1.0}), OptionError, "'a', which is no gate with a bias"),
        (lambda: LSTMCell(2, 3)(torch.ones(4)), ShapeError, r"LSTMCell: x must be \(batch, input_size=2\), got \(4,\)"),
        (
            lambda: LSTMCell(2, 3)(torch.ones(4, 2), [torch.ones(4, 3)]),
            ShapeError,
            r"LSTMCell: state \('h', 'c'\) must be 2 of \(batch=4, hidden_size=3\), got \(4, 3\)\.",
        ),
        (
            lambda: LSTMCell(2, 3)(torch.ones(4, 2), [torch.ones(4, 3), torch.ones(4, 3).double()]),
            ShapeError,
            r"LSTMCell: state c must be of the weights' type torch.float32, got torch.float64",
        ),
        (lambda: LSTMCell(2, 3).f(1.0), TraceError, "the gate f must be called with x, states or values of the step"),
        (lambda: Cell(2, 3), TraceError, "Cell: step is missing"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def step(self, x, h):
    return tanh(self.a(x, h))


@pytest.mark.parametrize(
    "name",
    [
        *("half", "float", "type", "train", "to", "T_destination", "training", "bias"),
        *("weight_x", "name", "hidden_size", "initial_bias", "gates", "State", "registry", "graph"),
        *("diagonal", "x", "states", "gate_parameters", "forward", "_parameters"),
    ],
)
def test_names_that_modules_use(name):
    with pytest.raises(TraceError, match=f"^Mine: {name} is a name that modules use themselves"):
        cell_of(step, **{"a": Affine(), name: Affine()})


@pytest.mark.parametrize("name", ["i", "forget", "n_x", "p_i", "Wx", "input_gate"])
def test_names_that_are_free(name):
    cell = cell_of(lambda self, x, h: tanh(getattr(self, name)(x, h)), **{name: Affine()})
    assert list(cell.gates) == [name]


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ((), r'Mine.states must be a tuple of names such as \("h",\), got \(\)'),
        ("h", r"Mine.states must be a tuple of names .*, got 'h'"),
        (["h"], r"Mine.states must be a tuple"),
        (("h", "h"), r"Mine.states must be a tuple of names .*, got \('h', 'h'\)"),
        (("x",), r"Mine: a state's name must be a name that no gate has, and not x, got 'x'"),
        (("a",), r"a name that no gate has, and not x, got 'a'"),
        (("_h",), r"a state's name .*got '_h'"),
        (("h 1",), r"a state's name .*got 'h 1'"),
        ((1,), r"a state's name .*got 1"),
        (("h", "c"), r"Mine.step must be \(self, x, h, c\), one argument a state, got \(self, x, h\)"),
        (("c",), r"Mine.step must be \(self, x, c\), one argument a state, got \(self, x, h\)"),
    ],
)
def test_wrong_states(states, message):
    with pytest.raises(TraceError, match=message):
        cell_of(step, a=Affine(), states=states)


def test_two_cells_of_one_name():
    with pytest.raises(OptionError, match=r"^Other: a cell named 'lstm' exists: LSTMCell"):
        type("Other", (RNNCell,), {}, name="lstm")
    assert Cell.registry["lstm"] is LSTMCell


def test_a_subclass_has_no_name_of_its_base():
    assert ExtendedLSTMCell.name is None
    assert LSTMCell.name == "lstm"
    assert ExtendedLSTMCell not in Cell.registry.values()


def test_errors_of_a_step_come_when_the_cell_is_made():
    cell = cell_of(lambda self, x, h: torch.tanh(self.a(x, h)), a=Affine())
    with pytest.raises(ElmanError, match=r"Mine: step calls the torch function tanh \(test_cell.py:\d+.*\)"):
        cell(2, 3)


def test_a_cell_without_weights():
    with pytest.raises(TraceError, match=r"Bare has no weights\. Declare a gate, a = Affine\(\)"):

        class Bare(Cell):
            states = ("h",)

            def step(self, x, h):
                return h * 0.5


def test_a_step_that_reads_weights():
    class Reader(Cell):
        states = ("h",)
        a = Affine()

        def step(self, x, h):
            return self.a(x, h) + self.a.bias

    with pytest.raises(TraceError, match=r"Reader: step reads the weights of a\. Call it instead"):
        Reader(2, 3)


def test_weights_do_not_depend_on_the_threads():
    """128 is a size at which the QR decomposition of several threads has other bits."""
    drawn = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        drawn.append(LSTMCell(3, 128).weight_h.detach())
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert torch.equal(*drawn)


def test_a_notebook_shows_the_equations():
    latex = LSTMCell(2, 3)._repr_latex_()
    assert latex.startswith(r"\begin{align")
    assert r"\sigma" in latex
    assert latex.count("&=") + latex.count("&= ") >= 6
