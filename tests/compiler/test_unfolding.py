"""The unfolded derivation: each term of each sum, computed from the printed text, is autograd's of that loss alone."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
import torch

from elman.cells import Affine, Cell
from elman.cells.words import tanh
from elman.compiler.typeset import html_page, latex_document, plain_text
from elman.compiler.unfolding import unfold
from elman.errors import OptionError
from printed import CELLS, Reader, sections, symbols_of

STEPS, HIDDEN = 4, 5
DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
TIME = "(ₜ₋₁|ₜ₊₁|ₜ|[₀-₉])"
FACTOR = re.compile(rf"([d∂])(\w+?){TIME}?/\1(\w+?){TIME}")


def when(time, t):
    return {"ₜ": t, "ₜ₋₁": t - 1, "ₜ₊₁": t + 1}.get(time) if time.startswith("ₜ") else int(time.translate(DIGITS))


class Printed:
    """What the text of a cell says, computed step by step with NumPy."""

    def __init__(self, cell, x, initial, weights, steps=STEPS):
        text = plain_text(unfold(cell.graph, steps), "cell")
        drawing, loss, self.forward, self.jacobians, self.recursion, *by_step, self.gates, self.parameters = sections(
            text.split("\n\n", 1)[1].partition("∂a/∂b")[0]
        )
        self.drawn, self.loss = drawing, loss
        self.by_step = dict(zip(range(steps, 0, -1), by_step, strict=True))
        self.steps, self.weights = steps, weights
        self.arrays = {name: part.of(getattr(cell, part.packed)).detach().numpy() for name, part in symbols_of(cell)}
        self.arrays["I"] = np.eye(HIDDEN)
        self.values = {("x", t): x[t - 1] for t in range(1, steps + 1)} | {(n, 0): s for n, s in initial.items()}
        self.between = {}
        self.paths = {}

    def read(self, expression, t):
        return Reader(expression, lambda name, time: self.look_up(name, time, t)).all()

    def look_up(self, name, time, t):
        return self.values[name, when(time, t)] if time else self.arrays[name]

    def run_forward(self):
        for t in range(1, self.steps + 1):
            for target, expression in self.forward:
                self.values[target.removesuffix("ₜ"), t] = self.read(expression, t) + np.zeros(HIDDEN)
            for target, expression in self.jacobians:
                sign, of, at, by, before = FACTOR.fullmatch(target).groups()
                assert (sign, at) == ("∂", "ₜ")
                self.between[(of, t), (by, when(before, t))] = self.read(expression, t)

    def factor(self, factor, known, t=0):
        """A derivative by its name: printed above, the loss's own, or a Jacobian."""
        sign, of, of_time, by, by_time = FACTOR.fullmatch(factor).groups()
        of_time, by_time = of_time and when(of_time, t), when(by_time, t)
        if sign == "d":
            return known.get((of, of_time, by, by_time), np.zeros((1, HIDDEN)))
        if of == "ℓ":
            return self.weights[of_time - 1][None]
        return self.between.get(((of, of_time), (by, by_time)), np.zeros((HIDDEN, HIDDEN)))

    def product(self, term, known, t=0):
        return np.linalg.multi_dot([np.eye(1), *(self.factor(factor, known, t) for factor in term.split(" · "))])

    def by_recursion(self):
        known = {}
        for t in range(self.steps, 0, -1):
            for target, expression in self.recursion:
                _, of, _, by, _ = FACTOR.fullmatch(target).groups()
                terms = [] if expression == "0" else expression.split(" + ")
                known[of, None, by, t] = sum((self.product(e, known, t) for e in terms), np.zeros((1, HIDDEN)))
        return known

    def by_paths(self):
        known = {}
        for t, equations in self.by_step.items():
            later = {key: value for key, value in known.items() if key[1] is not None}
            totals = [(target, expression) for target, expression in equations if target.startswith("dL")]
            for target, expression in equations:
                if target.startswith("dL"):
                    continue
                _, of, loss, by, at = FACTOR.fullmatch(target).groups()
                key = (of, when(loss, t), by, when(at, t))
                terms = [re.split(" {4,}", term) for term in expression.split("+ ")]
                later[key] = known[key] = sum(self.product(product.strip(), later) for product, _ in terms)
                self.paths[key] = [(product.strip(), path.strip().split(" → ")) for product, path in terms]
            for target, expression in totals:
                _, of, _, by, _ = FACTOR.fullmatch(target).groups()
                terms = [] if expression == "0" else expression.split(" + ")
                known[of, None, by, t] = sum((self.product(e, known) for e in terms), np.zeros((1, HIDDEN)))
        return known

    def weights_by_name(self, known):
        for t in range(1, self.steps + 1):
            for target, expression in self.gates:
                if match := re.fullmatch(r"\(dL/d(\w+)ₜ\)ᵀ", expression):
                    self.values[target.removesuffix("ₜ"), t] = known["L", None, match[1], t][0]
                else:
                    self.values[target.removesuffix("ₜ"), t] = self.read(expression, t) + np.zeros(HIDDEN)
        return {target.removeprefix("∂L/∂"): self.read(expression, 0) for target, expression in self.parameters}


