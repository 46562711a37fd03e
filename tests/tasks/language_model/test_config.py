from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elman.errors import OptionError
from elman.tasks.configuration import from_mapping, to_mapping
from elman.tasks.language_model.config import LanguageModelConfig, NetworkConfig
from elman.tasks.registry import find_task


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (NetworkConfig, {"num_layers": 1, "dropout": 0.2}, "--dropout acts between layers and --num-layers is 1"),
        (
            NetworkConfig,
            {"tied_weights": True, "embedding_size": 5, "hidden_size": 6},
            "--tied-weights needs --embedding-size and --hidden-size to be the same, got 5 and 6",
        ),
        (LanguageModelConfig, {"window": 9, "backward_steps": 8}, "--backward-steps must be at least --window, got 8"),
        (LanguageModelConfig, {"vocabulary": Path("words"), "vocabulary_size": 9}, "leave out --vocabulary-size"),
    ],
)
def test_conflicts_are_named_by_their_flags(config: Any, fields: dict[str, Any], message: str) -> None:
    needed = {"data": "ptb"} if config is LanguageModelConfig else {}
    with pytest.raises(OptionError, match=message):
        config(**needed, **fields)


def test_all_conflicts_come_in_one_message() -> None:
    with pytest.raises(OptionError, match=r"--dropout acts .*--tied-weights needs"):
        NetworkConfig(num_layers=1, dropout=0.2, tied_weights=True, embedding_size=5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": 0}, "window: input should be greater than 0"),
        ({"level": "syllable"}, "level: input should be 'word' or 'character'"),
        ({"loss": "sum"}, "loss: input should be 'mean' or 'sum-over-steps'"),
        ({"model": {"hiden_size": 3}}, "hiden_size is unknown. Did you mean 'hidden_size'"),
    ],
)
def test_values_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        from_mapping({"task": "language-model", "data": "ptb", **fields}, source="file")


def test_paths_go_through_yaml() -> None:
    config = LanguageModelConfig(data="ptb", vocabulary=Path("words"))
    mapping = to_mapping(find_task("language-model"), config)
    assert mapping["vocabulary"] == "words"
    assert from_mapping(mapping, source="file")[1] == config
