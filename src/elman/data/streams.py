"""Long sequences as parallel streams, window by window: the batches of truncated back-propagation. See `Streams`."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from elman.errors import DataError, OptionError, describe

__all__ = ["Streams", "Window"]

Positions = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Window:
    """Some steps of all streams, the batch of an update.

    Attributes:
        positions: ``(streams, steps)``, where in the data each step is; those past the end of a stream repeat its last.
        reset: bool ``(streams, steps)``, true where another sequence begins; None where none does.
        lengths: ``(streams,)``, the steps that each stream still has; None where all have all.
        again: steps at the start that an earlier window has had: the gradient goes through them, their loss was
            counted before.
        carry: steps after which the state is handed to the next window.
        first: whether the streams begin here, so that no state is carried in.
    """

    positions: Positions
    reset: Tensor | None
    lengths: Tensor | None
    again: int
    carry: int
    first: bool

    @property
    def counted(self) -> int:
        """The steps of all streams whose loss counts: those that are new and there.

        Example:
            >>> Streams.cut(100, 2, window=10, backward_steps=15).window(3).counted
            20
        """
        streams, steps = self.positions.shape
        if self.lengths is None:
            return int(streams * (steps - self.again))
        return int((self.lengths - self.again).clamp(min=0).sum())

    def mask(self) -> Tensor | None:
        """Bool ``(streams, steps)``: whose loss counts; None where all do."""
        if self.again == 0 and self.lengths is None:
            return None
        streams, steps = self.positions.shape
        step = torch.arange(steps)
        ends = torch.full((streams,), steps) if self.lengths is None else self.lengths
        return (step >= self.again) & (step < ends[:, None])


class Streams:
    """B streams side by side, each a row of sequences, read T steps at a time with the state carried on.

    Truncated back-propagation through time: every window is one update over T new steps (k1), and the gradient goes
    back ``backward_steps`` (k2), T unless more is asked for. With more, a window begins with steps that were read
    before; the state that is carried is the one before them, so that their part of the gradient is exact.

    A window is a function of its number alone: what a training has to remember is the number and the carried state.

    Args:
        lanes: for each stream its sequences, as ranges of positions in the data; a stream may be empty.
        window: T, the new steps in a window.
        backward_steps: k2, at least T; None for T.
        keep_last: whether the last window is kept where it has fewer than T steps.

    Raises:
        OptionError: ``backward_steps`` is less than ``window``.
        DataError: there is not one window.

    Source:
        Williams & Peng, «An efficient gradient-based algorithm for on-line training of recurrent network
        trajectories», 1990: BPTT(h; h') with h = k2 and h' = k1.

    Example:
        >>> streams = Streams.cut(21, 2, window=4)
        >>> streams.windows, streams.window(1).positions.tolist()
        (3, [[4, 5, 6, 7], [14, 15, 16, 17]])
        >>> documents = Streams.lay([range(0, 3), range(3, 8), range(8, 11)], 2, window=6)
        >>> documents.window(0).positions.tolist(), documents.window(0).reset.int().tolist()
        ([[0, 1, 2, 8, 9, 10], [3, 4, 5, 6, 7, 7]], [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]])
        >>> documents.window(0).lengths.tolist()
        [6, 5]
    """

    def __init__(
        self,
        lanes: Sequence[Sequence[range]],
        *,
        window: int,
        backward_steps: int | None = None,
        keep_last: bool = True,
    ) -> None:
        reach = window if backward_steps is None else backward_steps
        if reach < window:
            expected = f"at least the window, {window}"
            raise OptionError(describe("--backward-steps", expected=expected, got=str(reach)))
        self._window, self._overlap = window, reach - window
        self._lengths = np.array([sum(map(len, lane)) for lane in lanes], dtype=np.int64)
        self._steps = int(self._lengths.max(initial=0))
        if not keep_last:
            self._steps -= self._steps % window
        if self._steps == 0:
            expected = "at least one step" if keep_last else f"at least one window of {window} steps"
            cause = "Use fewer streams (--batch-size), or a smaller --window."
            raise DataError(describe("Every stream", expected=expected, got="fewer", cause=cause))
        self._lay_out(lanes)

    def _lay_out(self, lanes: Sequence[Sequence[range]]) -> None:
        """Put the sequences of all streams in one row, by their times; a stream's begin at its number · stride."""
        self._stride = int(self._lengths.max()) + 1
        nothing = [range(1)]  # stands in an empty stream, of which no step counts
        kept = [[sequence for sequence in lane if sequence] or nothing for lane in lanes]
        self._starts = np.array([sequence.start for lane in kept for sequence in lane], dtype=np.int64)
        ends = [k * self._stride + np.cumsum([len(s) for s in lane], dtype=np.int64) for k, lane in enumerate(kept)]
        self._ends = np.concatenate(ends)
        self._begins = self._ends - np.array([len(sequence) for lane in kept for sequence in lane])

    @classmethod
    def cut(cls, steps: int, streams: int, *, window: int, **options: Any) -> Self:
        """Cut one long sequence into equal streams; fewer than ``streams`` steps at its end are left out.

        Args:
            steps: how long the sequence is.
            streams: into how many to cut it.
            window: T.
            options: the others, as for the class.
        """
        size = steps // streams
        lanes = [[range(k * size, (k + 1) * size)] for k in range(streams)]
        return cls(lanes, window=window, **options)

    @classmethod
    def lay(cls, sequences: Sequence[range], streams: int, *, window: int, **options: Any) -> Self:
        """Lay sequences one behind the other: each goes, in order, to the stream that ends first.

        Args:
            sequences: ranges of positions.
            streams: how many.
            window: T.
            options: the others, as for the class.
        """
        lanes: list[list[range]] = [[] for _ in range(streams)]
        ends = [(0, k) for k in range(streams)]
        for sequence in sequences:
            end, k = heapq.heappop(ends)
            lanes[k].append(sequence)
            heapq.heappush(ends, (end + len(sequence), k))
        return cls(lanes, window=window, **options)

    @property
    def windows(self) -> int:
        """The windows of one pass over the data."""
        return -(-self._steps // self._window)

    def window(self, number: int) -> Window:
        """Return a window, counted from 0 over all passes: at the start of each the streams begin again."""
        number %= self.windows
        start, end = self._begin(number), min((number + 1) * self._window, self._steps)
        time, lengths = np.arange(start, end), self._lengths[:, None]
        row = np.arange(len(lengths))[:, None] * self._stride + np.clip(lengths - 1, 0, time)
        sequence = np.searchsorted(self._ends, row, side="right")
        offset = row - self._begins[sequence]
        reset = (offset == 0) & (time > 0) & (time < lengths)  # before the first step there is nothing to forget
        left = np.clip(self._lengths - start, 0, end - start)
        return Window(
            positions=self._starts[sequence] + offset,
            reset=torch.from_numpy(reset) if reset.any() else None,
            lengths=torch.from_numpy(left) if (left < end - start).any() else None,
            again=number * self._window - start,
            carry=min(self._begin(number + 1), end) - start,
            first=start == 0,
        )

    def _begin(self, number: int) -> int:
        return max(0, number * self._window - self._overlap)
