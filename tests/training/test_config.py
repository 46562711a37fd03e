from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from elman.errors import OptionError
from elman.training.config import TrainingConfig


@pytest.mark.parametrize(
    ("fields", "steps_per_epoch", "total"),
    [
        ({"epochs": 2}, 15, 30),
        ({"epochs": 0.5}, 15, 8),
        ({"epochs": 0.001}, 15, 1),
        ({"samples": 129}, 15, 2),
        ({"samples": 128}, 15, 1),
        ({"samples": 400_000}, 430, 3125),
        ({"steps": 7}, 15, 7),
    ],
)
def test_total_steps(fields: dict[str, Any], steps_per_epoch: int, total: int) -> None:
    assert TrainingConfig(**fields).total_steps(steps_per_epoch, 128) == total


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one of --epochs, --samples and --steps, got none"),
        ({"epochs": 1, "samples": 9}, "got --epochs and --samples"),
        ({"steps": 1, "momentum": 0.9}, "--momentum belongs to --optimizer sgd, got --optimizer adam"),
        ({"steps": 1, "schedule": "exponential"}, "--schedule exponential needs --decay"),
        ({"steps": 1, "decay": 0.5}, "--decay belongs to --schedule exponential, got --schedule constant"),
        ({"steps": 1, "schedule": "linear", "decay_after": 2}, "--decay-after belongs to --schedule exponential"),
        ({"momentum": 0.9, "decay": 0.5}, "exactly one .* --momentum .* --decay"),  # all in one message
    ],
)
def test_conflicts_name_the_flags(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TrainingConfig(**fields)


def test_pydantic_reports_every_field_at_once() -> None:
    values = {
        "epochs": 0,
        "batch_size": 0,
        "optimizer": "adan",
        "learning_rate": float("inf"),
        "momentum": 1.0,
        "decay": 1.5,
        "clip_norm": 0.0,
        "patience": 0,
        "threads": 0,
        "seed": -1,
        "checkpoint_seconds": -1,
        "log_steps": 0,
        "device": "tpu",
        "precision": "8-true",
        "schedule": "square",
        "warmup_steps": -1,
        "weight_decay": -0.1,
    }
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(TrainingConfig).validate_python(values)
    assert {error["loc"][0] for error in caught.value.errors()} == set(values)


def test_pydantic_accepts_what_yaml_gives() -> None:
    config = TypeAdapter(TrainingConfig).validate_python({"epochs": 3, "learning_rate": 1, "clip_norm": 5})
    assert config == TrainingConfig(epochs=3.0, learning_rate=1.0, clip_norm=5.0)


def test_with_length_replaces_the_other_lengths() -> None:
    assert TrainingConfig(epochs=3, seed=7).with_length(steps=5) == TrainingConfig(steps=5, seed=7)
    with pytest.raises(OptionError, match="got none"):
        TrainingConfig(epochs=3).with_length()


def test_light_modules_import_no_torch() -> None:
    code = (
        "import elman.training.config, elman.training.run, elman.training, sys;"
        "assert not {'torch', 'lightning_fabric', 'tensorboard', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_field_has_help() -> None:
    import ast
    import inspect

    body = ast.parse(inspect.getsource(TrainingConfig)).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(text, ast.Expr), ast.unparse(field)
            assert isinstance(text.value, ast.Constant), ast.unparse(field)
