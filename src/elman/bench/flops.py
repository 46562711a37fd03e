"""The floating-point operations that a work needs: those of its matrix products, counted from the cell's graph."""

from __future__ import annotations

from elman.bench.works import Work
from elman.cells import find

__all__ = ["needed"]


def needed(work: Work) -> int:
    """Return the smallest number of operations that do a work once; a product and a sum are two.

    Forward, every (gate, operand) is a product of rows, H and the size of the operand. Backward, each has two more of
    the same size: for the weight, and for the operand, unless it is the x of the first layer, which wants no gradient
    (that of a language model does: it is an embedding).
    A CRF has a product of each step's scores with the transitions, and as many backward.
    A linear layer in front of the first cell is counted folded into the weights where that is less. Pointwise
    operations are not counted: a program that spends time on them has a smaller share of the peak.

    Example:
        >>> needed(Work(name="lstm", batch=1, steps=1, kind="inference")) == 4 * (2 * 128 * 128 + 2 * 128 * 128)
        True
    """
    if work.kind == "cross-entropy":
        return 3 * 2 * work.batch * work.input_size * work.classes
    chain = 3 * 2 * work.batch * (work.steps - 1) * work.classes**2
    if work.kind == "crf":
        return chain
    graph = find(work.cell)(1, 1).graph
    directions = 2 if work.bidirectional else 1
    rows, hidden = work.batch * work.steps, work.hidden_size
    from_input = directions * hidden * len(graph.input_blocks)  # columns
    from_hidden = directions * hidden * len(graph.hidden_blocks)

    def product(m: int, k: int, n: int, *, times: int) -> int:
        return 2 * m * k * n * (times if work.learns else 1)

    embedded = work.kind == "language-model"
    total = product(rows, work.input_size, from_input, times=3 if embedded else 2)
    if work.input_projection is not None:
        fold = product(work.input_projection, work.input_size, from_input, times=3)
        layer = product(rows, work.input_size, work.input_projection, times=2)
        total = min(total + fold, layer + product(rows, work.input_projection, from_input, times=3))
    total += (work.num_layers - 1) * product(rows, directions * hidden, from_input, times=3)
    total += work.num_layers * product(rows, hidden, from_hidden, times=3)
    if work.kind == "program":
        total += product(work.batch, directions * hidden, work.classes, times=3)
    if work.kind in {"language-model", "next-word"}:
        total += product(rows, directions * hidden, work.classes, times=3)
    if work.kind == "tagger":
        total += product(rows, directions * hidden, work.classes, times=3) + chain
    return total
