from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from elman.bench.timing import Times, interleave


class World:
    """A clock that only programs move, and a record of who ran."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def clock(self) -> float:
        return self.now


class Fake:
    """A program whose n-th step takes so many seconds."""

    def __init__(self, world: World, name: str, seconds: Callable[[int], float]) -> None:
        self.world, self.name, self.seconds = world, name, seconds
        self.steps, self.inside = 0, False

    @contextmanager
    def setting(self) -> Iterator[None]:
        self.world.now += 100.0  # must not be timed
        self.inside = True
        yield
        self.inside = False

    def step(self) -> None:
        assert self.inside
        self.world.ran.append(self.name)
        self.world.now += self.seconds(self.steps)
        self.steps += 1


def test_each_round_times_every_program_and_begins_with_another() -> None:
    world = World()
    programs = [Fake(world, "a", lambda n: 0.01), Fake(world, "b", lambda n: 0.03)]
    times = interleave(programs, 4, clock=world.clock)
    assert times == [pytest.approx([0.01] * 4), pytest.approx([0.03] * 4)]
    samples = world.ran[4:][::2]  # behind the two samples that measure how long they must be; two steps each
    assert world.ran[4:][1::2] == samples
    assert "".join(samples) == "ba" + "ab" + "ba" + "ab" + "ba" + "ab" + "ba"  # three rounds are thrown away


def test_what_changing_over_costs_is_not_timed() -> None:
    world = World()

    def seconds(name: str) -> Callable[[int], float]:
        return lambda n: 0.01 if len(world.ran) > 1 and world.ran[-2] == name else 5.0

    programs = [Fake(world, name, seconds(name)) for name in "ab"]
    assert interleave(programs, 3, clock=world.clock) == [pytest.approx([0.01] * 3)] * 2


def test_the_first_samples_are_thrown_away() -> None:
    world = World()
    (times,) = interleave([Fake(world, "a", lambda n: 1.0 if n < 8 else 0.01)], 3, clock=world.clock)
    assert times == pytest.approx([0.01] * 3)


def test_short_steps_are_repeated_for_the_clock() -> None:
    world = World()
    (times,) = interleave([Fake(world, "a", lambda n: 1e-4)], 5, clock=world.clock)
    assert times == pytest.approx([1e-4] * 5)
    assert len(world.ran) >= 5 * 20  # 2 ms each


def test_no_garbage_is_collected_meanwhile() -> None:
    world, states = World(), []

    def seconds(n: int) -> float:
        states.append(gc.isenabled())
        return 0.01

    interleave([Fake(world, "a", seconds)], 2, clock=world.clock)
    assert states[-4:] == [False] * 4
    assert gc.isenabled()

    def failing(n: int) -> float:
        if n > 3:
            raise RuntimeError
        return 0.01

    with pytest.raises(RuntimeError):
        interleave([Fake(world, "b", failing)], 2, clock=world.clock)
    assert gc.isenabled()


def test_the_ratio_is_the_lower_quartile_of_the_pairs() -> None:
    random = np.random.default_rng(0)
    elman, peer = random.uniform(1, 2, 51), random.uniform(2, 5, 51)
    assert Times(elman.tolist(), peer.tolist()).ratio == pytest.approx(np.quantile(peer / elman, 0.25))
    assert Times(elman.tolist()).ratio is None
