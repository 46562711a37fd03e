from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from elman.data import Columns, Sentence, TaggedData
from elman.errors import CheckpointError, DataError
from elman.tasks.tagging.specification import IGNORED, EncodedSentences, Entries, Specification

SENTENCES = [
    Sentence(("The", "cat", "sat"), ("B-NP", "I-NP", "B-VP"), (("DT", "NN", "VB"),)),
    Sentence(
        ("the", "cat", "purrs", "loudly", "."), ("B-NP", "I-NP", "B-VP", "O", "O"), (("DT", "NN", "VB", "RB", "."),)
    ),
    Sentence((), (), ((),)),
]


def specification(*, lower_case: bool = True, size: int | None = None) -> Specification:
    splits = {"train": SENTENCES, "test": [Sentence(("on",), ("B-PP",), (("IN",),))]}
    data = TaggedData("three", splits, "word", "BIO", columns=Columns(0, 2, (1,)))
    return Specification.of(data, lower_case=lower_case, vocabulary_size=size)


def test_entries_are_known_by_frequency() -> None:
    entries = Entries.by_frequency(["to", "be", "or", "not", "to", "be", "that", "is"])
    assert entries.known == ("be", "to", "is", "not", "or", "that")
    assert [entries.number(word) for word in ("to", "be", "question")] == [2, 1, 0]
    assert Entries.by_frequency(["a", "b", "b"], 1).known == ("b",)


def test_what_is_known_is_of_the_training_sentences_and_tags_of_all() -> None:
    known = specification()
    assert known.words.known == ("cat", "the", ".", "loudly", "purrs", "sat")
    assert specification(lower_case=False).words.known[0] == "cat"
    assert "The" in specification(lower_case=False).words.known
    assert specification(size=2).words.known == ("cat", "the")
    assert "T" in known.characters.known  # spelling is never folded
    assert known.labels == ("O", "B-NP", "I-NP", "B-VP", "I-VP", "B-PP")  # I-VP may well come
    assert known.kinds == ("NP", "PP", "VP")
    assert [entries.known for entries in known.features] == [("DT", "NN", "VB", ".", "RB")]
    assert known.columns == Columns(0, 2, (1,))


def test_json_and_back() -> None:
    known = specification()
    again = Specification.from_json(json.loads(json.dumps(known.to_json())))
    assert again.to_json() == known.to_json()
    encoded, same = (EncodedSentences(s, SENTENCES).batch([0, 1]) for s in (known, again))
    for name, tensor in encoded._asdict().items():
        assert torch.equal(tensor, getattr(same, name)), name


@pytest.mark.parametrize(
    "change",
    [
        {"level": "sentence"},
        {"scheme": "IOB1"},
        {"words": ["a", "a"]},
        {"words": [1, 2]},
        {"labels": None},
        {"columns": [0, 1]},
    ],
)
def test_a_damaged_description_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="must be the description of a tagger"):
        Specification.from_json({**specification().to_json(), **change})
    with pytest.raises(CheckpointError, match="must be the description of a tagger"):
        Specification.from_json(dict.fromkeys(change, 0))


def test_a_batch_is_the_sentences_side_by_side() -> None:
    known = specification()
    batch = EncodedSentences(known, SENTENCES).batch([1, 2, 0])
    assert batch.lengths.tolist() == [5, 0, 3]
    assert batch.steps == 8
    the, cat = known.words.number("the"), known.words.number("cat")
    assert batch.words[0].tolist()[:2] == [the, cat]
    assert batch.words[1].tolist() == [0] * 5
    assert batch.words[2].tolist() == [the, cat, known.words.number("sat"), 0, 0]
    labels = [known.labels.index(tag) for tag in SENTENCES[0].tags]
    assert batch.labels[2].tolist() == [*labels, IGNORED, IGNORED]
    assert batch.labels[1].tolist() == [IGNORED] * 5
    assert batch.features.shape == (1, 3, 5)
    assert batch.features[0, 2].tolist() == [known.features[0].number(p) for p in ("DT", "NN", "VB")] + [0, 0]
    for row, sentence in ((0, SENTENCES[1]), (2, SENTENCES[0])):
        for step, word in enumerate(sentence.tokens):
            which = int(batch.spelled[row, step])
            length = int(batch.spelling_lengths[which])
            spelled = batch.spellings[which, :length].tolist()
            assert spelled == [known.characters.number(c) for c in word]
    assert len(batch.spellings) == 8  # The, the, cat, sat, purrs, loudly, . and none


def test_what_is_not_known_has_number_zero() -> None:
    known = specification()
    batch = EncodedSentences(known, [Sentence(("Zebra", "sat"), (), (("XX", "VB"),))]).batch([0])
    assert batch.words.tolist() == [[0, known.words.number("sat")]]
    assert batch.features[0, 0, 0] == 0
    assert batch.labels.tolist() == [[IGNORED, IGNORED]]
    first = batch.spellings[batch.spelled[0, 0]].tolist()
    assert first[0] == 0  # no Z
    assert 0 not in first[4:5]  # but an a


def test_occurrences_count_known_words() -> None:
    known = specification()
    occurrences = EncodedSentences(known, SENTENCES).occurrences()
    assert len(occurrences) == len(known.words)
    assert occurrences[known.words.number("the")] == 2
    assert occurrences[known.words.number("sat")] == 1


def test_columns_and_tags_that_do_not_fit() -> None:
    with pytest.raises(DataError, match=r"\(1 beside words and tags\), got 0. Use --columns"):
        EncodedSentences(specification(), [Sentence(("the",), ("O",))])
    with pytest.raises(DataError, match=r"tags must be among the 6 of training, got B-XP"):
        EncodedSentences(specification(), [Sentence(("the",), ("B-XP",), (("DT",),))])
    with pytest.raises(DataError, match="one or more, got none"):
        EncodedSentences(specification(), [])


def test_the_little_language(make_data: Callable[..., TaggedData]) -> None:
    data = make_data(features=True)
    encoded = EncodedSentences(
        Specification.of(data),
        data.splits["train"],
    )
    assert encoded.lengths.tolist() == [len(s) for s in data.splits["train"]]
    assert len(encoded) == 23
