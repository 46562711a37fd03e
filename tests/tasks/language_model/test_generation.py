from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import OptionError
from elman.tasks.language_model.generation import Sampling, generate
from elman.tasks.language_model.model import LanguageModel
from elman.tasks.language_model.reading import Reading, read

MakeModel = Callable[..., LanguageModel]

P = torch.tensor([0.05, 0.4, 0.1, 0.3, 0.1, 0.05], dtype=torch.float64)
UNKNOWN = 6


def logs(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_hand(log_probabilities: list[float], temperature: float, k: int | None, p: float | None) -> list[float]:
    """The definition, with Python's own sort, which keeps the order of what is equal."""
    weights = [math.exp((value - max(log_probabilities)) / temperature) for value in log_probabilities]
    kept = sorted(range(len(weights)), key=lambda word: -weights[word])[:k]
    if p is not None and p < 1:
        total, reached, few = math.fsum(weights[word] for word in kept), 0.0, []
        for word in kept:
            few.append(word)
            reached += weights[word]
            if reached >= p * total:
                break
        kept = few
    total = math.fsum(weights[word] for word in kept)
    return [weights[word] / total if word in kept else 0.0 for word in range(len(weights))]


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=30),
    st.sampled_from([0.25, 1.0, 3.0]),
    st.none() | st.integers(1, 40),
    st.none() | st.floats(0.01, 1).map(lambda p: round(p, 2) + 0.001).filter(lambda p: p <= 1),
)
def test_the_definition(values: list[int], temperature: float, k: int | None, p: float | None) -> None:
    """Many are equally likely."""
    found = Sampling(temperature=temperature, top_k=k, top_p=p).probabilities(torch.tensor(values) * 0.7)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(by_hand([0.7 * v for v in values], temperature, k, p), abs=1e-6)


@pytest.mark.parametrize(
    ("sampling", "support"),
    [
        (Sampling(), [0, 1, 2, 3, 4, 5]),
        (Sampling(top_k=1), [1]),
        (Sampling(top_k=3), [1, 2, 3]),  # 2 and 4 are equally likely
        (Sampling(top_k=4), [1, 2, 3, 4]),
        (Sampling(top_k=5), [0, 1, 2, 3, 4]),  # so are 0 and 5
        (Sampling(top_k=99), [0, 1, 2, 3, 4, 5]),
        (Sampling(top_p=1e-9), [1]),
        (Sampling(top_p=0.39), [1]),
        (Sampling(top_p=0.41), [1, 3]),
        (Sampling(top_p=0.71), [1, 2, 3]),
        (Sampling(top_p=0.81), [1, 2, 3, 4]),
        (Sampling(top_p=1.0), [0, 1, 2, 3, 4, 5]),
        (Sampling(top_k=2, top_p=0.56), [1]),  # 0.4 of 0.7 is more than 0.56
        (Sampling(top_k=2, top_p=0.58), [1, 3]),
        (Sampling(temperature=0.1, top_p=0.94), [1]),  # top-p comes after the temperature
        (Sampling(temperature=0), [1]),
    ],
)
def test_exactly_these_may_be_drawn(sampling: Sampling, support: list[int]) -> None:
    found = sampling.probabilities(P.log())
    assert found.nonzero()[:, 0].tolist() == support
    assert float(found.sum()) == pytest.approx(1, abs=1e-12)
    if sampling.temperature == 1:
        torch.testing.assert_close(found[support], P[support] / P[support].sum())


def test_the_fewest_that_reach_the_share_exactly() -> None:
    assert Sampling(top_p=0.75).probabilities(logs(0.25, 0.5, 0.25)).tolist() == [1 / 3, 2 / 3, 0]


def test_temperature_goes_from_the_likeliest_to_all_alike() -> None:
    torch.testing.assert_close(Sampling(temperature=1e9).probabilities(P.log()), torch.full((6,), 1 / 6).double())
    for temperature in (1e-4, 5e-324, 0.0):
        assert Sampling(temperature=temperature).probabilities(P.log()).tolist() == [0, 1, 0, 0, 0, 0]
    torch.testing.assert_close(Sampling(temperature=0.5).probabilities(P.log()), P**2 / (P**2).sum())


def test_the_first_of_equally_likely_words() -> None:
    assert {Sampling(temperature=0).choose(logs(0.2, 0.4, 0.4), seeded(k)) for k in range(20)} == {1}


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.7), Sampling(top_k=3), Sampling(top_p=0.8), Sampling(top_k=5, top_p=0.6)],
)
def test_words_come_as_often_as_they_are_likely(sampling: Sampling) -> None:
    generator, draws = seeded(5), 4000
    counts = torch.bincount(torch.tensor([sampling.choose(P.log(), generator) for _ in range(draws)]), minlength=6)
    expected = sampling.probabilities(P.log()) * draws
    drawn = expected > 0
    assert int(counts[~drawn].sum()) == 0
    chi_square = float(((counts[drawn] - expected[drawn]) ** 2 / expected[drawn]).sum())
    assert chi_square < 20.5  # 5 degrees of freedom: one seed in a thousand


