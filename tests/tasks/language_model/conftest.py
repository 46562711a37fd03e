from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from elman.data import Corpus, Vocabulary
from elman.tasks.language_model.config import LanguageModelConfig, NetworkConfig
from elman.tasks.language_model.model import LanguageModel
from elman.tasks.language_model.task import LanguageModelling
from elman.training import TrainingConfig

WORDS = ("the", "cat", "dog", "sat", "ran", "<eos>", "<unk>")


def _corpus(level: str = "word", lengths: tuple[int, int, int] = (211, 53, 67)) -> Corpus:
    """Words of which each follows from the two before it."""
    entries = WORDS if level == "word" else (*"abcde\n", "<unk>")
    generator = np.random.default_rng(3)
    following = generator.integers(len(entries), size=(len(entries), len(entries)))
    ids = [0, 1]
    while len(ids) < sum(lengths):
        noise = generator.random() < 0.1
        ids.append(int(generator.integers(len(entries)) if noise else following[ids[-2], ids[-1]]))
    parts = np.split(np.array(ids, dtype=np.uint8), np.cumsum(lengths)[:-1])
    splits = dict(zip(("train", "validation", "test"), parts, strict=True))
    return Corpus("toy", Vocabulary(level, entries), splits, checksum="abc", notes=("a note",))


@pytest.fixture
def make_corpus() -> Callable[..., Corpus]:
    """Makes a toy text of a level and of lengths of its splits."""
    return _corpus


@pytest.fixture
def make_task() -> Callable[..., LanguageModelling]:
    """Makes a task of a toy text; options of the network, of the task and of the training by their names."""

    def make(*, corpus: Corpus | None = None, training: dict[str, Any] | None = None, **options: Any) -> Any:
        network = {name: options.pop(name) for name in list(options) if name in NetworkConfig.__dataclass_fields__}
        config = LanguageModelConfig(
            data="toy",
            **({"window": 7} | options),
            model=NetworkConfig(**{"hidden_size": 6} | network),
            training=TrainingConfig(**{"steps": 1, "batch_size": 3} | (training or {})),
        )
        return LanguageModelling(config, corpus or _corpus())

    return make


@pytest.fixture
def make_model(make_task: Callable[..., LanguageModelling]) -> Callable[..., LanguageModel]:
    """Makes a model of the toy text that is sure of some things; options as those of `make_task`."""

    def make(level: str = "word", **options: Any) -> LanguageModel:
        task = make_task(corpus=_corpus(level), level=level, **({"init_scale": 1.5} | options))
        return cast(LanguageModel, task.model.eval())

    return make
