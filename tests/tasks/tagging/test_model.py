from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from elman.cells import Cell
from elman.data import Sentence, TaggedData
from elman.errors import OptionError
from elman.tasks.tagging import model as model_module
from elman.tasks.tagging.config import TaggerConfig
from elman.tasks.tagging.model import Neighbours, Tagger
from elman.tasks.tagging.specification import Batch, EncodedSentences

MakeTagger = Callable[..., Tagger]
CELLS = sorted(name for name, cell in Cell.registry.items() if cell.__module__.startswith("elman."))


@pytest.fixture
def sentences(make_data: Callable[..., TaggedData]) -> list[Sentence]:
    """Unsorted lengths, and an empty one in between."""
    test = list(make_data(features=True).splits["test"])
    return [*test[:3], Sentence((), (), ((),)), *test[3:5]]


def path_score(tagger: Tagger, scores: torch.Tensor, labels: list[int]) -> torch.Tensor:
    """Of one sequence of labels, written out."""
    assert tagger.crf is not None
    total = tagger.crf.start[labels[0]] + tagger.crf.end[labels[-1]]
    for step, label in enumerate(labels):
        total = total + scores[step, label]
    for before, after in pairwise(labels):
        total = total + tagger.crf.transitions[before, after]
    return total


def test_the_crf_loss_by_hand(make_tagger: MakeTagger) -> None:
    tagger = make_tagger()
    encoded = EncodedSentences(tagger.specification, [Sentence(("the", "cat"), ("B-NP", "I-NP"))])
    batch = encoded.batch([0])
    loss, scores = tagger(batch)
    labels = range(len(tagger.specification.labels))
    every = torch.stack([path_score(tagger, scores[0], [a, b]) for a in labels for b in labels])
    own = path_score(tagger, scores[0], batch.labels[0].tolist())
    assert loss.item() == pytest.approx(((every.logsumexp(0) - own) / 2).item(), rel=1e-12)
    chosen = tagger.decode(scores, batch)
    probabilities = tagger.probabilities(scores, chosen, batch)
    assert chosen[0].tolist() == list(divmod(int(every.argmax()), len(labels)))
    weights = every.softmax(0).reshape(len(labels), -1)
    expected = [weights.sum(1)[chosen[0, 0]].item(), weights.sum(0)[chosen[0, 1]].item()]
    assert probabilities[0].tolist() == pytest.approx(expected, rel=1e-9)


def test_softmax_takes_each_step_by_itself(make_tagger: MakeTagger, sentences: list[Sentence]) -> None:
    tagger = make_tagger(decoder="softmax")
    assert tagger.crf is None
    batch = EncodedSentences(tagger.specification, sentences).batch(range(len(sentences)))
    loss, scores = tagger(batch)
    log_p = F.log_softmax(scores, dim=-1)
    losses = [-log_p[b, t, batch.labels[b, t]] for b, size in enumerate(batch.lengths.tolist()) for t in range(size)]
    assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-12)
    chosen = tagger.decode(scores, batch)
    probabilities = tagger.probabilities(scores, chosen, batch)
    assert torch.equal(chosen, scores.argmax(-1))
    assert torch.allclose(probabilities, log_p.exp().amax(-1))


def gradients(tagger: Tagger, total: torch.Tensor) -> dict[str, torch.Tensor]:
    named = dict(tagger.named_parameters())
    return dict(zip(named, torch.autograd.grad(total, list(named.values())), strict=True))


@pytest.mark.parametrize(("cell", "decoder"), [*((cell, "crf") for cell in CELLS), ("lstm", "softmax")])
def test_a_padded_batch_is_its_rows_one_by_one(
    make_tagger: MakeTagger, sentences: list[Sentence], cell: str, decoder: str
) -> None:
    """Unsorted, with an empty row: losses, every gradient by name, and labels."""
    tagger = make_tagger(features=True, cell=cell, decoder=decoder, character_size=3, num_layers=2)
    encoded = EncodedSentences(tagger.specification, sentences)
    batch = encoded.batch(range(len(sentences)))
    loss, scores = tagger(batch)
    together = gradients(tagger, loss * batch.steps)
    labels = tagger.decode(scores, batch)
    probabilities = tagger.probabilities(scores, labels, batch)
    total, alone = torch.zeros((), dtype=torch.float64), None
    for k, sentence in enumerate(sentences):
        if len(sentence) == 0:
            continue
        row = encoded.batch([k])
        own, own_scores = tagger(row)
        total = total + own * row.steps
        own_labels = tagger.decode(own_scores, row)
        own_probabilities = tagger.probabilities(own_scores, own_labels, row)
        assert labels[k, : len(sentence)].tolist() == own_labels[0].tolist()
        assert torch.allclose(probabilities[k, : len(sentence)], own_probabilities[0], atol=1e-12)
    alone = gradients(tagger, total)
    assert (loss * batch.steps).item() == pytest.approx(total.item(), rel=1e-12)
    for name, gradient in alone.items():
        assert torch.allclose(together[name], gradient, rtol=1e-9, atol=1e-12), name
        assert gradient.abs().max() > 0, name


