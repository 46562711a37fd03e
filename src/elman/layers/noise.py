"""What a recurrent layer draws at random: factors of dropout and of weight drop, and the noise of its equations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from elman.backends.philox import chosen
from elman.compiler import noise
from elman.compiler.graph import Graph

__all__ = ["Noise", "dropped"]


def dropped(values: Tensor, probability: float, *, shared: int | None = None) -> Tensor:
    """Drop some numbers, and divide the others by 1 - p.

    Args:
        values: any numbers.
        probability: p.
        shared: a dimension along which all have the same fate.
    """
    shape = [1 if k == shared else size for k, size in enumerate(values.shape)]
    return values * chosen(shape, 1 - probability, 1 / (1 - probability), values)


class Noise:
    """The noise in the equations of a layer: recurrent dropout and zoneout, see `elman.compiler.noise`.

    Args:
        graph: the equations of the cell.
        recurrent_dropout: probability.
        zoneout: probabilities by state.

    Attributes:
        training: the equations with noise.
        evaluation: the equations without, whose new states are those that noise gives in the mean.
    """

    def __init__(self, graph: Graph, recurrent_dropout: float, zoneout: Mapping[str, float]) -> None:
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = {name: rate for name, rate in zoneout.items() if rate}
        self.training = self.evaluation = graph
        if self.zoneout:
            self.training = noise.zoneout(graph, tuple(self.zoneout))
            self.evaluation = noise.expected_zoneout(graph, tuple(self.zoneout.items()))
        self._copied: tuple[int, ...] = ()
        if recurrent_dropout:
            self.training = noise.recurrent_dropout(self.training)
            self._copied = tuple(graph.states.index(name) for name in noise.multiplied_states(graph))

    def __bool__(self) -> bool:
        return bool(self.recurrent_dropout or self.zoneout)

    def draw(self, x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """Return noise for a run, and the initial states that the equations with noise have.

        Args:
            x: ``(batch, time, features)``.
            state: the initial states of the cell, each ``(batch, hidden)``.
        """
        (batch, time, _), hidden = x.shape, state[0].shape[1]
        parts = [chosen((batch, time, hidden), rate, 1.0, x) for rate in self.zoneout.values()]
        if self.recurrent_dropout:
            rate = 1 - self.recurrent_dropout
            factor = chosen((batch, hidden), rate, 1 / rate, x)
            state = [*state, *(factor * state[s] for s in self._copied)]
            parts.append(factor[:, None].expand(batch, time, hidden))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2), state
