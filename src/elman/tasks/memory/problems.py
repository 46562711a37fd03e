"""The adding problem and the copy problem: their sequences, and what an answer to them is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elman.errors import OptionError, did_you_mean
from elman.tasks.base import Prediction
from elman.tasks.memory.prediction import AddingPrediction, CopyPrediction
from elman.tasks.sequence.model import Readout

__all__ = ["PROBLEMS", "Adding", "Copy", "MadeSequences", "Problem", "find_problem"]


@dataclass(frozen=True, eq=False)
class MadeSequences:
    """Sequences of a problem with their answers: all of the same length.

    Attributes:
        x: ``(N, T, features)``.
        y: ``(N,)``, or ``(N, T)`` where there is an answer at every step.
    """

    x: Tensor
    y: Tensor
    lengths: ClassVar[Tensor | None] = None

    def __len__(self) -> int:
        return len(self.y)

    def select(self, indices: Tensor | slice) -> MadeSequences:
        """Take some of the sequences."""
        return MadeSequences(self.x[indices], self.y[indices])


class Problem(Protocol):
    """A problem of memory, of some length."""

    name: ClassVar[str]
    features: ClassVar[int]  #: numbers in a step
    outputs: ClassVar[int]  #: numbers in an answer
    readout: ClassVar[Readout]
    loss: ClassVar[str]  #: as TensorBoard names it
    right: ClassVar[str]  #: what counts as right

    @property
    def steps(self) -> int:
        """The steps of a sequence."""

    @property
    def baseline(self) -> float:
        """The loss of the best answer that remembers nothing."""

    def draw(self, generator: np.random.Generator, count: int) -> MadeSequences:
        """Make some sequences."""

    def measure(self, answers: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss, and the number of sequences that are right (with shares of them)."""

    def predictions(self, sources: list[str], examples: MadeSequences, answers: Tensor) -> list[Prediction]:
        """Set answers beside the truth."""


