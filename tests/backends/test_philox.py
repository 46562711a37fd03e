"""Philox4x32-10 against plain integers and its published answers; choices on every backend, dtype and thread count."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import vmap

from backends.llvm.threads import nothing_too_small
from elman.backends import philox
from elman.backends.dispatch import backend
from elman.backends.llvm import draws, runtime

SHAPES = [(1,), (2,), (3,), (5, 7), (63,), (64,), (65,), (3, 1, 341), (4, 100, 33)]


def oracle(counter, key):
    """Ten rounds, from the paper."""
    for _ in range(10):
        high = [counter[0] * 0xD2511F53 >> 32, counter[2] * 0xCD9E8D57 >> 32]
        low = [counter[0] * 0xD2511F53 % 2**32, counter[2] * 0xCD9E8D57 % 2**32]
        counter = [high[1] ^ counter[1] ^ key[0], low[1], high[0] ^ counter[3] ^ key[1], low[0]]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return counter


def test_the_oracle_gives_the_answers_of_random123():
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0]
    ones = [0xFFFFFFFF] * 6
    answers = {
        (0,) * 6: [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        tuple(ones): [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        tuple(pi): [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    }
    for numbers, answer in answers.items():
        assert oracle(list(numbers[:4]), list(numbers[4:])) == answer


@pytest.mark.parametrize("count", [1, 4, 7, 64])
@pytest.mark.parametrize("key", [[0, 0], [0xFFFFFFFF, 0x80000001], [12345, 678901234]])
def test_words(count, key):
    counters = -(-count // 4)
    blocks = [oracle([c, 0, 0, 0], key) for c in range(counters)]
    expected = [blocks[c][w] for w in range(4) for c in range(counters)]
    assert philox.words(count, torch.tensor(key)).tolist() == expected[:count]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_backends_choose_alike_and_draw_two_numbers(shape, dtype):
    like, runs, states = torch.ones((), dtype=dtype), [], []
    for name in ("auto", "reference"):
        torch.manual_seed(5)
        with backend(name):
            runs.append(philox.chosen(shape, 0.3, 2.5, like))
        states.append(torch.get_rng_state())
    torch.manual_seed(5)
    words = philox.words(math.prod(shape), torch.randint(2**32, (2,)))
    assert runs[0].dtype == dtype
    assert runs[0].equal(runs[1])
    assert runs[0].equal(torch.where(words < 0.3 * 2**32, 2.5, 0.0).to(dtype).view(shape))
    assert states[0].equal(states[1])
    assert states[0].equal(torch.get_rng_state())


def test_compiled_code_draws(monkeypatch):
    calls, draw = [], draws.draw
    monkeypatch.setattr(draws, "draw", lambda *args: calls.append(args) or draw(*args))
    philox.chosen((3, 4), 0.5, 1.0, torch.ones(()))
    assert [args[:3] for args in calls] == [((3, 4), 2**31, 1.0)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_same_bits_on_any_number_of_threads(dtype, monkeypatch):
    runs, teams, call = [], [], runtime.Entry.__call__
    monkeypatch.setattr(runtime.Entry, "__call__", lambda *args: teams.append(args[1]) or call(*args))
    for count in (1, 2, 3, 5):
        torch.set_num_threads(count)
        torch.manual_seed(1)
        with nothing_too_small():
            runs.append(philox.chosen((7, 311), 0.5, 1.0, torch.ones((), dtype=dtype)))
        assert runs[0].equal(runs[-1])
    assert 0 < runs[0].mean() < 1
    assert teams == [1, 2, 3, 5]


@pytest.mark.parametrize("probability", [0.0, 0.05, 0.5, 0.9, 1.0])
def test_rates_and_independence(probability):
    numbers = [philox.chosen((400, 500), probability, 1.0, torch.ones(())) for _ in range(2)]
    deviation = (probability * (1 - probability) / 200_000) ** 0.5
    for first in numbers:
        assert abs(first.mean().item() - probability) <= 4 * deviation
        for axis, size in ((0, 500), (1, 400)):
            means = first.mean(dim=axis)
            expected = (probability * (1 - probability) / (200_000 / size)) ** 0.5
            assert means.std().item() == pytest.approx(expected, rel=0.15)
    a, b = (n - probability for n in numbers)
    for one, other in ((a, b), (a[:-1], a[1:]), (a[:, :-1], a[:, 1:]), (a[:100], a[100:200]), (a[:200], a[200:])):
        assert abs((one * other).mean().item()) <= 5 * probability * (1 - probability) / one.numel() ** 0.5


def test_mapped_draws_differ_or_not_as_vmap_is_told():
    def run(_, x):
        return x * philox.chosen((50,), 0.5, 1.0, x)

    x = torch.ones(3, 50)
    got = vmap(run, randomness="different")(torch.arange(3), x)
    assert not got[0].equal(got[1])
    same = vmap(run, randomness="same")(torch.arange(3), x)
    assert same[0].equal(same[1])
    assert 0 < same.mean() < 1
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(run)(torch.arange(3), x)
