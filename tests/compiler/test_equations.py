"""The printed equations: as people should see them, and right, read back from the text and compared with autograd."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from differentiated import differentiate
from elman.cells import Cell
from elman.compiler.equations import derive
from elman.compiler.expression import ZERO, add, constant, factored, multiply, operation, opposite, symbol
from elman.compiler.notation import LATEX, TEXT
from elman.compiler.typeset import html_page, latex_document, plain_text
from elman.compiler.unfolding import unfold
from printed import CELLS, Reader, sections, symbols_of


def printed_gradients(cell, x, initial, weights, finals):
    """All gradients by their printed names, computed from the printed text alone."""
    text = plain_text(derive(cell.graph), "cell")
    forward, backward, parameters, inputs = sections(text)
    steps, hidden = len(x), cell.hidden_size
    arrays = {name: part.of(getattr(cell, part.packed)).detach().numpy() for name, part in symbols_of(cell)}
    backwards = {target.removesuffix("ₜ") for target, _ in backward}
    values = {("x", t): x[t - 1] for t in range(1, steps + 1)} | {("∂ℓ", t): w for t, w in enumerate(weights, 1)}
    values |= {(name, 0): value for name, value in initial.items()}

    def at(t):
        def look_up(name, time):
            if not time:
                return arrays[name]
            when = {"ₜ": t, "ₜ₋₁": t - 1, "ₜ₊₁": t + 1, "₀": 0, "₁": 1}[time]
            if when > steps:
                return np.zeros(hidden) if name in backwards else np.full(x.shape[1] if name == "x" else hidden, 0.7)
            return values[name, when]

        return look_up

    for t in range(1, steps + 1):
        for target, expression in forward:
            values[target.removesuffix("ₜ"), t] = Reader(expression, at(t)).all() + np.zeros(hidden)
    for t in range(steps, 0, -1):
        for target, expression in backward:
            name = target.removesuffix("ₜ")
            values[name, t] = Reader(expression, at(t)).all() + np.zeros(hidden)
            if t == steps and name.removeprefix("δ") in finals:
                values[name, t] = values[name, t] + finals[name.removeprefix("δ")]
    every = range(1, steps + 1)
    found = {
        target.removeprefix("∂L/∂"): sum(Reader(expression.removeprefix("Σₜ "), at(t)).all() for t in every)
        for target, expression in parameters
        if expression.startswith("Σₜ ")
    }
    (of_x, expression), *of_states = inputs
    assert of_x == "∂L/∂xₜ"
    found["x"] = np.stack([Reader(expression, at(t)).all() + np.zeros(x.shape[1]) for t in every])
    for target, expression in of_states:
        found[target.removeprefix("∂L/∂").removesuffix("₀")] = Reader(expression, at(0)).all() + np.zeros(hidden)
    return found


def both_ways(cell):
    """Gradients from the text and from autograd."""
    case = differentiate(cell, batch=1, time=4)
    expected = {name: case.gradients[name][0].numpy() for name in ("x", *cell.states)}
    expected |= {name: part.of(case.gradients[part.packed]).numpy() for name, part in symbols_of(case.cell)}
    by_state = {name: w[0].numpy() for name, w in zip(cell.states, case.final, strict=True)}
    start = {name: s[0].numpy() for name, s in zip(cell.states, case.state, strict=True)}
    return printed_gradients(case.cell, case.x[0].numpy(), start, case.outputs[0].numpy(), by_state), expected


PAGE = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "div", "p"}
SVG = {"svg", "path", "circle", "text"}
MATHML_CORE = {"math", "mrow", "mi", "mo", "mn", "mtext", "mspace", "msub", "msup", "mfrac", "msqrt", "munder"}
MATHML_CORE |= {"mtable", "mtr", "mtd"}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_the_text_computes_what_autograd_does(cell):
    found, expected = both_ways(cell)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-10, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_reads_as_people_write(cell):
    for group in sections(plain_text(derive(cell(1, 1).graph), cell.__name__)):
        targets = [target for target, _ in group]
        assert len(set(targets)) == len(targets)
        for target, expression in group:
            odd = re.search(
                r"[+−] [+−]|−−|(?<![\w,.])1 [^\W\d]|⊙ [10](?![.\d])|[+−] 0(?![.\d])|(?<![\w²√])\(\w+\)", expression
            )
            assert not odd, f"{target} = {expression}"


def test_the_reader_can_fail():
    look_up = {("U", ""): np.array([[1.0, 2.0], [3.0, 4.0]]), ("a", "ₜ"): np.array([1.0, -2.0])}
    read = lambda text: Reader(text, lambda *name: look_up[name]).all()  # noqa: E731
    np.testing.assert_array_equal(read("Uᵀ aₜ ⊙ (1 − aₜ²)"), [0.0, 18.0])
    np.testing.assert_array_equal(read("aₜ aₜᵀ"), [[1, -2], [-2, 4]])
    np.testing.assert_array_equal(read("−2 aₜ ⊙ [aₜ > 0] − (3 if aₜ ≤ 0 else max(aₜ, 2)) / 2"), [-3.0, -1.5])
    with pytest.raises(AssertionError):
        read("aₜ )")


LSTM = """
LSTMCell

