"""The recursions of a linear-chain conditional random field in torch operations.

They loop over time alone, and are differentiable to any order, on any device, also where a move is forbidden (-inf) and
where what lies past a row's end is not a number.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from elman.errors import ShapeError, describe

__all__ = ["PADDING", "Chain", "check_values", "log_partition", "loss", "marginals", "viterbi"]

PADDING: Final = -100  #: the tag past a row's end


class Chain(NamedTuple):
    """The scores of all paths.

    Attributes:
        emissions: ``(batch, time, tags)``.
        transitions: from a tag to the next, ``(tags, tags)``.
        start: of the first tag, ``(tags,)``.
        end: of the last tag, ``(tags,)``.
        lengths: int64 ``(batch,)``, from 0 to time, where the emissions are.
    """

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor
    lengths: Tensor

    @property
    def inside(self) -> Tensor:
        """Which steps are before the end of their row: ``(batch, time)``."""
        time = self.emissions.shape[1]
        return torch.arange(time, device=self.lengths.device)[None, :] < self.lengths[:, None]


def check_values(tags: Tensor | None, chain: Chain) -> None:
    """Raise `ShapeError` where a length is not within the time, or a tag before its row's end is none."""
    batch, time, count = chain.emissions.shape
    if not batch:
        return
    low, high = (int(bound) for bound in chain.lengths.aminmax())
    if low < 0 or high > time:
        expected = f"0 to time={time}"
        raise ShapeError(describe("LinearChainCRF: lengths", expected=expected, got=f"{low} to {high}"))
    if tags is None or not time:
        return
    low, high = (int(bound) for bound in torch.where(chain.inside, tags, 0).aminmax())
    if low < 0 or high >= count:
        cause = "Do tags count from 1?" if high == count else "Pass lengths, so that padding is not read."
        got = str(low if low < 0 else high)
        raise ShapeError(describe("LinearChainCRF: tags", expected=f"0 to {count - 1}", got=got, cause=cause))


def _top(x: Tensor, dim: int) -> Tensor:
    """Return the largest number, a constant to whom differentiates; 0 where all are -inf."""
    top = x.detach().amax(dim, keepdim=True)
    return torch.where(top == -torch.inf, 0.0, top)


def _log_sum_exp(x: Tensor, dim: int) -> Tensor:
    """Return log Σ e^x; -inf, with a gradient of 0, where all x are -inf."""
    top = _top(x, dim)
    total = (x - top).exp().sum(dim)
    nothing = total == 0
    return torch.where(nothing, -torch.inf, torch.where(nothing, 1.0, total).log() + top.squeeze(dim))


class _Sums(NamedTuple):
    """What the pass forward over time finds.

    Attributes:
        alphas: of each step log Σ over the paths to each tag ``(batch, tags)``, less the largest of them, so that none
            grows with the steps; a row that has ended keeps its own.
        before: the same without the emission of the step, and less the largest of the step before.
        offset: the sum of what was taken out of each row ``(batch,)``.
    """

    alphas: list[Tensor]
    before: list[Tensor]
    offset: Tensor


def _forward(chain: Chain) -> _Sums:
    emissions, inside = chain.emissions, chain.inside
    alpha = chain.start.expand(len(emissions), -1)
    sums = _Sums([alpha], [alpha], torch.zeros_like(alpha[:, 0]))
    for t in range(emissions.shape[1]):
        if t:
            sums.before.append(_log_sum_exp(alpha[:, :, None] + chain.transitions, dim=1))
        alpha = torch.where(inside[:, t, None], sums.before[-1] + emissions[:, t], alpha)
        top = _top(alpha, dim=1)
        alpha = alpha - top
        sums.alphas.append(alpha)
        sums = sums._replace(offset=sums.offset + top[:, 0])
    return sums._replace(alphas=sums.alphas[1:] or sums.alphas)


def log_partition(chain: Chain) -> Tensor:
    """Return the logarithm of the sum over all paths of e^score: ``(batch,)``."""
    alphas, _, offset = _forward(chain)
    return torch.where(chain.lengths > 0, _log_sum_exp(alphas[-1] + chain.end, dim=1) + offset, 0.0)


def _score(chain: Chain, tags: Tensor) -> Tensor:
    """Return the score of a path of each row."""
    inside, tags = chain.inside, torch.where(chain.inside, tags, 0)
    emissions = torch.where(inside, chain.emissions.gather(2, tags[..., None])[..., 0], 0.0)
    moves = torch.where(inside[:, 1:], chain.transitions[tags[:, :-1], tags[:, 1:]], 0.0)
    last = tags.gather(1, (chain.lengths[:, None] - 1).clamp(min=0))[:, 0]
    ends = torch.where(chain.lengths > 0, chain.start[tags[:, 0]] + chain.end[last], 0.0)
    return emissions.sum(1) + moves.sum(1) + ends


def loss(chain: Chain, tags: Tensor | None) -> Tensor:
    """Return the log-partition, less the score of a path where one is given: ``(batch,)``.

    A forbidden path has a loss of inf, also where all paths are forbidden.
    """
    total = log_partition(chain)
    if tags is None or not tags.shape[1]:
        return total
    return total.clamp(min=torch.finfo(total.dtype).min) - _score(chain, tags)


def marginals(chain: Chain) -> Tensor:
    """Return the probability of each tag at each step, 0 past a row's end: ``(batch, time, tags)``.

    Backward over time, each step from the next: where a path is at j, it was at i before with the probability
    e^(α(i) + A(i, j)) over the sum over i.
    """
    alphas, before, _ = _forward(chain)
    time = chain.emissions.shape[1]
    found: list[Tensor] = []
    for t in reversed(range(time)):
        last = alphas[t] + chain.end
        ending = _share(last, _log_sum_exp(last, dim=1)[:, None])
        if t + 1 < time:
            moves = _share(alphas[t][:, :, None] + chain.transitions, before[t + 1][:, None, :])
            passing = (moves * found[-1][:, None, :]).sum(2)
            ending = torch.where((chain.lengths == t + 1)[:, None], ending, passing)
        found.append(torch.where(chain.inside[:, t, None], ending, 0.0))
    return torch.stack(found[::-1], dim=1) if found else torch.zeros_like(chain.emissions)


def _share(score: Tensor, total: Tensor) -> Tensor:
    """Return e^(score - total); 0 where nothing is allowed."""
    nothing = total == -torch.inf
    return torch.where(nothing, 0.0, (score - torch.where(nothing, 0.0, total)).exp())


def viterbi(chain: Chain) -> tuple[Tensor, Tensor]:
    """Return the tags of the best path ``(batch, time)``, `PADDING` past a row's end, and its score ``(batch,)``."""
    emissions, inside = chain.emissions, chain.inside
    best = chain.start.expand(len(emissions), -1)
    pointers = [torch.zeros_like(best, dtype=torch.int64)]
    for t in range(emissions.shape[1]):
        score = best
        if t:
            score, origin = (best[:, :, None] + chain.transitions).max(dim=1)
            pointers.append(origin)
        best = torch.where(inside[:, t, None], score + emissions[:, t], best)
    score, tag = (best + chain.end).max(dim=1)
    path = []
    for t in reversed(range(emissions.shape[1])):
        path.append(torch.where(inside[:, t], tag, PADDING))
        tag = torch.where(inside[:, t], pointers[t].gather(1, tag[:, None])[:, 0], tag)
    tags = torch.stack(path[::-1], dim=1) if path else inside.to(torch.int64)
    return tags, torch.where(chain.lengths > 0, score, 0.0)
