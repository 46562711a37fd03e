"""Equations with noise: what becomes of graphs and plans, and the derivation from them against torch's."""

from __future__ import annotations

import pytest
import torch

from differentiated import EveryOperationCell, TieCell
from elman.backends.bptt import backpropagate
from elman.backends.operator import decode, encode
from elman.backends.reference import unroll
from elman.cells import Cell, GRUCell, LSTMCell, ResetBeforeGRUCell
from elman.compiler.noise import expected_zoneout, multiplied_states, recurrent_dropout, zoneout
from elman.compiler.plan import plan
from elman.compiler.work import forward_operations
from handwritten import HANDWRITTEN, ComputedOperandsCell, DelayCell, TwoStatesCell

every_cell = pytest.mark.parametrize(
    "kind", [*Cell.registry.values(), *HANDWRITTEN, EveryOperationCell, TieCell], ids=lambda cell: cell.__name__
)


def both(graph):
    return recurrent_dropout(zoneout(graph, graph.states))


def read(graph, gate):
    """What a gate reads, in words."""
    names = []
    for k in graph.operands(gate):
        node = graph.nodes[k]
        parts = [graph.nodes[j].name or graph.nodes[j].op for j in node.operands] if not node.name else []
        names.append(node.name or f"{node.op} {' '.join(parts)}")
    return names


def test_gates_read_masked_values_and_all_else_whole_ones():
    graph = recurrent_dropout(ResetBeforeGRUCell(2, 3).graph)
    assert graph.states == ("h", "(m h)")
    assert read(graph, "r") == read(graph, "z") == ["x", "(m h)"]
    (product,) = graph.hidden_operands("n")
    reads = graph.nodes[product]
    assert reads.op == "multiply"
    inner, noise = (graph.nodes[k] for k in reads.operands)
    assert (inner.op, noise.op) == ("multiply", "noise")
    assert "h" in [graph.nodes[k].name for k in inner.operands]
    new, masked = (graph.nodes[k] for k in graph.outputs)
    assert masked.operands[0] == graph.outputs[0]
    assert graph.nodes[masked.operands[1]] == noise
    assert new.op == "add"


def test_gates_keep_the_order_of_their_operands():
    before, after = TwoStatesCell(2, 3).graph, recurrent_dropout(TwoStatesCell(2, 3).graph)
    for gate in before.gates:
        assert read(after, gate) == [n if n == "x" else f"(m {n})" for n in read(before, gate)]
    assert multiplied_states(before) == ("h", "c")
    assert multiplied_states(DelayCell(2, 3).graph) == tuple(
        s for s in DelayCell.states if any(s in read(DelayCell(2, 3).graph, g) for g in DelayCell(2, 3).graph.gates)
    )


def test_zoneout_chooses_between_the_old_state_and_the_new_one():
    before, graph = LSTMCell(2, 3).graph, zoneout(LSTMCell(2, 3).graph, ("c", "h"))
    for place, name in enumerate(("c", "h")):
        chosen = graph.nodes[graph.outputs[graph.states.index(name)]]
        kept, old, new = (graph.nodes[k] for k in chosen.operands)
        assert (chosen.op, kept.op, old.name) == ("where", "less", name)
        assert [graph.nodes[k].value for k in kept.operands] == [0.0, float(place)]
        assert [graph.nodes[k].op for k in kept.operands] == ["constant", "noise"]
        assert new == before.nodes[before.outputs[before.states.index(name)]]


def test_noise_is_numbered():
    graph = both(GRUCell(2, 3).graph)
    assert sorted(node.value for node in graph.nodes if node.op == "noise") == [0.0, 1.0]
    mask = graph.nodes[graph.outputs[1]].operands[1]
    assert graph.nodes[mask].value == 1.0


@every_cell
def test_plans_keep_no_noise_and_have_no_phase_more(kind):
    before = plan(kind(2, 3).graph)
    for noisy in (recurrent_dropout, lambda g: zoneout(g, g.states), both):
        after = plan(noisy(before.graph))
        assert len(after.forward) == len(before.forward)
        assert len(after.backward) == len(before.backward)
        held = [k for phase in after.forward for k in (*phase.kept, *phase.crossing)]
        assert not any(after.graph.nodes[k].op == "noise" for k in (*held, *after.kept))
        assert len(after.kept) <= len(before.kept)


@every_cell
def test_graphs_with_noise_come_back_from_text(kind):
    for graph in (both(kind(2, 3).graph), expected_zoneout(kind(2, 3).graph, ((kind.states[0], 0.3),))):
        assert decode(encode(graph)) == graph


def test_operations_are_counted_and_noise_is_none():
    (before,), (after,) = (forward_operations(plan(g)) for g in (LSTMCell(2, 3).graph, both(LSTMCell(2, 3).graph)))
    assert after - before == {"less": 2, "where": 2, "multiply": 1}


@every_cell
def test_the_derivation_equals_autograd(kind):
    cell = kind(4, 5, dtype=torch.float64)
    graph = both(cell.graph)
    places = sum(node.op == "noise" for node in graph.nodes)
    parameters = {name: torch.rand_like(p).sub_(0.5).requires_grad_() for name, p in cell.named_parameters()}
    x = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    state = [torch.rand(3, 5, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_() for _ in graph.states]
    noise = torch.rand(3, 4, places * 5, dtype=torch.float64) - 0.3
    outputs, final = unroll(graph, parameters, x, state, noise=noise)
    weights, ends = torch.randn_like(outputs), [torch.randn_like(s) for s in final]
    loss = (outputs * weights).sum() + sum((s * w).sum() for s, w in zip(final, ends, strict=True))
    wanted = {"x": x, **dict(zip(graph.states, state, strict=True)), **parameters}
    expected = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True)
    with torch.no_grad():
        derived = backpropagate(graph, parameters, x, state, weights, ends, noise)
    got = {"x": derived.x, **dict(zip(graph.states, derived.states, strict=True)), **derived.parameters}
    for name, value in zip(wanted, expected, strict=True):
        torch.testing.assert_close(got[name], value, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


def test_the_derivation_of_phases_that_follow_each_other():
    assert [len(plan(both(kind(2, 3).graph)).forward) for kind in (GRUCell, ComputedOperandsCell)] == [1, 3]
