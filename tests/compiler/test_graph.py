"""`Graph`: the order of the blocks in the packed parameters."""

from __future__ import annotations

import dataclasses

import pytest

from elman.cells import GRUCell, PeepholeLSTMCell
from elman.compiler.graph import Graph, Node
from handwritten import ScatteredBlocksCell, StateFirstCell, TwoStatesCell


def operand_names(graph: Graph) -> list[tuple[str, str]]:
    return [(gate, graph.nodes[k].name) for gate, k in graph.hidden_blocks]


def test_blocks_stand_in_the_order_of_declaration():
    graph = ScatteredBlocksCell(2, 3).graph
    assert graph.input_blocks == ("a", "b", "d", "e", "m")
    assert operand_names(graph) == [("a", "h"), ("b", "c"), ("d", "h"), ("k", "h"), ("m", "c")]
    assert operand_names(TwoStatesCell(2, 3).graph) == [("g", "h"), ("g", "c"), ("m", "c"), ("m", "h")]
    assert operand_names(StateFirstCell(2, 3).graph) == [("a", "h"), ("b", "h")]


def test_computed_operands_have_a_block_too():
    class Mine(GRUCell):
        def step(self, x, h):
            r = self.r(x, h)
            return self.z(x, r * h) + self.n_x(x) + self.n_h(h)

    graph = Mine(2, 3).graph
    gates = [gate for gate, _ in graph.hidden_blocks]
    assert gates == ["r", "z", "n_h"]
    assert graph.nodes[dict(graph.hidden_blocks)["z"]].op == "multiply"


def test_index():
    graph = PeepholeLSTMCell(2, 3).graph
    assert graph.nodes[graph.index("diagonal", "p_o")] == Node("diagonal", (graph.outputs[1],), "p_o")
    assert graph.index("state", "c") == 2
    with pytest.raises(StopIteration):
        graph.index("affine", "nothing")


def test_graphs_do_not_change():
    graph = GRUCell(2, 3).graph
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.nodes = ()