def test_what_lies_past_the_end_is_not_read(make_tagger: MakeTagger, sentences: list[Sentence]) -> None:
    tagger = make_tagger(features=True, character_size=3)
    batch = EncodedSentences(tagger.specification, sentences).batch(range(len(sentences)))
    past = torch.arange(batch.words.shape[1]) >= batch.lengths[:, None]
    spoiled = batch._replace(
        words=batch.words.masked_fill(past, 2),
        features=batch.features.masked_fill(past, 1),
        spelled=batch.spelled.masked_fill(past, 1),
        labels=batch.labels.masked_fill(past, 0),
        spellings=batch.spellings.masked_fill(
            torch.arange(batch.spellings.shape[1]) >= batch.spelling_lengths[:, None], 4
        ),
    )
    loss, _ = tagger(batch)
    other, _ = tagger(spoiled)
    assert loss.item() == other.item()
    expected, found = gradients(tagger, loss), gradients(tagger, other)
    for name, gradient in expected.items():
        assert torch.equal(gradient, found[name]), name


@pytest.mark.parametrize("part", ["words", "features", "spellings"])
def test_all_that_is_given_is_read(make_tagger: MakeTagger, sentences: list[Sentence], part: str) -> None:
    tagger = make_tagger(features=True, character_size=3)
    batch: Batch = EncodedSentences(tagger.specification, sentences[:1]).batch([0])
    tensor = getattr(batch, part).clone()
    tensor.view(-1)[0] = (int(tensor.view(-1)[0]) + 1) % 3
    changed = batch._replace(**{part: tensor})
    assert not torch.allclose(tagger.scores(changed), tagger.scores(batch))


def test_embeddings_begin_as_the_class_says(make_task: Callable[..., Any]) -> None:
    model = make_task(character_size=3, embedding_size=50).model
    bound = np.sqrt(3 / 50)
    assert 0.9 * bound < model.embedding.weight.abs().max() <= bound


def test_options_reach_the_layers(make_tagger: MakeTagger) -> None:
    tagger = make_tagger(
        cell="gru", num_layers=2, bidirectional=False, dropout=0.1, input_dropout=0.2, output_dropout=0.3,
        recurrent_dropout=0.4, variational=True,
    )  # fmt: skip
    layer = tagger.recurrent
    assert (layer.num_layers, layer.directions) == (2, 1)
    assert (layer.dropout, layer.input_dropout, layer.output_dropout) == (0.1, 0.2, 0.3)
    assert (layer.recurrent_dropout, layer.variational) == (0.4, True)


@pytest.mark.parametrize("directions", [1, 2])
def test_the_second_loss_by_hand(directions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three rows, one of them empty and one of a single word, which has no neighbours."""
    monkeypatch.setattr(model_module, "_TOLD_APART", 4)
    torch.manual_seed(0)
    neighbours = Neighbours(3, directions, 9).double()
    outputs = torch.randn(3, 4, 3 * directions, dtype=torch.float64, requires_grad=True)
    words, lengths = torch.tensor([[3, 1, 7, 2], [5, 0, 0, 0], [0, 0, 0, 0]]), torch.tensor([4, 1, 0])
    known = [3, 1, 0, 2]  # 7 is not told apart
    total = torch.zeros((), dtype=torch.float64)
    for direction in range(directions):
        narrow, readout = neighbours.narrow[direction], neighbours.readouts[direction]
        for step in range(4):
            other = step + 1 if direction == 0 else step - 1
            if 0 <= other < 4:
                seen = outputs[0, step, 3 * direction : 3 * direction + 3]
                total = total - F.log_softmax(readout.logits(torch.tanh(narrow(seen))), dim=-1)[known[other]]
    found = neighbours(outputs, words, lengths)
    assert found.item() == pytest.approx(total.item() / 5, rel=1e-9)
    parameters = [outputs, *neighbours.parameters()]
    expected = torch.autograd.grad(total / 5, parameters)
    for a, b in zip(torch.autograd.grad(found, parameters), expected, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_the_second_loss_is_of_training_alone(make_tagger: MakeTagger, sentences: list[Sentence]) -> None:
    tagger = make_tagger(neighbour_loss=0.3, features=True)
    batch = EncodedSentences(tagger.specification, sentences).batch(range(len(sentences)))
    trained, _ = tagger.train()(batch)
    measured, scores = tagger.eval()(batch)
    assert torch.equal(scores, tagger.scores(batch))
    second = tagger.neighbours(tagger._outputs(batch), batch.words, batch.lengths)
    assert trained.item() == pytest.approx((measured + 0.3 * second).item(), rel=1e-12)


def test_a_direction_does_not_see_the_word_that_it_predicts(make_tagger: MakeTagger) -> None:
    tagger = make_tagger(neighbour_loss=0.1)
    outputs = [
        tagger._outputs(EncodedSentences(tagger.specification, [Sentence(words)]).batch([0]))[0]
        for words in (("the", "cat", "sees"), ("the", "dog", "sees"))
    ]
    size = tagger.config.hidden_size
    assert torch.equal(outputs[0][0, :size], outputs[1][0, :size])
    assert torch.equal(outputs[0][2, size:], outputs[1][2, size:])
    with pytest.raises(OptionError, match=r"--neighbour-loss needs --num-layers 1"):
        TaggerConfig(neighbour_loss=0.1, num_layers=2)