Forward, t from 1 to T

  iₜ = σ(W_i xₜ + U_i hₜ₋₁ + b_i)
  fₜ = σ(W_f xₜ + U_f hₜ₋₁ + b_f)
  gₜ = tanh(W_g xₜ + U_g hₜ₋₁ + b_g)
  oₜ = σ(W_o xₜ + U_o hₜ₋₁ + b_o)
  cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ
  hₜ = oₜ ⊙ tanh(cₜ)

Backward, t from T to 1

  δhₜ = ∂ℓₜ/∂hₜ + U_iᵀ δiₜ₊₁ + U_fᵀ δfₜ₊₁ + U_gᵀ δgₜ₊₁ + U_oᵀ δoₜ₊₁
  δcₜ = δcₜ₊₁ ⊙ fₜ₊₁ + δhₜ ⊙ oₜ ⊙ (1 − tanh²(cₜ))
  δiₜ = δcₜ ⊙ gₜ ⊙ iₜ ⊙ (1 − iₜ)
  δfₜ = δcₜ ⊙ cₜ₋₁ ⊙ fₜ ⊙ (1 − fₜ)
  δgₜ = δcₜ ⊙ iₜ ⊙ (1 − gₜ²)
  δoₜ = δhₜ ⊙ tanh(cₜ) ⊙ oₜ ⊙ (1 − oₜ)

Gradients of the weights

  ∂L/∂W_i = Σₜ δiₜ xₜᵀ
  ∂L/∂U_i = Σₜ δiₜ hₜ₋₁ᵀ
  ∂L/∂b_i = Σₜ δiₜ
"""

GRU = """
Forward, t from 1 to T

    rₜ = σ(W_r xₜ + U_r hₜ₋₁ + b_r)
    zₜ = σ(W_z xₜ + U_z hₜ₋₁ + b_z)
  n_hₜ = U_n_h hₜ₋₁ + b_n_h
    nₜ = tanh(W_n_x xₜ + rₜ ⊙ n_hₜ + b_n_x)
    hₜ = (1 − zₜ) ⊙ nₜ + zₜ ⊙ hₜ₋₁

Backward, t from T to 1

    δhₜ = ∂ℓₜ/∂hₜ + δhₜ₊₁ ⊙ zₜ₊₁ + U_rᵀ δrₜ₊₁ + U_zᵀ δzₜ₊₁ + U_n_hᵀ δn_hₜ₊₁
  δn_xₜ = δhₜ ⊙ (1 − zₜ) ⊙ (1 − nₜ²)
    δrₜ = δn_xₜ ⊙ n_hₜ ⊙ rₜ ⊙ (1 − rₜ)
    δzₜ = δhₜ ⊙ (hₜ₋₁ − nₜ) ⊙ zₜ ⊙ (1 − zₜ)
  δn_hₜ = δn_xₜ ⊙ rₜ