class Numbers:
    """Stands for torch.rand: the numbers that are at the borders."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, *_: Any, **options: Any) -> torch.Tensor:
        return torch.tensor(self.value, dtype=options["dtype"])


@pytest.mark.parametrize(("number", "word"), [(0.0, 1), (0.4999, 1), (0.5, 3), (math.nextafter(1, 0), 3)])
def test_words_of_no_probability_are_never_drawn(monkeypatch: pytest.MonkeyPatch, number: float, word: int) -> None:
    monkeypatch.setattr(torch, "rand", Numbers(number))
    assert Sampling().choose(logs(0, 0.5, 0, 0.5, 0)) == word


def test_a_word_takes_one_number() -> None:
    used, fresh = seeded(), seeded()
    for sampling in (Sampling(), Sampling(top_k=2), Sampling(temperature=0)):
        sampling.choose(P.log(), used)
        torch.rand((), dtype=torch.float64, generator=fresh)
    assert torch.equal(used.get_state(), fresh.get_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be finite, 0 or more, got -0.1"),
        ({"temperature": math.nan}, "temperature must be finite, 0 or more, got nan"),
        ({"temperature": math.inf, "top_k": 0}, r"temperature must .* got inf\. top-k must be at least 1, got 0"),
        ({"top_p": 0.0}, "top-p must be over 0 and at most 1, got 0.0"),
        ({"top_p": 1.1}, "top-p must be over 0 and at most 1, got 1.1"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Sampling(**options)


def test_generated_words_follow_the_model(make_model: MakeModel) -> None:
    """All words of the next two places come as often as the model says, without <unk>."""
    model, generator, draws = make_model(), seeded(3), 1500
    begun = Reading.begin(model)
    counts = torch.zeros(7, 7)
    for _ in range(draws):
        first, second = (word.word for word in generate(model, begun, 2, generator=generator))
        counts[first, second] += 1
    expected = torch.zeros(7, 7)
    for first, p in enumerate(known(begun)):
        expected[first] = draws * p * known(begun.after(model, [first]))
    assert int(counts[UNKNOWN].sum() + counts[:, UNKNOWN].sum()) == 0
    seen = expected > 2
    assert float(expected[seen].sum()) > 0.8 * draws
    chi_square = float(((counts[seen] - expected[seen]) ** 2 / expected[seen]).sum())
    freedom = int(seen.sum())
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


def known(reading: Reading) -> torch.Tensor:
    p = reading.log_probabilities.exp()
    p[UNKNOWN] = 0
    return p / p.sum()


def test_unknown_is_never_written(make_model: MakeModel) -> None:
    model = make_model()
    with torch.no_grad():
        model.readout.bias[UNKNOWN] += 50
    for sampling in (Sampling(), Sampling(temperature=0), Sampling(top_k=99), Sampling(temperature=1e9)):
        words = [word.word for word in generate(model, Reading.begin(model), 50, sampling=sampling)]
        assert UNKNOWN not in words
        assert len(words) == 50


def test_greedy(make_model: MakeModel) -> None:
    model = make_model()
    reading = read(model, "the cat")
    for word in generate(model, reading, 12, sampling=Sampling(temperature=0)):
        assert word.word == int(reading.log_probabilities[:UNKNOWN].argmax())
        reading = reading.after(model, [word.word])
        assert torch.equal(word.reading.log_probabilities, reading.log_probabilities)
        assert all(torch.equal(*pair) for pair in zip(word.reading.state, reading.state, strict=True))


@pytest.mark.parametrize("level", ["word", "character"])
def test_the_text_is_what_the_vocabulary_makes_of_it(make_model: MakeModel, level: str) -> None:
    model = make_model(level)
    prompt = read(model, "the" if level == "word" else "a")
    words = list(generate(model, prompt, 40, generator=seeded()))
    ids = [prompt.word, *(word.word for word in words)]
    assert "".join(word.text for word in words) == model.vocabulary.decode(ids).removeprefix("the").removeprefix("a")


def test_the_same_seed_gives_the_same_text_on_any_threads(make_model: MakeModel) -> None:
    model = make_model(hidden_size=65)
    texts = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        texts.append([word.word for word in generate(model, Reading.begin(model), 60, generator=seeded(7))])
    assert texts[0] == texts[1] == texts[2]
    assert texts[0] != [word.word for word in generate(model, Reading.begin(model), 60, generator=seeded(8))]


def test_torch_s_own_numbers_where_no_generator_is_given(make_model: MakeModel) -> None:
    model = make_model()

    def written() -> list[int]:
        torch.manual_seed(4)
        return [word.word for word in generate(model, Reading.begin(model), 30)]

    assert written() == written()


def test_it_goes_on_where_it_stopped(make_model: MakeModel) -> None:
    model = make_model()
    whole = list(generate(model, Reading.begin(model), 20, generator=seeded()))
    generator = seeded()
    part = list(generate(model, Reading.begin(model), 8, generator=generator))
    rest = generate(model, part[-1].reading, 12, generator=generator)
    assert [word.word for word in whole] == [word.word for word in (*part, *rest)]


def test_nothing_is_computed_before_it_is_asked_for(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model, steps = make_model(), []
    step = LanguageModel.step
    monkeypatch.setattr(LanguageModel, "step", lambda *arguments: steps.append(1) or step(*arguments))
    begun = Reading.begin(model)
    words = generate(model, begun, 10**12)
    assert len(steps) == 1
    list(islice(words, 3))
    assert len(steps) == 4
