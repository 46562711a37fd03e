from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import elman.tasks.language_model.scoring as module
from elman.data import Vocabulary
from elman.errors import DivergenceError, OptionError
from elman.tasks.language_model.model import LanguageModel
from elman.tasks.language_model.reading import Reading, read
from elman.tasks.language_model.scoring import (
    ScoredWord,
    Scores,
    Totals,
    metrics,
    most_surprising,
    score,
    score_stream,
    unknown_words,
)

MakeModel = Callable[..., LanguageModel]

TEXT = "the cat sat\nthe zebra ran the dog\n\nsat ran <unk> cat"
WORDS = [
    *["the", "cat", "sat", "<eos>", "the", "zebra", "ran", "the", "dog", "<eos>", "<eos>", "sat", "ran", "<unk>", "cat"]
]
IDS = [0, 1, 3, 5, 0, 6, 4, 0, 2, 5, 5, 3, 4, 6, 1]


@torch.no_grad()
def by_hand(model: LanguageModel, ids: list[int]) -> tuple[list[float], list[int], list[float]]:
    """Word by word in float64, in torch's own operations: the word given, the likeliest, and how likely that is."""
    double = LanguageModel(model.config, model.vocabulary).double().eval()
    double.load_state_dict(model.state_dict())
    end = int(model.vocabulary.encode("\n")[0])
    cells = [cell for _, cell in double.recurrent.named_cells()]
    states = [[torch.zeros(1, cell.hidden_size).double() for _ in cell.states] for cell in cells]
    given_, expected, likeliest = [], [], []
    for before, word in zip([end, *ids], ids, strict=False):
        value = double.embedding.weight[[before]]
        for k, cell in enumerate(cells):
            states[k] = list(cell(value, states[k]))
            value = states[k][0]
        logits = value[0] @ double.readout.weight.T + double.readout.bias
        log_p = logits - logits.logsumexp(0)
        given_.append(float(log_p[word]))
        expected.append(int(log_p.argmax()))
        likeliest.append(float(log_p.max()))
    return given_, expected, likeliest


def assert_scores(scores: Scores, model: LanguageModel, texts: list[str], ids: list[int]) -> None:
    given_, expected, likeliest = by_hand(model, ids)
    unknown = model.vocabulary.unknown
    assert [word.text for word in scores.words] == texts
    assert [word.word for word in scores.words] == ids
    assert [word.known for word in scores.words] == [word != unknown for word in ids]
    assert [word.log_probability for word in scores.words] == pytest.approx(given_, abs=1e-5)
    assert [word.expected for word in scores.words] == [model.vocabulary.entries[word] for word in expected]
    assert [word.expected_log_probability for word in scores.words] == pytest.approx(likeliest, abs=1e-5)
    assert scores.totals == Totals(len(ids), ids.count(unknown), pytest.approx(math.fsum(given_), abs=1e-4))
    end = Reading.begin(model).after(model, ids)
    torch.testing.assert_close(scores.reading.log_probabilities, end.log_probabilities)
    for found, wanted in zip(scores.reading.state, end.state, strict=True):
        torch.testing.assert_close(found, wanted)
    assert scores.reading.word == ids[-1]


@pytest.mark.parametrize("window", [1, 2, 7, 256])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_scores_are_those_by_hand(make_model: MakeModel, monkeypatch, window: int, cell: str) -> None:
    monkeypatch.setattr(module, "_LONGEST_WINDOW", window)
    model = make_model(cell=cell)
    assert_scores(score(model, TEXT), model, WORDS, IDS)
    texts = [model.vocabulary.entries[word] for word in IDS]
    assert_scores(score(model, IDS), model, texts, IDS)


@pytest.mark.parametrize("window", [3, 256])
def test_characters(make_model: MakeModel, monkeypatch, window: int) -> None:
    monkeypatch.setattr(module, "_LONGEST_WINDOW", window)
    model = make_model("character")
    assert_scores(score(model, "abz\nde  é"), model, list("abz\nde  é"), [0, 1, 6, 5, 3, 4, 6, 6, 6])


def test_what_was_read_before_counts(make_model: MakeModel) -> None:
    model = make_model()
    whole = score(model, "the cat sat the dog")
    part = score(model, "sat the dog", read(model, "the cat"))
    values = [word.log_probability for word in whole.words[2:]]
    assert [word.log_probability for word in part.words] == pytest.approx(values, abs=1e-5)
    following = score(model, "ran", part.reading).words[0].log_probability
    assert following == pytest.approx(score(model, "the cat sat the dog ran").words[-1].log_probability, abs=1e-5)


