"""`schedule`: which gates share a product."""

from __future__ import annotations

from elman.cells import Cell, LSTMCell
from elman.compiler.schedule import Group, schedule
from handwritten import AutonomousCell, ComputedOperandsCell, IndependentCell, ScatteredBlocksCell, TwoStatesCell


def test_gates_of_an_lstm_are_one_product():
    graph = LSTMCell(2, 3).graph
    h = graph.index("state", "h")
    plan = schedule(graph)
    assert plan.groups == (Group(("i", "f", "g", "o"), True, (h,)),)
    assert plan.input_gates == ("i", "f", "g", "o")
    assert plan.hidden_gates == {h: ("i", "f", "g", "o")}


def test_gates_that_read_the_same_come_together():
    graph = ScatteredBlocksCell(2, 3).graph
    h, c = graph.index("state", "h"), graph.index("state", "c")
    plan = schedule(graph)
    assert plan.groups == (
        Group(("a", "d"), True, (h,)),
        Group(("b", "m"), True, (c,)),
        Group(("e",), True, ()),
        Group(("k",), False, (h,)),
    )
    assert plan.input_gates == ("a", "d", "b", "m", "e")
    assert plan.hidden_gates == {h: ("a", "d", "k"), c: ("b", "m")}


def test_the_order_of_the_operands_makes_no_other_group():
    graph = TwoStatesCell(2, 3).graph
    (group,) = schedule(graph).groups
    assert group == Group(("g", "m"), True, (1, 2))


def test_a_computed_operand_is_a_product_of_its_own():
    graph = ComputedOperandsCell(2, 3).graph
    plan = schedule(graph)
    assert [group.gates for group in plan.groups] == [("n",), ("q",), ("r",)]
    assert {graph.nodes[k].op: gates for k, gates in plan.hidden_gates.items()} == {
        "tanh": ("n",),
        "state": ("n", "r"),
        "multiply": ("q",),
    }


def test_no_products():
    assert schedule(AutonomousCell(2, 3).graph).input_gates == ()
    assert schedule(IndependentCell(2, 3).graph).hidden_gates == {}


def test_every_block_is_in_exactly_one_product():
    for cell in Cell.registry.values():
        graph = cell(2, 3).graph
        plan = schedule(graph)
        assert sorted(plan.input_gates) == sorted(graph.input_blocks)
        blocks = [(gate, operand) for operand, gates in plan.hidden_gates.items() for gate in gates]
        assert sorted(blocks) == sorted(graph.hidden_blocks)
        assert sorted(gate for group in plan.groups for gate in group.gates) == sorted(graph.gates)
