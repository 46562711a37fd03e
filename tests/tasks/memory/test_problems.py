from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from elman.errors import OptionError
from elman.tasks.memory.problems import Adding, Copy, find_problem


@pytest.mark.parametrize("length", [2, 7, 100])
def test_adding(length: int) -> None:
    made = Adding(length).draw(np.random.default_rng(1), 500)
    assert made.x.shape == (500, length, 2)
    assert made.x.dtype == made.y.dtype == torch.float32
    numbers, marks = made.x.unbind(2)
    assert 0 <= numbers.min() < 0.01
    assert 0.99 < numbers.max() < 1
    assert set(marks.unique().tolist()) <= {0.0, 1.0}
    halves = marks.split([length // 2, length - length // 2], dim=1)
    assert all((half.sum(1) == 1).all() for half in halves)
    assert all((half.sum(0) > 0).all() for half in halves)  # every step may be marked
    torch.testing.assert_close(made.y, (numbers * marks).sum(1))


@pytest.mark.parametrize("length", [1, 3, 30])
def test_copy(length: int) -> None:
    made = Copy(length).draw(np.random.default_rng(1), 50)
    assert made.x.shape == (50, length + 20, 10)
    assert (made.x.sum(2) == 1).all()
    for read, written in zip(made.x.argmax(2).tolist(), made.y.tolist(), strict=True):
        symbols = read[:10]
        assert read == [*symbols, *[8] * (length - 1), 9, *[8] * 10]
        assert written == [*[8] * (length + 10), *symbols]
    assert set(made.x[:, :10].argmax(2).unique().tolist()) == set(range(8))


def test_baselines_are_what_an_answer_without_memory_has() -> None:
    adding = Adding(10).draw(np.random.default_rng(0), 20_000)
    loss, _ = Adding(10).measure(torch.ones(20_000, 1, dtype=torch.float64), adding.y)
    assert loss.item() == pytest.approx(Adding(10).baseline, rel=0.02)
    copy = Copy(7).draw(np.random.default_rng(0), 11)
    answers = torch.full((11, 27, 9), -1e4, dtype=torch.float64)
    answers[:, :17, 8] = 0  # blanks, and then any symbol
    answers[:, 17:, :8] = 0
    loss, _ = Copy(7).measure(answers, copy.y)
    assert loss.item() == pytest.approx(Copy(7).baseline, rel=1e-12) == 10 * math.log(8) / 27


def test_what_is_right() -> None:
    y = torch.tensor([0.5, 1.0, 1.5, 0.0])
    _, right = Adding(4).measure(torch.tensor([[0.53], [0.961], [1.55], [-0.05]]), y)
    assert right == 2
    made = Copy(3).draw(np.random.default_rng(0), 2)
    answers = torch.nn.functional.one_hot(made.y, 9).double()
    answers[0, -3:] = answers[0, -3:].roll(1, dims=1)  # three symbols are wrong
    answers[1, 4] = answers[1, 4].roll(1)  # no symbol, but a blank: the loss alone sees it
    loss, right = Copy(3).measure(answers, made.y)
    assert right.item() == pytest.approx(0.7 + 1.0)
    z = torch.log(torch.exp(answers).sum(2)) - answers.gather(2, made.y[..., None])[..., 0]
    assert loss.item() == pytest.approx(z.mean().item(), rel=1e-12)


def test_find_problem_names_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"There is no memory problem 'coppy'\. Did you mean 'copy'\?"):
        find_problem("coppy", 3)
