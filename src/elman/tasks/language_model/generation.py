"""Text out of a language model, word by word."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from elman.errors import OptionError, describe
from elman.tasks.language_model.model import LanguageModel
from elman.tasks.language_model.reading import Reading

__all__ = ["Generated", "Sampling", "generate"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    r"""How the next word is drawn from the probabilities that a model gives.

    From log-probabilities l, in this order:

    1. temperature T: :math:`p_i \propto \exp(l_i / T)`; towards 0 the likely words become likelier, and 0 itself takes
       the likeliest, the first in the vocabulary where several are equally likely;
    2. top-k: the k likeliest words stay (of equally likely ones the first in the vocabulary; k may be larger than the
       vocabulary), the others get 0;
    3. top-p: of these the fewest likeliest stay whose share of what top-k has left is p or more: always one, and all
       where p is 1.

    What stays is divided by its sum.

    Args:
        temperature: 0 or more.
        top_k: Words that may be drawn; None for all.
        top_p: Share of the probability that may be drawn, over 0 and up to 1; None for all.

    Raises:
        OptionError: One of them is out of range.

    Source:
        Top-k: Fan, Lewis and Dauphin 2018, "Hierarchical Neural Story Generation". Top-p: Holtzman et al. 2020, "The
        Curious Case of Neural Text Degeneration", where it is nucleus sampling.

    Example:
        >>> log_probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
        >>> Sampling(top_k=2).probabilities(log_probabilities)
        tensor([0.6250, 0.3750, 0.0000, 0.0000], dtype=torch.float64)
        >>> Sampling(temperature=0.5, top_p=0.9).probabilities(log_probabilities)
        tensor([0.7353, 0.2647, 0.0000, 0.0000], dtype=torch.float64)
        >>> Sampling().choose(log_probabilities, torch.Generator().manual_seed(0))
        3
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.temperature < math.inf:
            problems.append(describe("temperature", expected="finite, 0 or more", got=f"{self.temperature}"))
        if self.top_k is not None and self.top_k < 1:
            problems.append(describe("top-k", expected="at least 1", got=f"{self.top_k}"))
        if self.top_p is not None and not 0 < self.top_p <= 1:
            problems.append(describe("top-p", expected="over 0 and at most 1", got=f"{self.top_p}"))
        if problems:
            raise OptionError(" ".join(problems))

    def probabilities(self, log_probabilities: Tensor) -> Tensor:
        """The probabilities ``(vocabulary,)`` with which words are drawn: float64, on the CPU."""
        logs = log_probabilities.to("cpu", torch.float64)
        if self.temperature == 0:
            return torch.zeros_like(logs).index_fill(0, logs.argmax(), 1)
        weights = ((logs - logs.max()) / self.temperature).exp()
        if self.top_k is not None and self.top_k < len(weights):
            least = weights.topk(self.top_k).values[-1]
            weights = _only(weights, _ranked(weights, least)[: self.top_k])
        if self.top_p is not None and self.top_p < 1:
            total = weights.cumsum(0)[-1]
            # All that are under (1 - p) / size do not make up 1 - p together: no need to sort them. Half, for rounding.
            ranked = _ranked(weights, (1 - self.top_p) * total / (2 * len(weights)))
            short = weights[ranked].cumsum(0) < self.top_p * total
            weights = _only(weights, ranked[: int(short.sum()) + 1])
        return weights / weights.cumsum(0)[-1]

    def choose(self, log_probabilities: Tensor, generator: torch.Generator | None = None) -> int:
        """Draw a word: the first whose probability, added to those of the words before it, is over a random number.

        Args:
            log_probabilities: ``(vocabulary,)``.
            generator: Of the one random number that each word takes, also at temperature 0; None for torch's own.

        Returns:
            The id of the word.
        """
        sums = self.probabilities(log_probabilities).cumsum(0)
        number = torch.rand((), dtype=torch.float64, generator=generator)
        # Divided by the last, they end in 1 exactly, and the number is less: a word of probability 0 is never met.
        return int(torch.searchsorted(sums / sums[-1], number, right=True))


class Generated(NamedTuple):
    """A word that a model has written.

    Attributes:
        word: Its id.
        text: It as people read it, with the space before it where there is one.
        reading: The text up to and with it: what to go on from, or to save.
    """

    word: int
    text: str
    reading: Reading


def generate(
    model: LanguageModel,
    reading: Reading,
    length: int,
    *,
    sampling: Sampling | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Generated]:
    """Write on from a reading, one word at a time: nothing is computed before it is asked for.

    ``<unk>`` is never written: it stands for words that the vocabulary lacks, and is none itself. The same numbers of
    the generator give the same text, on any number of threads.

    Args:
        model: The model, in evaluation mode.
        reading: What it has read.
        length: Words, or characters.
        sampling: How to draw; None for the model's own probabilities.
        generator: Random numbers, such as ``torch.Generator().manual_seed(3)``; None for torch's own.

    Example:
        >>> from elman.data import Vocabulary
        >>> from elman.tasks.language_model.config import NetworkConfig
        >>> vocabulary = Vocabulary("word", ("the", "cat", "<eos>", "<unk>"))
        >>> model = LanguageModel(NetworkConfig(hidden_size=8), vocabulary).eval()
        >>> words = generate(model, Reading.begin(model), 5, generator=torch.Generator().manual_seed(3))
        >>> len("".join(word.text for word in words).split()) <= 5
        True
    """
    sampling = Sampling() if sampling is None else sampling
    vocabulary = model.vocabulary
    unknown = torch.tensor([vocabulary.unknown])
    for _ in range(length):
        log_probabilities = reading.log_probabilities.cpu().index_fill(0, unknown, -math.inf)
        word = sampling.choose(log_probabilities, generator)
        text = vocabulary.spacing(reading.word, word) + vocabulary.decode([word])
        reading = reading.after(model, [word])
        yield Generated(word, text, reading)


def _ranked(weights: Tensor, least: Tensor) -> Tensor:
    """The words of this weight or more, the heaviest first; of equally heavy ones the first in the vocabulary."""
    words = (weights >= least).nonzero()[:, 0]
    return words[weights[words].sort(descending=True, stable=True).indices]


def _only(weights: Tensor, words: Tensor) -> Tensor:
    return torch.zeros_like(weights).index_copy(0, words, weights[words])
