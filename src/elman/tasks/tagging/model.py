"""The network of the tagger."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.cells import find
from elman.layers import Linear, LinearChainCRF, LinearCrossEntropy, Recurrent
from elman.tasks.tagging.config import TaggerConfig
from elman.tasks.tagging.specification import IGNORED, Batch, Specification

__all__ = ["Tagger"]

_TOLD_APART = 7500  # words, in the second loss
_NARROW = 50  # units that it is predicted from


class Tagger(nn.Module):
    r"""Embedded words, recurrent layers, and a score for each tag at each step; a CRF or softmax chooses among them.

    .. math::

        x_t = [E_{w_t};\, \text{spelling}(w_t);\, \text{features}_t], \qquad h_t = \text{layers}(x)_t, \qquad
        e_t = V h_t + d

    Softmax takes p(y) = ∏ softmax(e_t)_{y_t}; the CRF adds a score for each move from a tag to the next
    (`elman.layers.LinearChainCRF`). The spelling of a word is the final state of each direction of a recurrent layer
    over its characters.

    Args:
        config: the network.
        specification: what it reads and answers.

    Shapes:
        As in `Batch`: words ``(batch, time)``; scores ``(batch, time, labels)``.

    Init:
        Embeddings of size n uniform in ±√(3/n) (Lample et al. 2016), the rest as the layers have it.

    Source:
        Z. Huang, W. Xu and K. Yu, «Bidirectional LSTM-CRF Models for Sequence Tagging», 2015; G. Lample et al., «Neural
        Architectures for Named Entity Recognition», 2016, section 4.1 (spelling).

    Example:
        >>> from elman.data import Sentence, TaggedData
        >>> from elman.tasks.tagging.specification import EncodedSentences
        >>> sentences = [Sentence(("a", "cat", "sat"), ("B-NP", "I-NP", "B-VP")), Sentence(("it",), ("B-NP",))]
        >>> specification = Specification.of(TaggedData("little", {"train": sentences}, "word", "BIO"))
        >>> model = Tagger(TaggerConfig(hidden_size=16, character_size=8), specification)
        >>> batch = EncodedSentences(specification, sentences).batch([0, 1])
        >>> loss, scores = model(batch)
        >>> loss.shape, scores.shape
        (torch.Size([]), torch.Size([2, 3, 5]))
    """

    def __init__(self, config: TaggerConfig, specification: Specification) -> None:
        super().__init__()
        self.config = config
        self.specification = specification
        self.embedding = _embedding(len(specification.words), config.embedding_size)
        self.features = nn.ModuleList(
            _embedding(len(entries), config.feature_size) for entries in specification.features
        )
        size = config.embedding_size + config.feature_size * len(self.features)
        self.spelling = None
        if config.character_size is not None:
            self.spelling = Spelling(config, len(specification.characters))
            size += self.spelling.size
        self.recurrent = config.layers(
            size,
            bidirectional=config.bidirectional,
            output_dropout=config.output_dropout,
            variational=config.variational,
            recurrent_dropout=config.recurrent_dropout,
        )
        labels = len(specification.labels)
        self.readout = Linear(self.recurrent.directions * config.hidden_size, labels)
        self.crf = LinearChainCRF(labels) if config.decoder == "crf" else None
        self.neighbours = None
        if config.neighbour_loss:
            self.neighbours = Neighbours(config.hidden_size, self.recurrent.directions, len(specification.words))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a step, -log p of the tags over the number of steps, and the scores.

        In training the loss has that of the neighbours added, where there is one.
        """
        outputs = self._outputs(batch)
        scores = self.readout(outputs)
        loss = self._loss(scores, batch)
        if self.training and self.neighbours is not None:
            loss = loss + self.config.neighbour_loss * self.neighbours(outputs, batch.words, batch.lengths)
        return loss, scores

    def scores(self, batch: Batch) -> Tensor:
        """Return the scores of the tags at each step, ``(batch, time, labels)``."""
        scores: Tensor = self.readout(self._outputs(batch))
        return scores

    def _loss(self, scores: Tensor, batch: Batch) -> Tensor:
        if self.crf is None:
            return F.cross_entropy(scores.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED)
        losses: Tensor = self.crf(scores, batch.labels, batch.lengths)
        return losses.sum() / batch.lengths.sum()

    def _outputs(self, batch: Batch) -> Tensor:
        inputs = [self.embedding(batch.words)]
        inputs += [embedding(column) for embedding, column in zip(self.features, batch.features, strict=True)]
        if self.spelling is not None:
            inputs.append(self.spelling(batch.spellings, batch.spelling_lengths)[batch.spelled])
        outputs: Tensor = self.recurrent(torch.cat(inputs, dim=-1), lengths=batch.lengths)[0]
        return outputs

    def decode(self, scores: Tensor, batch: Batch) -> Tensor:
        """Return the labels chosen, ``(batch, time)``; past a sentence's end anything."""
        if self.crf is None:
            return scores.argmax(dim=-1)
        labels, _ = self.crf.decode(scores, batch.lengths)
        return labels

    def probabilities(self, scores: Tensor, labels: Tensor, batch: Batch) -> Tensor:
        """Return the probability of each label at its place, ``(batch, time)``; past a sentence's end anything."""
        every = F.softmax(scores, dim=-1) if self.crf is None else self.crf.marginals(scores, batch.lengths)
        return every.gather(-1, labels.clamp(min=0)[..., None])[..., 0]


