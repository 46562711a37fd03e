"""Noise in the equations of a step: recurrent dropout and zoneout, of any cell.

A node ``noise`` stands for numbers that are drawn before a run and given to it: n nodes read ``(batch, time, n · H)``,
the k-th of them columns k H to (k + 1) H. They have no gradient; all else, the adjoint and the kernels, follows from
the equations that are written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from elman.compiler.graph import Graph, Node, Nodes

__all__ = ["expected_zoneout", "multiplied_states", "recurrent_dropout", "zoneout"]


def multiplied_states(graph: Graph) -> tuple[str, ...]:
    """Name the states that gates multiply with a matrix, in the order of the states.

    Example:
        >>> from elman.cells import LSTMCell
        >>> multiplied_states(LSTMCell(2, 3).graph)
        ('h',)
    """
    read = {graph.nodes[k].name for _, k in graph.hidden_blocks if graph.nodes[k].op == "state"}
    return tuple(name for name in graph.states if name in read)


@lru_cache(maxsize=256)
def recurrent_dropout(graph: Graph) -> Graph:
    r"""Let gates multiply their matrices U with masked values, m v in place of v; the states themselves are whole.

    m is the last noise of the graph, one for all values. Of each state that gates multiply (`multiplied_states`), a
    copy that is masked when it is made, m s, becomes another state behind all others: so that a step has no more phases
    than it had. A value computed inside the step is masked there.

    Source: Y. Gal and Z. Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks,
    NIPS 2016.

    Example:
        >>> from elman.cells import LSTMCell
        >>> recurrent_dropout(LSTMCell(2, 3).graph).states
        ('h', 'c', '(m h)')
    """
    nodes, copied = Nodes(), multiplied_states(graph)
    leaves = {k: nodes.position(node) for k, node in enumerate(graph.nodes) if node.op in {"input", "state"}}
    copies = {graph.index("state", name): nodes.position(Node("state", name=f"(m {name})")) for name in copied}
    mask = nodes.position(_noise(graph))
    place: dict[int, int] = {}

    def masked(k: int) -> int:
        return nodes.position(Node("multiply", (place[k], mask)))

    for k, node in enumerate(graph.nodes):
        operands = tuple(place[j] for j in node.operands)
        if node.op == "affine":
            kinds = [graph.nodes[j].op for j in node.operands]
            read = zip(node.operands, kinds, strict=True)
            operands = tuple(
                leaves[j] if op == "input" else copies[j] if op == "state" else masked(j) for j, op in read
            )
        place[k] = leaves[k] if k in leaves else nodes.position(replace(node, operands=operands))
    outputs = [place[k] for k in graph.outputs]
    outputs += [masked(graph.outputs[graph.states.index(name)]) for name in copied]
    return _with(graph, nodes, (*graph.states, *(f"(m {name})" for name in copied)), outputs)


@lru_cache(maxsize=256)
def zoneout(graph: Graph, states: tuple[str, ...]) -> Graph:
    r"""Let some states keep their old values, unit by unit, where their noise is over 0.

    The noise of the first state named stands first. What else a step computes reads the new values that it would have
    had without.

    Source: D. Krueger et al., Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations, ICLR 2017
    (arXiv:1606.01305).
    """
    nodes, outputs = _copied(graph)
    for name in states:
        s, old = graph.states.index(name), graph.index("state", name)
        zero = nodes.position(Node("constant", value=0.0))
        kept = nodes.position(Node("less", (zero, nodes.position(_noise(nodes)))))
        outputs[s] = nodes.position(Node("where", (kept, old, outputs[s])))
    return _with(graph, nodes, graph.states, outputs)


@lru_cache(maxsize=256)
def expected_zoneout(graph: Graph, rates: tuple[tuple[str, float], ...]) -> Graph:
    r"""Let some states become what `zoneout` gives in the mean: p · old + (1 - p) · new."""
    nodes, outputs = _copied(graph)
    for name, rate in rates:
        s, old = graph.states.index(name), graph.index("state", name)
        shares = [
            nodes.position(Node("multiply", (value, nodes.position(Node("constant", value=share)))))
            for value, share in ((old, rate), (outputs[s], 1.0 - rate))
        ]
        outputs[s] = nodes.position(Node("add", tuple(shares)))
    return _with(graph, nodes, graph.states, outputs)


def _noise(graph: Graph | Nodes) -> Node:
    """Return one more node of noise."""
    nodes = graph.nodes if isinstance(graph, Graph) else graph
    return Node("noise", value=float(sum(node.op == "noise" for node in nodes)))


def _copied(graph: Graph) -> tuple[Nodes, list[int]]:
    nodes = Nodes()
    place = [nodes.position(node) for node in graph.nodes]
    return nodes, [place[k] for k in graph.outputs]


def _with(graph: Graph, nodes: Nodes, states: tuple[str, ...], outputs: Sequence[int]) -> Graph:
    return replace(graph, nodes=tuple(nodes), states=states, outputs=tuple(outputs))
