"""The network of the language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells import Cell
from elman.data import Vocabulary
from elman.layers import LinearCrossEntropy, Stream
from elman.tasks.language_model.config import NetworkConfig

__all__ = ["LanguageModel"]

_NOT_COUNTED = -100


class LanguageModel(nn.Module):
    r"""Embedding, recurrent layers, and a linear readout over the vocabulary.

    .. math::

        h_t = \text{layers}(E_{w_t}, h_{t-1}), \qquad p(w_{t+1} \mid w_1 \dots w_t) = \operatorname{softmax}(V h_t + d)

    with V = E where weights are tied.

    Args:
        config: the network.
        vocabulary: what it reads and predicts; its entries are "words" here, also where they are characters.

    Shapes:
        words and targets ``(batch, time)`` int64; state as that of `elman.layers.Recurrent`.

    Init:
        As the layers have it; with ``init_scale`` s, all matrices uniform in ±s and the biases of the readout too.

    Example:
        >>> vocabulary = Vocabulary("word", ("the", "<eos>", "<unk>"))
        >>> model = LanguageModel(NetworkConfig(hidden_size=16), vocabulary)
        >>> words = torch.tensor([[0, 2, 1], [2, 1, 0]])
        >>> loss, state = model(words[:, :-1], words[:, 1:])
        >>> loss.shape, state.h.shape
        (torch.Size([]), torch.Size([2, 2, 1, 16]))
    """

    def __init__(self, config: NetworkConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        size = config.embedding_size or config.hidden_size
        self.embedding = nn.Embedding(len(vocabulary), size)
        self.recurrent = config.layers(
            size,
            output_dropout=config.output_dropout,
            variational=config.variational,
            recurrent_dropout=config.recurrent_dropout,
            weight_drop=config.weight_drop,
            zoneout=config.zoneout,
        )
        self.readout = LinearCrossEntropy(config.hidden_size, len(vocabulary), ignore_index=_NOT_COUNTED)
        if config.tied_weights:
            self.readout.weight = cast(nn.Parameter, self.embedding.weight)
        if config.init_scale is not None:
            self._draw(config.init_scale)
        self._stream = Stream(self.embedding, self.recurrent, self.readout)

    def forward(
        self,
        words: Tensor,
        targets: Tensor,
        state: Sequence[Tensor] | None = None,
        *,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
        counted: Tensor | None = None,
        carry: int | None = None,
    ) -> tuple[Tensor, Any]:
        """Return the mean loss of a window and the state that the next one begins with.

        Args:
            words: what is read.
            targets: the word after each.
            state: the state before the window; None for zeros.
            reset: as in `Recurrent`.
            lengths: as in `Recurrent`.
            counted: bool ``(batch, time)``: whose loss counts; None for all.
            carry: the steps after which the next window begins; None for all.
        """
        if counted is not None:
            targets = torch.where(counted, targets, _NOT_COUNTED)
        outputs, state = self._run(
            self.embedding(words), state, reset, lengths, words.shape[1] if carry is None else carry
        )
        return self.readout(outputs, targets), state

    def _run(
        self, x: Tensor, state: Sequence[Tensor] | None, reset: Tensor | None, lengths: Tensor | None, carry: int
    ) -> tuple[Tensor, Any]:
        """Return the outputs, and the state after some of the steps: the next window reads the others again."""
        outputs, final = self.recurrent(x, state, lengths=lengths, reset=reset)
        if carry == x.shape[1]:
            return outputs, final
        if carry == 0:
            return outputs, self.recurrent.initial_state(len(x)) if state is None else state
        left = None if lengths is None else lengths.clamp(max=carry)
        begins = None if reset is None else reset[:, :carry]
        with torch.no_grad():  # a run of its own: what is drawn at random is the same in all of the window above
            _, carried = self.recurrent(x[:, :carry], state, lengths=left, reset=begins)
        return outputs, carried

    def log_probabilities(self, words: Tensor, state: Sequence[Tensor] | None = None) -> tuple[Tensor, Any]:
        """Return log-probabilities of the word after each, ``(batch, time, vocabulary)``, and the state after all."""
        outputs, state = self.recurrent(self.embedding(words), state)
        return F.log_softmax(self.readout.logits(outputs), dim=-1), state

    def step(self, words: Tensor, state: Sequence[Tensor] | None = None) -> tuple[Tensor, Any]:
        """Read one word a row, without gradients: `elman.layers.Stream`.

        Args:
            words: ``(batch,)`` int64.
            state: the state before; None for zeros.

        Returns:
            Log-probabilities of the next word, ``(batch, vocabulary)``, and the state after.
        """
        return self._stream(words, state)

    def _draw(self, scale: float) -> None:
        with torch.no_grad():
            for module in self.modules():
                for name, parameter in module.named_parameters(recurse=False):
                    if not isinstance(module, Cell) or name != "bias":
                        parameter.uniform_(-scale, scale)