"""


def test_the_lstm_reads_as_in_a_textbook():
    text = plain_text(derive(Cell.registry["lstm"](1, 1).graph), "LSTMCell")
    assert text.startswith(LSTM.lstrip())
    assert "  ∂L/∂xₜ = W_iᵀ δiₜ + W_fᵀ δfₜ + W_gᵀ δgₜ + W_oᵀ δoₜ\n" in text
    assert "  ∂L/∂c₀ = δc₁ ⊙ f₁\n" in text


def test_the_gru_reads_as_in_a_textbook():
    assert GRU in plain_text(derive(Cell.registry["gru"](1, 1).graph), "GRUCell")


def test_a_value_that_two_products_read_gets_a_letter():
    text = plain_text(derive(Cell.registry["gru-reset-before"](1, 1).graph), "")
    assert " αₜ = rₜ ⊙ hₜ₋₁\n" in text
    assert " δαₜ = U_nᵀ δnₜ\n" in text
    assert "∂L/∂U_n = Σₜ δnₜ αₜᵀ\n" in text


@pytest.mark.parametrize(
    ("value", "text", "latex"),
    [
        (0.1 + 0.2, "0.3", "0.3"),
        (1 - 0.9, "0.1", "0.1"),
        (2.0, "2", "2"),
        (1e-8, "1 × 10⁻⁸", r"1 \times 10^{-8}"),
        (-2.5e15, "−2.5 × 10¹⁵", r"-2.5 \times 10^{15}"),
        (-0.0, "0", "0"),
    ],
)
def test_numbers(value, text, latex):
    assert TEXT.expression(constant(value)) == text
    assert LATEX.expression(constant(value)) == latex


A, B, C = (symbol(name, "t") for name in "abc")


@pytest.mark.parametrize(
    ("built", "text"),
    [
        (add(A, ZERO, multiply(constant(1.0), B)), "aₜ + bₜ"),
        (add(A, operation("negate", add(B, operation("negate", C)))), "aₜ − bₜ + cₜ"),
        (add(A, B, A), "2 aₜ + bₜ"),
        (multiply(constant(-2.0), A, B, constant(0.5), A), "−aₜ² ⊙ bₜ"),
        (multiply(A, ZERO), "0"),
        (multiply(A, operation("divide", B, C), operation("divide", constant(4.0), C)), "4 aₜ ⊙ bₜ / cₜ²"),
        (operation("divide", A, operation("negate", constant(3.0))), "−aₜ / 3"),
        (operation("divide", A, add(B, C)), "aₜ / (bₜ + cₜ)"),
        (operation("divide", A, multiply(B, C)), "aₜ / (bₜ ⊙ cₜ)"),
        (operation("negate", add(A, B)), "−(aₜ + bₜ)"),
        (multiply(add(A, B), operation("power", add(A, B), C)), "(aₜ + bₜ) ⊙ (aₜ + bₜ)^cₜ"),
        (operation("power", operation("tanh", A), constant(2.0)), "tanh²(aₜ)"),
        (operation("matrix", symbol("U"), multiply(A, B)), "U (aₜ ⊙ bₜ)"),
        (operation("less", constant(0.5), A), "aₜ > 0.5"),
        (opposite(operation("less", A, B)), "aₜ ≥ bₜ"),
        (factored(add(operation("negate", multiply(A, B)), multiply(A, C))), "aₜ ⊙ (cₜ − bₜ)"),
        (factored(add(A, multiply(A, C))), "aₜ ⊙ (1 + cₜ)"),
        (factored(add(A, C)), "aₜ + cₜ"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_expressions_simplify_as_they_are_built(built, text):
    assert TEXT.expression(built) == text


@pytest.mark.parametrize("document", [derive, unfold])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_html_is_one_page_without_anything_from_outside(cell, document):
    page = html_page(document(cell(1, 1).graph), "<b>&")
    closed = re.sub(r"(<meta [^>]*)>", r"\1/>", page.removeprefix("<!DOCTYPE html>"))
    root = ElementTree.fromstring(closed)
    assert {element.tag for element in root.iter()} <= PAGE | SVG | MATHML_CORE
    assert root.find("body/h1").text == "<b>&"
    assert not re.search(r"https?:|src=|href=|@|url\(", page)


@pytest.mark.parametrize("document", [derive, unfold])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_latex_is_ascii_and_balanced(cell, document):
    written = latex_document(document(cell(1, 1).graph), cell.__name__)
    assert written.isascii()
    assert written.count("{") == written.count("}")
    assert written.count(r"\begin{") == written.count(r"\end{")
    assert len(re.findall(r"\\left\b", written)) == len(re.findall(r"\\right\b", written))
    assert not re.search(r"\^\{[^{}]*\}\^|_\{[^{}]*\}_\{", written)  # a double power does not compile


def test_latex_of_names():
    delta, long, weight = symbol("δn_h", "t+1"), symbol("before", "t−1"), symbol("U′_n_h,2")
    assert LATEX.expression(delta) == r"\delta n_{h,t+1}"
    assert LATEX.expression(long) == r"\mathrm{before}_{t-1}"
    assert LATEX.expression(operation("transpose", weight)) == r"{U'}_{n_{h},2}^{\top}"
    assert LATEX.expression(symbol("α", "0")) == r"\alpha_{0}"
