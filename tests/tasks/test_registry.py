from __future__ import annotations

from dataclasses import replace

import pytest

from elman.errors import OptionError
from elman.tasks.classification.config import ClassificationConfig, ClassifierConfig
from elman.tasks.language_model.config import LanguageModelConfig, NetworkConfig
from elman.tasks.memory.config import MemoryConfig
from elman.tasks.registry import TASKS, find_preset, find_task
from elman.tasks.sequence.config import SequenceModelConfig
from elman.training.config import TrainingConfig

# Sizes, learning rates and lengths of the old tutorials: a change of one is a change of what a preset promises.
CLASSIC = TrainingConfig(epochs=2, batch_size=20, optimizer="sgd", learning_rate=1.0, clip_norm=5.0)
PTB = {"data": "ptb", "level": "word", "loss": "sum-over-steps", "keep_last": False}
MEMORY = TrainingConfig(steps=3000, batch_size=64, learning_rate=0.01, schedule="cosine", clip_norm=1.0, threads=1)
KEEP_HALF = {"input_dropout": 0.5, "dropout": 0.5, "output_dropout": 0.5, "init_scale": 0.05}
PINNED = {
    "digits": ClassificationConfig(
        data="digits",
        validation=0.1,
        model=ClassifierConfig(cell="lstm", hidden_size=128),
        training=TrainingConfig(epochs=30, batch_size=32, learning_rate=0.008, schedule="cosine", threads=1),
    ),
    "mnist": ClassificationConfig(
        data="mnist",
        validation=5000,
        model=ClassifierConfig(cell="lstm", hidden_size=128, num_layers=1, input_projection=128, output_dropout=0.2),
        training=TrainingConfig(epochs=10, batch_size=128, learning_rate=0.001, optimizer="adam", schedule="cosine"),
    ),
    "mnist-bidirectional": ClassificationConfig(
        data="mnist",
        validation=5000,
        model=ClassifierConfig(cell="lstm", hidden_size=256, num_layers=1, bidirectional=True, readout="final"),
        training=TrainingConfig(samples=400_000, batch_size=128, learning_rate=0.01, optimizer="adam"),
    ),
    "ptb": LanguageModelConfig(
        **PTB, window=35, model=NetworkConfig(hidden_size=200, num_layers=2, **KEEP_HALF), training=CLASSIC
    ),
    "ptb-small": LanguageModelConfig(
        **PTB,
        window=20,
        model=NetworkConfig(hidden_size=200, num_layers=2, init_scale=0.1, initial_bias={"f": 0.0}),
        training=replace(CLASSIC, epochs=13, schedule="exponential", decay=0.5, decay_after=4),
    ),
    "ptb-medium": LanguageModelConfig(
        **PTB,
        window=35,
        model=NetworkConfig(hidden_size=650, num_layers=2, initial_bias={"f": 0.0}, **KEEP_HALF),
        training=replace(CLASSIC, epochs=39, schedule="exponential", decay=0.8, decay_after=6),
    ),
    "adding": MemoryConfig(data="adding", length=100, model=SequenceModelConfig(hidden_size=64), training=MEMORY),
    "copy": MemoryConfig(
        data="copy", length=20, model=SequenceModelConfig(hidden_size=128), training=replace(MEMORY, steps=4000)
    ),
}


def test_presets_are_pinned() -> None:
    presets = {name: preset.config for task in TASKS for name, preset in task.presets.items()}
    assert {name: presets[name] for name in PINNED} == PINNED


def test_names_are_unambiguous() -> None:
    names = [name for task in TASKS for name in (task.command, *task.presets)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_task_is_the_one_it_says(task) -> None:
    assert task.load().name == task.name
    assert find_task(task.name) is task
    assert find_preset(task.command) == (task, None)
    for name, preset in task.presets.items():
        assert find_preset(name) == (task, preset.config)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("mnits", "Did you mean 'mnist'?"),
        ("classification", "Did you mean 'classify'?"),
        ("ptbb", "Did you mean 'ptb'?"),
        (
            "zzz",
            "Known: adding, chunking, classify, copy, digits, language-model, memory, mnist, mnist-bidirectional, ",
        ),
        ("", "Known: adding, chunking, classify"),
    ],
)
def test_find_preset_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(OptionError) as caught:
        find_preset(name)
    assert str(caught.value).startswith(f"There is no preset or task {name!r}. {nearest}")


def test_find_task_names_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"There is no task 'classify'\. Did you mean 'classification'\?"):
        find_task("classify")