class Spelling(nn.Module):
    """What a word's characters say of it: the final states of a recurrent layer that reads them in both directions.

    Args:
        config: the network.
        characters: how many are known.

    Shapes:
        characters int64 ``(words, characters)``, lengths ``(words,)``; result ``(words, size)``.
    """

    def __init__(self, config: TaggerConfig, characters: int) -> None:
        super().__init__()
        assert config.character_size is not None
        self.size = 2 * config.character_size
        self.embedding = _embedding(characters, config.character_embedding_size)
        self.recurrent = Recurrent(
            find(config.cell), config.character_embedding_size, config.character_size, bidirectional=True
        )

    def forward(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """Return the final states of both directions, side by side."""
        _, state = self.recurrent(self.embedding(characters), lengths=lengths)
        final: Tensor = state[0][:, -1].flatten(1)
        return final


class Neighbours(nn.Module):
    r"""A second thing to learn: the word that comes next, and the one before.

    .. math::

        \ell = -\frac{1}{N} \sum_t \bigl(\log p(w_{t+1} \mid \overrightarrow{h}_t)
                                        + \log p(w_{t-1} \mid \overleftarrow{h}_t)\bigr), \qquad
        p(w \mid h) = \operatorname{softmax}(V \tanh(U h + b) + d)_w

    over the N words of all sentences. A direction does not see the word that it predicts, so that it has to learn what
    goes with what. The most frequent 7,500 words are told apart; the others are one.

    Args:
        hidden_size: units of a direction.
        directions: 1, which predicts the next word only, or 2.
        words: how many are known, the most frequent first.

    Shapes:
        outputs ``(batch, time, directions * hidden_size)``, words ``(batch, time)``, lengths ``(batch,)``.

    Source:
        M. Rei, «Semi-supervised Multitask Learning for Sequence Labeling», 2017.
    """

    def __init__(self, hidden_size: int, directions: int, words: int) -> None:
        super().__init__()
        self.told_apart = min(words, _TOLD_APART)
        self.narrow = nn.ModuleList(Linear(hidden_size, _NARROW) for _ in range(directions))
        self.readouts = nn.ModuleList(
            LinearCrossEntropy(_NARROW, self.told_apart, ignore_index=IGNORED, reduction="sum")
            for _ in range(directions)
        )

    def forward(self, outputs: Tensor, words: Tensor, lengths: Tensor) -> Tensor:
        """Return the loss."""
        inside = torch.arange(words.shape[1], device=words.device) < lengths[:, None]
        known = torch.where(words < self.told_apart, words, 0)
        known = F.pad(torch.where(inside, known, IGNORED), (1, 1), value=IGNORED)
        targets = (known[:, 2:], known[:, :-2])
        loss = outputs.new_zeros(())
        parts = zip(self.narrow, self.readouts, outputs.chunk(len(self.narrow), dim=-1), targets, strict=False)
        for narrow, readout, seen, target in parts:
            loss = loss + readout(torch.tanh(narrow(seen)), torch.where(inside, target, IGNORED))
        return loss / lengths.sum()


def _embedding(entries: int, size: int) -> nn.Embedding:
    embedding = nn.Embedding(entries, size)
    bound = (3 / size) ** 0.5
    nn.init.uniform_(embedding.weight, -bound, bound)
    return embedding
