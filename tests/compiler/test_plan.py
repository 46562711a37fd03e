"""Plans of cells: some as they are, and what holds for every one, also of cells made at random."""

from __future__ import annotations

import pytest

from backends.llvm.own_cells import OWN_CELLS, random_cell
from differentiated import EveryOperationCell, TieCell
from elman.cells import Cell, GRUCell, LSTMCell, ResetBeforeGRUCell
from elman.compiler.plan import plan
from handwritten import HANDWRITTEN, ComputedOperandsCell, DelayCell, ExtendedLSTMCell, TwinCell

CELLS = [*Cell.registry.values(), *HANDWRITTEN, EveryOperationCell, TieCell, *OWN_CELLS, *map(random_cell, range(30))]

every_cell = pytest.mark.parametrize("kind", CELLS, ids=lambda cell: cell.__name__)


def planned(kind):
    return plan(kind(2, 3).graph)


def named(found):
    """A plan in words: for each phase its products, and what becomes ready."""
    graph = found.graph

    def name(k):
        return graph.nodes[k].name or graph.nodes[k].op

    def products(phase):
        return [f"{name(product.operand)}: {' '.join(product.gates)}" for product in phase.products]

    forward = [
        (products(phase), [graph.states[s] for s in phase.states], [name(k) for k in phase.operands])
        for phase in found.forward
    ]
    backward = [
        (products(phase), [graph.states[s] for s in phase.states], [graph.gates[g] for g in phase.gates])
        for phase in found.backward
    ]
    return forward, backward, [name(k) for k in found.kept]


PINNED = {
    LSTMCell: (
        [(["x: i f g o", "h: i f g o"], ["h", "c"], [])],
        [([], ["c"], ["i", "f", "g", "o"]), (["h: i f g o"], ["h"], [])],
        ["sigmoid", "sigmoid", "sigmoid", "tanh"],
    ),
    GRUCell: (
        [(["x: r z n_x", "h: r z n_h"], ["h"], [])],
        [([], [], ["r", "z", "n_x", "n_h"]), (["h: r z n_h"], ["h"], [])],
        ["sigmoid", "sigmoid", "n_h", "tanh"],
    ),
    ResetBeforeGRUCell: (
        [(["x: r z", "h: r z"], [], ["multiply"]), (["x: n", "multiply: n"], ["h"], [])],
        [([], [], ["z", "n"]), (["multiply: n"], [], ["r"]), (["h: r z"], ["h"], [])],
        ["sigmoid", "sigmoid", "tanh"],
    ),
    ComputedOperandsCell: (
        [
            (["x: r", "h: r"], [], ["multiply"]),
            (["multiply: q"], [], ["tanh"]),
            (["x: n", "tanh: n", "h: n"], ["h"], []),
        ],
        [([], [], ["n"]), (["tanh: n"], [], ["q"]), (["multiply: q"], [], ["r"]), (["h: n r"], ["h"], [])],
        ["sigmoid", "tanh", "tanh"],
    ),
    ExtendedLSTMCell: (
        [(["x: i f g o", "h: i g o"], ["c"], ["add"]), (["add: r"], ["h"], [])],
        [([], [], ["o", "r"]), (["add: r"], ["c"], ["i", "f", "g"]), (["h: i g o"], ["h"], [])],
        ["sigmoid", "sigmoid", "tanh", "sigmoid", "tanh"],
    ),
    DelayCell: (
        [(["x: a", "before: a"], ["h", "before"], [])],
        [([], ["h"], ["a"]), (["before: a"], ["before"], [])],
        ["tanh"],
    ),
    TwinCell: ([(["x: a", "h: a"], ["h", "c"], [])], [([], ["c"], ["a"]), (["h: a"], ["h"], [])], ["tanh"]),
}


@pytest.mark.parametrize("kind", PINNED, ids=lambda cell: cell.__name__)
def test_plans_as_they_are(kind):
    assert named(planned(kind)) == PINNED[kind]


def test_what_the_reset_gate_keeps_and_hands_on():
    """r, z and the candidate are kept; r h, which n reads, is computed again on the way back."""
    found = planned(ResetBeforeGRUCell)
    nodes = found.graph.nodes
    assert [nodes[k].op for k in found.computed_operands] == ["multiply"]
    assert [[nodes[k].op for k in phase.operands] for phase in found.backward] == [["multiply"], [], []]
    assert [nodes[k].op for k in found.forward[0].crossing] == ["subtract", "multiply"]  # 1 - z and z h
    assert not found.forward[1].crossing


def once(lists):
    """Whatever is in one of several lists; it is there once."""
    found = [one for values in lists for one in values]
    assert len(set(found)) == len(found)
    return set(found)


