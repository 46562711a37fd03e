"""The language model that is measured, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from elman.tasks.language_model.model import LanguageModel

__all__ = ["NextWord", "Streamed"]


class NextWord(LanguageModel):
    """A language model at work: called with words and the state before them."""

    def forward(self, words: Tensor, state: Sequence[Tensor] | None = None) -> tuple[Tensor, Any]:  # type: ignore[override]
        """Return the log-probabilities of the word after each, ``(batch, time, vocabulary)``, and the next state."""
        return self.log_probabilities(words, state)


class Streamed(nn.Module):
    """The same, as `elman.layers.Stream` does a step.

    Args:
        model: the model.
    """

    def __init__(self, model: NextWord) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, words: Tensor, state: Sequence[Tensor] | None = None) -> tuple[Tensor, Any]:
        """Do a step: words ``(batch, 1)``."""
        log_probabilities, state = self.model.step(words[:, 0], state)
        return log_probabilities[:, None], state
