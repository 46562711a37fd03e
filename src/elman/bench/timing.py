"""Time programs in turn, so that what the machine does besides meets all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, Protocol

__all__ = ["Timed", "Times", "interleave"]

_LEAST: Final = 2e-3  #: seconds of a sample; steps that take less are repeated inside it
_WARM_UP: Final = 3  #: samples of each program that are thrown away


class Timed(Protocol):
    """Something to time."""

    def setting(self) -> AbstractContextManager[object]:
        """In which its steps run; entered outside of the time taken."""

    def step(self) -> None:
        """Do the work once."""


class Times(NamedTuple):
    """Seconds of a step, a number a round, of elman and of a peer (or of nobody)."""

    elman: list[float]
    peer: list[float] | None = None

    @property
    def ratio(self) -> float | None:
        """The peer's time over elman's: the lower quartile of the rounds, so that three of four were better.

        Example:
            >>> Times([1.0, 1.0, 2.0, 1.0, 1.0], [2.0, 3.0, 2.0, 4.0, 5.0]).ratio
            2.0
        """
        if self.peer is None:
            return None
        ratios = [peer / elman for elman, peer in zip(self.elman, self.peer, strict=True)]
        return statistics.quantiles(ratios, n=4, method="inclusive")[0]


def interleave(
    programs: Sequence[Timed], rounds: int, *, clock: Callable[[], float] = time.perf_counter
) -> list[list[float]]:
    """Take one sample of each program a round, and begin each round with another of them.

    In a sample a program first does one step that is not timed, which leaves the caches and the threads as they are
    in a loop of its own steps: threads of the other library may spin on for a while.

    Args:
        programs: what to time.
        rounds: how many samples of each.
        clock: in seconds.

    Returns:
        Seconds of a step for each program, a number a round.
    """
    counts = [_count(program, clock) for program in programs]
    times: list[list[float]] = [[] for _ in programs]
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for turn in range(-_WARM_UP, rounds):
            for k in range(len(programs)):
                which = (turn + k) % len(programs)
                seconds = _sample(programs[which], counts[which], clock)
                if turn >= 0:
                    times[which].append(seconds)
    finally:
        if collecting:
            gc.enable()
    return times


def _count(program: Timed, clock: Callable[[], float]) -> int:
    """How many steps make a sample long enough for the clock."""
    count = 1
    while _sample(program, count, clock) * count < _LEAST:
        count *= 2
    return count


def _sample(program: Timed, count: int, clock: Callable[[], float]) -> float:
    with program.setting():
        program.step()
        started = clock()
        for _ in range(count):
            program.step()
        return (clock() - started) / count