def test_the_scores_of_what_was_generated_are_its_probabilities(make_model: MakeModel) -> None:
    model = make_model()
    reading, expected = Reading.begin(model), []
    for word in IDS:
        expected.append(float(reading.log_probabilities[word]))
        reading = reading.after(model, [word])
    assert [word.log_probability for word in score(model, IDS).words] == pytest.approx(expected, abs=1e-5)


def test_no_text(make_model: MakeModel) -> None:
    model = make_model()
    reading = read(model, "the")
    scores = score(model, " ", reading)
    assert (scores.words, scores.totals, scores.reading) == ((), Totals(), reading)
    assert list(score_stream(model, iter([]))) == []


@given(st.lists(st.text(alphabet="ab \n\t", max_size=5)))
def test_a_text_may_be_cut_anywhere(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert list(module._entries("word", pieces)) == whole.replace("\n", " <eos> ").split()
    assert list(module._entries("character", pieces)) == list(whole)


def test_a_long_text_comes_in_windows(make_model: MakeModel, monkeypatch) -> None:
    """Of a text without end only a window more is asked for than was scored, and nothing of it is kept."""
    monkeypatch.setattr(module, "_LONGEST_WINDOW", 10)
    model, asked, sizes = make_model(), [], []
    window = module._log_probabilities

    def endless() -> Iterator[str]:
        while True:
            asked.append(1)
            yield "the cat sat\n"

    monkeypatch.setattr(module, "_log_probabilities", lambda m, ids, r: sizes.append(len(ids)) or window(m, ids, r))
    stream = score_stream(model, endless())
    for k in range(1, 40):
        scores = next(stream)
        assert len(scores.words) == 10
        assert len(asked) <= (10 * k) // 4 + 2
    assert sizes == [10] * 39
    last = by_hand(model, [0, 1, 3, 5] * 98)[0][380:390]
    assert [word.log_probability for word in scores.words] == pytest.approx(last, abs=1e-4)


def test_windows_of_a_large_vocabulary_are_short() -> None:
    vocabulary = Vocabulary("word", ("<eos>", "<unk>", *map(str, range(200_000))))
    assert module._window_size(vocabulary) == 41
    assert module._window_size(Vocabulary("word", ("<eos>", "<unk>"))) == module._LONGEST_WINDOW


def test_a_model_that_cannot_score(make_model: MakeModel) -> None:
    model = make_model(dropout=0.5)
    begun = Reading.begin(model)
    with pytest.raises(OptionError, match=r"must be in evaluation mode"):
        score(model.train(), "the cat", begun)
    model.eval()
    with pytest.raises(OptionError, match=r"words must be a sequence of ids, 0 to 6, got \[7\]"):
        score(model, [7])
    with torch.no_grad():
        model.embedding.weight[2] = torch.nan
    with pytest.raises(DivergenceError, match="must be finite"):
        score(model, "the dog sat", begun)


def scored(*values: float) -> list[ScoredWord]:
    return [ScoredWord("a", 0, True, value, "b", -0.5) for value in values]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([], []),
        ([-9.0], []),
        ([-1.0, -9.0], [1]),
        ([-9.0, -1.0, -9.0], [0]),
        ([-1.0] * 29 + [-3.0], [29]),
        ([-5.0] + [-1.0] * 28 + [-3.0, -4.0] + [-1.0] * 29, [0, 29, 30]),
    ],
)
def test_the_most_surprising_words(values: list[float], places: list[int]) -> None:
    assert most_surprising(scored(*values)) == places


def test_unknown_words() -> None:
    vocabulary = Vocabulary("word", ("the", "<eos>", "<unk>"))
    assert unknown_words(vocabulary, "the zebra\nthe quagga, zebra the") == ["zebra", "quagga,"]
    assert unknown_words(vocabulary, "") == []


def test_metrics() -> None:
    totals = Totals(3, 1, -6.0)
    assert totals.metrics("word") == {"perplexity": math.exp(2), "loss": 2.0}
    assert totals.metrics("character") == {
        "perplexity": math.exp(2),
        "bits_per_character": 2 / math.log(2),
        "loss": 2.0,
    }
    assert metrics(701.0, "word")["perplexity"] == math.inf
