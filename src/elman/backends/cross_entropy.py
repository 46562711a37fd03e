"""A linear layer and the softmax cross-entropy behind it, in blocks of rows, on plain tensors.

The logits of one block are there at a time. They become the probabilities, and these the gradient of the logits, in
the same memory; what it gives for x and the weights is taken before the next block. Blocks are cut, and their sums
added, in an order that follows from shapes alone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor

from elman.backends.linear import compiled
from elman.backends.llvm import products
from elman.errors import ShapeError, describe

__all__ = ["CrossEntropy", "check_targets", "run"]

#: Logits of a block, 8 MB in float32: what a block costs in memory, against how often the weights' gradient is read.
_LOGITS: Final = 2**21
#: Rows of a block; torch adds up to twice as many numbers in one order on any number of threads.
_ROWS: Final = 2**14


class CrossEntropy(NamedTuple):
    """The loss, a number, and its gradients; None where they were not wanted."""

    loss: Tensor
    x: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def run(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    ignore_index: int,
    mean: bool,
    wanted: tuple[bool, bool, bool],
) -> CrossEntropy:
    """Return the loss of all rows, and its gradients.

    Args:
        x: ``(rows, features)``.
        weight: ``(vocabulary, features)``.
        bias: ``(vocabulary,)``, or None.
        targets: int64 ``(rows,)``.
        ignore_index: the target of rows that give no loss and no gradient; nothing of them is read.
        mean: over the rows that are not ignored, NaN where all are; else the sum.
        wanted: whether to return the gradients of x, weight and bias.

    Raises:
        ShapeError: a target is neither a row of ``weight`` nor ``ignore_index``.
    """
    check_targets(targets, len(weight), ignore_index)
    counted = targets != ignore_index
    count = int(counted.sum())
    places = None if count == len(targets) else counted.nonzero()[:, 0]
    factor = 1 / count if mean and count else 1.0
    if count and compiled(x, weight, bias):
        result = _run_compiled(x, weight, bias, targets, places, factor, wanted)
        return result._replace(loss=result.loss / count) if mean else result
    gradients = CrossEntropy(
        x.new_zeros(()),
        x.new_zeros(x.shape) if wanted[0] else None,
        weight.new_zeros(weight.shape) if wanted[1] else None,
        weight.new_zeros(len(weight)) if wanted[2] else None,
    )
    for rows in _blocks(count, len(weight)):
        here = rows if places is None else places[rows]
        _add_block(gradients, x[here], weight, bias, targets[here], here, factor)
    return gradients._replace(loss=gradients.loss / count) if mean else gradients


def _run_compiled(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    places: Tensor | None,
    factor: float,
    wanted: tuple[bool, bool, bool],
) -> CrossEntropy:
    """Return the loss, unscaled, and its gradients, scaled by a factor, of the rows at some places."""
    names = [name for name, needed in zip(("x", "weight", "bias"), wanted, strict=True) if needed]
    rows, chosen = (x, targets) if places is None else (x[places], targets[places])
    losses, found = products.cross_entropy(rows, weight, bias, chosen, factor, names)
    if places is not None and "x" in found:
        found["x"] = x.new_zeros(x.shape).index_copy_(0, places, found["x"])
    loss = x.new_zeros(())
    for first in range(0, len(losses), _ROWS):
        loss += losses[first : first + _ROWS].sum()
    return CrossEntropy(loss, found.get("x"), found.get("weight"), found.get("bias"))


def check_targets(targets: Tensor, vocabulary: int, ignore_index: int) -> None:
    """Raise `ShapeError` where a target is neither of the vocabulary nor ignored."""
    wrong = ((targets < 0) | (targets >= vocabulary)) & (targets != ignore_index)
    if bool(wrong.any()):
        (got, *_) = targets[wrong].tolist()
        expected = f"0 to {vocabulary - 1} (vocabulary={vocabulary}), or ignore_index={ignore_index}"
        cause = "Do targets count from 1?" if got == vocabulary else ""
        raise ShapeError(describe("linear_cross_entropy: targets", expected=expected, got=str(got), cause=cause))


def _blocks(rows: int, vocabulary: int) -> list[slice]:
    """Cut rows into as few blocks as memory allows, all of about the same size."""
    most = max(1, min(_ROWS, _LOGITS // max(1, vocabulary)))
    count = -(-rows // most)
    cuts = [rows * k // count for k in range(count + 1)] if count else []
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def _add_block(
    gradients: CrossEntropy,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    here: slice | Tensor,
    factor: float,
) -> None:
    """Add a block's loss, unscaled, and its gradients, scaled by a factor."""
    logits = _logits(x, weight, bias)
    logits.sub_(logits.amax(dim=1, keepdim=True))
    chosen = logits.gather(1, targets[:, None])
    total = logits.exp_().sum(dim=1, keepdim=True)
    gradients.loss.add_((total.log() - chosen).sum())
    if gradients.x is None and gradients.weight is None and gradients.bias is None:
        return
    delta = logits.mul_(factor / total)  # the probabilities; minus 1 at the targets: the gradient of the logits
    delta.scatter_add_(1, targets[:, None], delta.new_full((len(x), 1), -factor))
    if gradients.x is not None:
        gradients.x[here] = _input_gradient(delta, weight)
    if gradients.weight is not None:
        _add_weight_gradient(gradients.weight, delta, x)
    if gradients.bias is not None:
        gradients.bias.add_(delta.sum(dim=0))


def _logits(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x Wᵀ + b, memory of its own: (rows, vocabulary)."""
    return x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)


def _input_gradient(delta: Tensor, weight: Tensor) -> Tensor:
    """Return δ W: (rows, features)."""
    return delta @ weight


def _add_weight_gradient(total: Tensor, delta: Tensor, x: Tensor) -> None:
    """Add δᵀ x to a total (vocabulary, features)."""
    total.addmm_(delta.T, x)
