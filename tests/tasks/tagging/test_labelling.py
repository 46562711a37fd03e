from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from elman.data import Sentence, TaggedData, convert, cut_text
from elman.errors import DataError
from elman.tasks.tagging import labelling
from elman.tasks.tagging.config import TaggerConfig
from elman.tasks.tagging.labelling import label_sentences, label_text, read_text
from elman.tasks.tagging.model import Tagger
from elman.tasks.tagging.specification import EncodedSentences, Specification

MakeTagger = Callable[..., Tagger]


def alone(tagger: Tagger, sentence: Sentence) -> tuple[str, ...]:
    batch = EncodedSentences(tagger.specification, [sentence]).batch([0])
    labels = tagger.decode(tagger.scores(batch), batch)
    return convert(tagger.specification.tags(labels[0, : len(sentence)].tolist()), "BIO")


@pytest.mark.parametrize("at_once", [2, 512])
def test_answers_come_in_the_order_of_the_sentences(
    make_tagger: MakeTagger, make_data: Callable[..., TaggedData], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(labelling, "_AT_ONCE", at_once)
    monkeypatch.setattr(labelling, "_BATCH", 2)
    tagger, sentences = make_tagger(character_size=3), make_data().splits["test"]
    answers = list(label_sentences(tagger, sentences, "test"))
    assert [answer.source for answer in answers] == [f"test:{k}" for k in range(1, 12)]
    for sentence, answer in zip(sentences, answers, strict=True):
        assert answer.tokens == sentence.tokens
        assert answer.tags == alone(tagger, sentence)
        assert len(answer.probabilities) == len(sentence)
        assert all(0 < p <= 1 for p in answer.probabilities)
    assert len({answer.tags for answer in answers}) > 5


def test_a_line_of_text_is_a_sentence(make_tagger: MakeTagger) -> None:
    tagger = make_tagger()
    answers = list(label_text(tagger, "the cat  sees .\n\n \n the unheard-of dog\n", "a.txt"))
    assert [(answer.source, answer.tokens) for answer in answers] == [
        ("a.txt:1", ("the", "cat", "sees", ".")),
        ("a.txt:4", ("the", "unheard-of", "dog")),
    ]
    assert list(label_text(tagger, "\n \n")) == []


def test_tags_of_the_input_are_not_looked_at(make_tagger: MakeTagger) -> None:
    tagger = make_tagger()
    with_tags, without = (Sentence(("the", "cat"), tags) for tags in (("X", "Y"), ()))
    assert next(label_sentences(tagger, [with_tags], "a")) == next(label_sentences(tagger, [without], "a"))


def test_a_missing_column_is_named(make_tagger: MakeTagger) -> None:
    with pytest.raises(DataError, match=r"\(1 beside words and tags\), got 0. Use --columns"):
        list(label_text(make_tagger(features=True), "the cat"))


@pytest.fixture
def character_tagger() -> Tagger:
    torch.manual_seed(3)
    data = TaggedData("text", {"train": [Sentence(tuple("ab \n"), ("B-x", "I-x", "O", "O"))]}, "character", "BIO")
    tagger = Tagger(TaggerConfig(hidden_size=5, embedding_size=3), Specification.of(data)).double()
    with torch.no_grad():
        for parameter in tagger.parameters():
            parameter.uniform_(-1, 1)
    return tagger


@pytest.mark.parametrize("text", ["ab\n", "a\nbb ab\n\nabba ba b\nb" * 30, "ab" * 400, "", "\n\n\n"])
def test_a_text_of_characters_is_labelled_in_pieces(character_tagger: Tagger, text: str) -> None:
    (answer,) = label_text(character_tagger, text, "a.py")
    assert "".join(answer.tokens) == text
    assert len(answer.tags) == len(answer.probabilities) == len(text)
    assert answer.tags == tuple(tag for piece in cut_text(text) for tag in alone(character_tagger, piece))
    assert answer.source == "a.py"


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must be a text file, got nothing there. A text itself goes after --text"):
        read_text(str(tmp_path / "none.txt"))
    with pytest.raises(DataError, match="got a folder"):
        read_text(str(tmp_path))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_text(str(tmp_path / "latin.txt"))
    (tmp_path / "good.txt").write_text("the cat\n", encoding="utf-8")
    assert read_text(str(tmp_path / "good.txt")) == "the cat\n"


def test_training_mode_does_not_reach_the_answers(make_tagger: MakeTagger) -> None:
    tagger: Any = make_tagger(input_dropout=0.5).train()
    first, second = (next(label_text(tagger, "the big cat sees the dog .")) for _ in range(2))
    assert first == second


def test_answers_are_in_bio(make_data: Callable[..., TaggedData]) -> None:
    torch.manual_seed(0)
    data = make_data()
    splits = {name: [Sentence(s.tokens, convert(s.tags, "BIOES")) for s in some] for name, some in data.splits.items()}
    specification = Specification.of(TaggedData("little", splits, "word", "BIOES"))
    tagger = Tagger(TaggerConfig(hidden_size=5, embedding_size=3), specification)
    with torch.no_grad():
        tagger.readout.bias[[specification.labels.index(tag) for tag in ("S-NP", "E-NP")]] = 20.0
    answers = list(label_sentences(tagger, splits["test"], "test"))
    for sentence, answer in zip(splits["test"], answers, strict=True):
        assert answer.tags == alone(tagger, sentence) == ("B-NP",) * len(sentence)
