from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from elman.data import Sentence, TaggedData
from elman.tasks.tagging.config import TaggerConfig, TaggingConfig
from elman.tasks.tagging.model import Tagger
from elman.tasks.tagging.specification import Specification
from elman.tasks.tagging.task import Tagging
from elman.training import TrainingConfig

NOUNS, VERBS = ("cat", "dog", "Bird", "tree"), ("sees", "likes", "bites")


def sentence(generator: np.random.Generator) -> Sentence:
    """Noun phrases and verbs in turn, of random length: «the big cat sees a dog»."""
    words: list[str] = []
    tags: list[str] = []
    parts: list[str] = []
    for place in range(int(generator.integers(1, 5))):
        if place % 2:
            chosen, kind, part = [str(generator.choice(VERBS))], "VP", ["VB"]
        else:
            chosen = ["the", *["big"] * int(generator.integers(0, 3)), str(generator.choice(NOUNS))]
            kind, part = "NP", ["DT", *["JJ"] * (len(chosen) - 2), "NN"]
        words += chosen
        parts += part
        tags += [f"{'I' if k else 'B'}-{kind}" for k in range(len(chosen))]
    return Sentence((*words, "."), (*tags, "O"), ((*parts, "."),))


@pytest.fixture(scope="session")
def make_data() -> Callable[..., TaggedData]:
    """A little language; with ``features`` its parts of speech too."""

    def make(*, features: bool = False, plain: bool = False) -> TaggedData:
        generator = np.random.default_rng(5)

        def some(count: int) -> list[Sentence]:
            sentences = [sentence(generator) for _ in range(count)]
            if plain:
                return [Sentence(s.tokens, s.features[0]) for s in sentences]
            return sentences if features else [Sentence(s.tokens, s.tags) for s in sentences]

        splits = {"train": some(23), "validation": some(7), "test": some(11)}
        return TaggedData("little", splits, "word", None if plain else "BIO", ("made of dice",))

    return make


@pytest.fixture(scope="session")
def make_task(make_data: Callable[..., TaggedData]) -> Callable[..., Tagging]:
    """A task on that data; further options are the network's."""

    def make(
        training: TrainingConfig | None = None,
        *,
        features: bool = False,
        plain: bool = False,
        options: dict[str, Any] | None = None,
        **model: Any,
    ) -> Tagging:
        torch.manual_seed(0)
        training = training or TrainingConfig(epochs=1, batch_size=5, threads=1, tensorboard=False)
        network = TaggerConfig(**{"hidden_size": 7, "embedding_size": 5, **model})
        config = TaggingConfig(data="little", model=network, training=training, **(options or {}))
        return Tagging(config, make_data(features=features, plain=plain))

    return make


@pytest.fixture
def make_tagger(make_data: Callable[..., TaggedData]) -> Callable[..., Tagger]:
    """A fresh tagger of the little language in float64, with weights that all matter."""

    def make(*, features: bool = False, lower_case: bool = False, **model: Any) -> Tagger:
        torch.manual_seed(1)
        data = make_data(features=features)
        specification = Specification.of(data, lower_case=lower_case)
        tagger = Tagger(TaggerConfig(**{"hidden_size": 7, "embedding_size": 5, **model}), specification).double()
        with torch.no_grad():
            for parameter in tagger.parameters():
                parameter.uniform_(-1.2, 1.2)
        return tagger

    return make