class Run:
    """The same cell run by its own steps and differentiated by torch, loss by loss."""

    def __init__(self, cell):
        self.cell = cell(4, HIDDEN, dtype=torch.float64)
        for parameter in self.cell.parameters():
            torch.nn.init.uniform_(parameter, -0.7, 0.7)
        self.x = torch.randn(STEPS, 1, 4, dtype=torch.float64)
        states = [torch.rand(1, HIDDEN, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_() for _ in cell.states]
        self.nodes = {(name, 0): state for name, state in zip(cell.states, states, strict=True)}
        self.weights = torch.randn(STEPS, HIDDEN, dtype=torch.float64)
        for t in range(1, STEPS + 1):
            new = []
            for state in self.cell(self.x[t - 1], states):
                own = all(state is not other for other in [*new, *states])
                new.append(state if own else state.clone())  # a second name of a value has a gradient of its own
            states = new
            self.nodes |= {(name, t): state for name, state in zip(cell.states, states, strict=True)}
        self.losses = {t: (self.nodes[cell.states[0], t][0] * self.weights[t - 1]).sum() for t in range(1, STEPS + 1)}

    def gradient(self, loss, of):
        if not loss.requires_grad:
            return np.zeros(of.shape)
        (found,) = torch.autograd.grad(loss, of, retain_graph=True, materialize_grads=True)
        return found.numpy()

    def printed(self):
        initial = {name: state[0].detach().numpy() for (name, t), state in self.nodes.items() if t == 0}
        return Printed(self.cell, self.x[:, 0].numpy(), initial, self.weights.numpy())


def same(found, expected, name):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11, err_msg=str(name))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_every_term_is_the_gradient_of_that_loss_alone(cell):
    run = Run(cell)
    printed = run.printed()
    printed.run_forward()
    for (name, t), state in run.nodes.items():
        same(printed.values[name, t], state[0].detach(), (name, t))
    by_paths, by_recursion = printed.by_paths(), printed.by_recursion()
    total = sum(run.losses.values())
    for (name, t), state in run.nodes.items():
        for s, loss in run.losses.items():
            if t:
                found = by_paths.get(("ℓ", s, name, t), np.zeros((1, HIDDEN)))
                same(found, run.gradient(loss, state), f"dℓ{s}/d{name}{t}")
        if t:
            same(by_paths["L", None, name, t], run.gradient(total, state), f"dL/d{name}{t}")
            same(by_recursion["L", None, name, t], run.gradient(total, state), f"dL/d{name}{t} by the recursion")
    weights = printed.weights_by_name(by_paths)
    parts = dict(symbols_of(run.cell))
    assert weights.keys() == parts.keys()
    for name, part in parts.items():
        packed = getattr(run.cell, part.packed)
        same(weights[name], part.of(torch.from_numpy(run.gradient(total, packed))), name)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_paths_are_those_of_the_products_and_all_there_are(cell):
    """Counted by multiplying what reads what."""
    run = Run(cell)
    printed = run.printed()
    printed.run_forward()
    printed.by_paths()
    names = list(cell.states)
    zero = np.zeros((len(names), len(names)), dtype=int)
    here, back = zero.copy(), zero.copy()
    for (of, t), (by, before) in printed.between:
        (here if before == t else back)[names.index(of), names.index(by)] = 1
    inside = sum(np.linalg.matrix_power(here, k) for k in range(len(names)))
    for (_, s, name, t), terms in printed.paths.items():
        expected = (inside @ np.linalg.matrix_power(back @ inside, s - t))[0, names.index(name)]
        assert (len(terms) == expected) == (expected <= 5 or all("1 path" in path for _, path in terms))
        total = 0
        for product, path in terms:
            if path[1].endswith(("path", "paths")):
                total += int(path[1].split()[0])
                assert product == f"d{path[0]}/d{path[2]} · ∂{path[2]}/∂{path[3]}"
            else:
                total += 1
                assert product == " · ".join(f"∂{a}/∂{b}" for a, b in pairwise(path))
        assert total == expected
        assert len({tuple(path) for _, path in terms}) == len(terms)