@every_cell
def test_every_product_is_done_once_and_in_time(kind):
    found = planned(kind)
    graph = found.graph
    pairs = once([(gate, p.operand) for p in phase.products for gate in p.gates] for phase in found.forward)
    assert pairs == {(gate, k) for gate in graph.gates for k in graph.operands(gate)}
    operands = [[p.operand for p in phase.products] for phase in found.forward]
    assert all(len(set(in_phase)) == len(in_phase) for in_phase in operands)
    ready = {k for k, node in enumerate(graph.nodes) if node.op in {"input", "state"}}
    for phase, reads in zip(found.forward, operands, strict=True):
        assert ready.issuperset(reads)
        ready |= set(phase.operands)
    assert once(phase.operands for phase in found.forward) == set(found.computed_operands)


@every_cell
def test_a_gate_has_all_its_products_in_one_phase(kind):
    for gate in planned(kind).graph.gates:
        phases = [k for k, phase in enumerate(planned(kind).forward) for p in phase.products if gate in p.gates]
        assert len(set(phases)) == 1


@every_cell
def test_every_value_is_ready_once(kind):
    found = planned(kind)
    graph = found.graph
    for phases in (found.forward, found.backward):
        assert once(phase.states for phase in phases) == set(range(len(graph.states)))
    assert once(phase.kept for phase in found.forward) == set(found.kept)
    assert once(phase.gates for phase in found.backward) == set(range(len(graph.gates)))
    assert once(phase.diagonals for phase in found.backward) == set(range(len(graph.diagonals)))
    assert once(phase.crossing for phase in found.forward).isdisjoint(found.kept)
    once(phase.crossing for phase in found.backward)


def follows(nodes, asked, leaves):
    """Whether values follow, operation by operation, from some that are there."""
    there = set(leaves)
    for k, node in enumerate(nodes):
        if node.op == "constant" or (
            node.op not in {"input", "state", "affine", "gradient", "forward", "transposed"}
            and there.issuperset(node.operands)
        ):
            there.add(k)
    return there.issuperset(asked)


@every_cell
def test_forward_phases_need_nothing_that_is_not_there(kind):
    """A phase computes what it gives from states, its own products, and what earlier phases left."""
    found = planned(kind)
    graph = found.graph
    left = {k for k, node in enumerate(graph.nodes) if node.op == "state"}
    for phase in found.forward:
        gates = {gate for product in phase.products for gate in product.gates}
        here = {k for k, node in enumerate(graph.nodes) if node.op == "affine" and node.name in gates}
        asked = {*(graph.outputs[s] for s in phase.states), *phase.operands, *phase.kept, *phase.crossing}
        assert follows(graph.nodes, asked, left | here)
        left |= {*phase.kept, *phase.crossing}


@every_cell
def test_backward_phases_need_nothing_that_is_not_there(kind):
    """Also the products: each has δ of all gates that read its operand, and all of them are there before."""
    found = planned(kind)
    graph, derived = found.graph, found.adjoint
    kept = {k for k, node in enumerate(graph.nodes) if node.op == "state"} | set(found.kept)
    left = {k for k, node in enumerate(derived.nodes) if node.op in {"gradient", "weight"}}
    for k, node in enumerate(derived.nodes):
        if node.op == "forward":
            assert follows(graph.nodes, [int(node.value)], kept)
            left.add(k)
    delta, multiplied = set(), []
    for phase in found.backward:
        here = set()
        for product in phase.products:
            assert product.gates == tuple(g for g in graph.gates if product.operand in graph.hidden_operands(g))
            assert delta.issuperset(product.gates)
            here |= {k for k, node in enumerate(derived.nodes) if operand(graph, node) == product.operand}
            multiplied.append(product.operand)
        asked = {
            *(derived.gates[g] for g in phase.gates),
            *(derived.diagonals[d] for d in phase.diagonals),
            *(derived.states[s] for s in phase.states if derived.states[s] is not None),
            *phase.crossing,
        }
        assert follows(derived.nodes, asked, left | here)
        delta |= {graph.gates[g] for g in phase.gates}
        left |= set(phase.crossing)
    assert len(set(multiplied)) == len(multiplied)
    assert set(multiplied) == {operand(graph, node) for node in derived.nodes if node.op == "transposed"}


def operand(graph, node):
    return graph.hidden_operands(node.name)[int(node.value)] if node.op == "transposed" else None


@every_cell
def test_nothing_is_kept_that_follows_from_what_is_kept(kind):
    found = planned(kind)
    nodes = found.graph.nodes
    states = {k for k, node in enumerate(nodes) if node.op == "state"}
    for k in found.kept:
        assert not follows(nodes, [k], states | (set(found.kept) - {k}))
        assert k in {*found.adjoint.reads, *found.computed_operands}
    assert all(follows(nodes, [k], states | set(found.kept)) for k in found.computed_operands)
    again = {k for phase in found.backward for k in phase.operands}
    assert again == set(found.computed_operands) - set(found.kept)


@pytest.mark.parametrize("kind", Cell.registry.values(), ids=lambda cell: cell.__name__)
def test_our_cells_keep_no_more_than_their_gates(kind):
    found = planned(kind)
    assert len(found.kept) <= len(found.graph.gates)


def test_equal_equations_have_one_plan():
    class AnotherCell(LSTMCell):
        pass

    assert planned(AnotherCell) is planned(LSTMCell)