@dataclass(frozen=True)
class Adding:
    r"""The adding problem: the sum of the two numbers of a sequence that are marked.

    .. math::

        x_t = (u_t, m_t), \qquad u_t \sim U(0, 1), \qquad y = u_a + u_b

    m_t is 1 at two steps, a in the first half and b in the second, and 0 elsewhere. Who remembers nothing answers 1,
    the mean of y, and has the variance of y as mean squared error: 1/6.

    Args:
        length: T.

    Source:
        Hochreiter and Schmidhuber (1997), "Long short-term memory", in the form of Le, Jaitly and Hinton (2015), "A
        simple way to initialize recurrent networks of rectified linear units" (who print the baseline as 0.1767), and
        Arjovsky, Shah and Bengio (2016), "Unitary evolution recurrent neural networks" (0.167).

    Example:
        >>> made = Adding(6).draw(np.random.default_rng(0), 1)
        >>> float((made.x[0, :, 0] * made.x[0, :, 1]).sum() - made.y[0])
        0.0
    """

    length: int
    name: ClassVar[str] = "adding"
    features: ClassVar[int] = 2
    outputs: ClassVar[int] = 1
    readout: ClassVar[Readout] = "final"
    loss: ClassVar[str] = "mean_squared_error"
    tolerance: ClassVar[float] = 0.04
    right: ClassVar[str] = f"an answer that is off by less than {tolerance}"

    @property
    def steps(self) -> int:
        """T."""
        return self.length

    @property
    def baseline(self) -> float:
        """The variance of the sum of two numbers that are uniform in (0, 1)."""
        return 1 / 6

    def draw(self, generator: np.random.Generator, count: int) -> MadeSequences:
        """Make some sequences."""
        x = np.zeros((count, self.length, 2), np.float32)
        x[:, :, 0] = generator.random((count, self.length), np.float32)
        rows, half = np.arange(count), self.length // 2
        marked = (generator.integers(0, half, count), generator.integers(half, self.length, count))
        for steps in marked:
            x[rows, steps, 1] = 1
        y = x[rows, marked[0], 0] + x[rows, marked[1], 0]
        return MadeSequences(torch.from_numpy(x), torch.from_numpy(y))

    def measure(self, answers: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error, and how many are off by less than the tolerance."""
        wanted = y.to(answers.dtype)
        near = ((answers[:, 0] - wanted).detach().abs() < self.tolerance).sum()
        return F.mse_loss(answers[:, 0], wanted), near

    def predictions(self, sources: list[str], examples: MadeSequences, answers: Tensor) -> list[Prediction]:
        """Set answers beside the truth."""
        return [
            AddingPrediction(
                source,
                tuple(x[:, 0].tolist()),
                tuple(x[:, 1].nonzero()[:, 0].tolist()),
                truth=y,
                answer=answer,
                right=abs(answer - y) < self.tolerance,
            )
            for source, x, y, answer in zip(
                sources, examples.x, examples.y.tolist(), answers[:, 0].tolist(), strict=True
            )
        ]


@dataclass(frozen=True)
class Copy:
    r"""The copy problem: ten symbols are read, and after T steps written down again.

    A sequence has T + 20 steps: ten symbols of eight, T - 1 blanks, a mark, ten blanks. The answer is blank up to and
    with the mark, and then the ten symbols in their order. Who remembers nothing writes blanks and then guesses, and
    has as mean cross-entropy of all steps

    .. math::

        \frac{10 \ln 8}{T + 20}

    Args:
        length: T.

    Source:
        Arjovsky, Shah and Bengio (2016), "Unitary evolution recurrent neural networks", after Hochreiter and
        Schmidhuber (1997).

    Example:
        >>> made = Copy(3).draw(np.random.default_rng(0), 1)
        >>> made.x[0].argmax(1)  # 8 is the blank, 9 the mark
        tensor([6, 5, 4, 2, 2, 0, 0, 0, 1, 6, 8, 8, 9, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8])
        >>> made.y[0]
        tensor([8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 6, 5, 4, 2, 2, 0, 0, 0, 1, 6])
    """

    length: int
    name: ClassVar[str] = "copy"
    symbols: ClassVar[int] = 10  #: to remember
    alphabet: ClassVar[int] = 8
    features: ClassVar[int] = alphabet + 2  #: with blank and mark
    outputs: ClassVar[int] = alphabet + 1  #: the mark is never written
    readout: ClassVar[Readout] = "steps"
    loss: ClassVar[str] = "cross_entropy"
    right: ClassVar[str] = "a symbol that is written again"

    @property
    def steps(self) -> int:
        """T + 20."""
        return self.length + 2 * self.symbols

    @property
    def baseline(self) -> float:
        """Of guessing the symbols, in the mean over all steps."""
        return self.symbols * math.log(self.alphabet) / self.steps

    def draw(self, generator: np.random.Generator, count: int) -> MadeSequences:
        """Make some sequences."""
        blank, mark = self.alphabet, self.alphabet + 1
        symbols = generator.integers(0, self.alphabet, (count, self.symbols))
        read = np.full((count, self.steps), blank)
        read[:, : self.symbols] = symbols
        read[:, -self.symbols - 1] = mark
        y = np.full((count, self.steps), blank)
        y[:, -self.symbols :] = symbols
        x = np.eye(self.features, dtype=np.uint8)[read]
        return MadeSequences(torch.from_numpy(x), torch.from_numpy(y))

    def measure(self, answers: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of all steps, and the sum over sequences of the share of symbols that are right."""
        loss = F.cross_entropy(answers.flatten(0, 1), y.flatten())
        right = (answers.detach().argmax(2) == y)[:, -self.symbols :]
        return loss, right.to(answers.dtype).mean(1).sum()

    def predictions(self, sources: list[str], examples: MadeSequences, answers: Tensor) -> list[Prediction]:
        """Set answers beside the truth."""
        written = answers.argmax(2)
        return [
            CopyPrediction(
                source,
                tuple(x.argmax(1).tolist()),
                tuple(y[-self.symbols :].tolist()),
                tuple(answer[-self.symbols :].tolist()),
            )
            for source, x, y, answer in zip(sources, examples.x, examples.y, written, strict=True)
        ]


PROBLEMS: Final[Mapping[str, type[Adding] | type[Copy]]] = {problem.name: problem for problem in (Adding, Copy)}


def find_problem(name: str, length: int) -> Adding | Copy:
    """Return the problem of a name.

    Raises:
        OptionError: there is none; the message names the nearest.
    """
    if name not in PROBLEMS:
        raise OptionError(f"There is no memory problem {name!r}. {did_you_mean(name, PROBLEMS)}")
    return PROBLEMS[name](length)