LSTM = """
Jacobians between the states of a step

  ∂hₜ/∂hₜ₋₁ = diag(tanh(cₜ) ⊙ oₜ ⊙ (1 − oₜ)) U_o
    ∂hₜ/∂cₜ = diag(oₜ ⊙ (1 − tanh²(cₜ)))
  ∂cₜ/∂hₜ₋₁ = diag(gₜ ⊙ iₜ ⊙ (1 − iₜ)) U_i + diag(cₜ₋₁ ⊙ fₜ ⊙ (1 − fₜ)) U_f
              + diag(iₜ ⊙ (1 − gₜ²)) U_g
  ∂cₜ/∂cₜ₋₁ = diag(fₜ)

The chain rule, t from 2 to 1

  dL/dhₜ = ∂ℓₜ/∂hₜ + dL/dhₜ₊₁ · ∂hₜ₊₁/∂hₜ + dL/dcₜ₊₁ · ∂cₜ₊₁/∂hₜ
  dL/dcₜ = dL/dhₜ · ∂hₜ/∂cₜ + dL/dcₜ₊₁ · ∂cₜ₊₁/∂cₜ

Step 2, by losses and paths

   dL/dh₂ = dℓ₂/dh₂
  dℓ₂/dh₂ = ∂ℓ₂/∂h₂              ℓ₂ → h₂
   dL/dc₂ = dℓ₂/dc₂
  dℓ₂/dc₂ = ∂ℓ₂/∂h₂ · ∂h₂/∂c₂    ℓ₂ → h₂ → c₂

Step 1, by losses and paths

   dL/dh₁ = dℓ₁/dh₁ + dℓ₂/dh₁
  dℓ₁/dh₁ = ∂ℓ₁/∂h₁                                    ℓ₁ → h₁
  dℓ₂/dh₁ = ∂ℓ₂/∂h₂ · ∂h₂/∂h₁                          ℓ₂ → h₂ → h₁
            + ∂ℓ₂/∂h₂ · ∂h₂/∂c₂ · ∂c₂/∂h₁              ℓ₂ → h₂ → c₂ → h₁
"""


def test_the_lstm_tells_the_paths_through_c_and_h_apart():
    text = plain_text(unfold(Cell.registry["lstm"](1, 1).graph, 2), "LSTMCell")
    assert LSTM in text
    assert "\n  ∂L/∂U_f = δf₁ h₀ᵀ + δf₂ h₁ᵀ\n" in text


def test_many_paths_are_counted_by_the_last_state():
    text = plain_text(unfold(Cell.registry["lstm"](1, 1).graph, 3), "LSTMCell")
    assert re.search(r"dℓ₃/dc₁ = dℓ₃/dh₁ · ∂h₁/∂c₁ +ℓ₃ → 5 paths → h₁ → c₁\n +\+ dℓ₃/dc₂ · ∂c₂/∂c₁ +ℓ₃ → 3 paths", text)
    assert "stands for all that lead from the loss" in text
    assert "stands for all that lead" not in plain_text(unfold(Cell.registry["rnn"](1, 1).graph, 9), "")


def test_long_sums_and_identities():
    class LeakyCell(Cell):
        states = ("h", "unread")
        a, I = Affine(), Affine(bias=None)  # noqa: E741

        def step(self, x, h, unread):
            return 0.5 * h - 0.25 * tanh(self.a(x, h)) - self.I(h), h

    text = plain_text(unfold(LeakyCell(1, 1).graph, 2), "")
    assert "  ∂hₜ/∂hₜ₋₁ = 0.5 I′ − 0.25 diag(1 − aₜ²) U_a − U_I\n" in text
    assert "\n  ∂unreadₜ/∂hₜ₋₁ = I′\n" in text
    assert "\n  dL/dunreadₜ = 0\n" in text


def test_drawings():
    unfolding = unfold(Cell.registry["lstm"](1, 1).graph, 2)
    assert unfolding.drawing.reads == (("h", "h", 1), ("h", "c", 0), ("c", "h", 1), ("c", "c", 1))
    page = html_page(unfolding, "")
    assert page.count("<circle") == 6
    assert page.count("<path class='line'") == 2 * (4 + 1)
    assert re.findall("<text[^>]*>(.*?)<", page) == ["h₀", "c₀", "h₁", "c₁", "ℓ₁", "h₂", "c₂", "ℓ₂"]
    assert "  c_{0} & \\longrightarrow & c_{1} & \\longrightarrow & c_{2} \\\\\n" in latex_document(unfolding, "")


@pytest.mark.parametrize("steps", [1, 10, -1])
def test_refusals(steps):
    with pytest.raises(OptionError, match=rf"the number of steps to unfold must be 2 to 9, got {steps}\."):
        unfold(Cell.registry["rnn"](1, 1).graph, steps)
