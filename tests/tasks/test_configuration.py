from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from elman.errors import OptionError
from elman.tasks.classification.config import ClassificationConfig, ClassifierConfig
from elman.tasks.configuration import from_mapping, read_yaml, to_mapping
from elman.tasks.registry import TASKS
from elman.training.config import TrainingConfig

PRESETS = {name: (task, preset.config) for task in TASKS for name, preset in task.presets.items()}
TASK, DIGITS = PRESETS["digits"]
UNUSUAL = ClassificationConfig(
    data="größe/x.npz",
    validation=0.25,
    image_size=(20, 30),
    model=ClassifierConfig(cell="my:Cell", num_layers=2, dropout=0.1, initial_bias={"f": -1.5}, readout="last"),
    training=TrainingConfig(samples=7, schedule="exponential", decay=0.5, optimizer="sgd", momentum=0.9, seed=2**62),
)


def mapping(**given: Any) -> dict[str, Any]:
    return {"task": "classification", "data": "digits", **given}


def refusal(given: dict[str, Any], **options: Any) -> str:
    with pytest.raises(OptionError) as caught:
        from_mapping(given, **{"source": "file.yaml"} | options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", [*PRESETS, "unusual"])
def test_round_trip_through_yaml(name: str, tmp_path: Path) -> None:
    task, config = PRESETS.get(name, (TASK, UNUSUAL))
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(to_mapping(task, config), allow_unicode=True), encoding="utf-8")
    assert from_mapping(read_yaml(file), source=str(file)) == (task, config)


def test_mapping_names_the_task_first() -> None:
    plain = to_mapping(TASK, UNUSUAL)
    assert list(plain) == ["task", "data", "validation", "image_size", "model", "training"]
    assert plain["task"] == "classification"
    assert plain["image_size"] == [20, 30]


def test_defaults_are_those_of_the_class() -> None:
    assert from_mapping(mapping(), source="x")[1] == ClassificationConfig(data="digits")


def test_all_problems_in_one_message() -> None:
    message = refusal(
        mapping(
            modl={},
            validation=-1,
            model={"hidden_sise": 3, "num_layers": 0, "cell": 7, "readout": "first", "dropout": 1.0},
            training={"steps": 3, "lerning_rate": 1, "batch_size": 0, "seed": -1, "optimizer": "adan"},
        )
    )
    assert message.startswith("file.yaml: ")
    for part in (
        "modl is unknown. Did you mean 'model'?",
        "validation: input should be greater than or equal to 0, got -1.",
        "model.hidden_sise is unknown. Did you mean 'hidden_size'?",
        "model.num_layers: input should be greater than 0, got 0.",
        "model.cell: input should be a valid string, got 7.",
        "model.readout: input should be 'final' or 'last', got 'first'.",
        "model.dropout: input should be less than 1, got 1.0.",
        "training.lerning_rate is unknown. Did you mean 'learning_rate'?",
        "training.batch_size: input should be greater than 0, got 0.",
        "training.seed: input should be greater than or equal to 0, got -1.",
        "training.optimizer: input should be 'adam', 'adamw' or 'sgd', got 'adan'.",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "digits"}, "file.yaml: task must be named, got data."),
        ({}, "file.yaml: task must be named, got nothing."),
        ({"task": "clasification"}, "There is no task 'clasification'. Did you mean 'classification'?"),
        ({"task": "classification"}, "file.yaml: data is missing."),
        (mapping(model=3), "file.yaml: model: input should be a dictionary or an instance of ClassifierConfig, got 3."),
        (mapping(model={"input_projection": 2.5}), "model.input_projection: input should be a valid integer"),
        (mapping(training={"steps": 1, "learning_rate": float("nan")}), "training.learning_rate: input should be"),
        (mapping(training={"steps": 1, "learning_rate": float("inf")}), "training.learning_rate: input should be"),
        (mapping(model={"initial_bias": {"f": "much"}}), "model.initial_bias.f: input should be a valid number"),
        (mapping(image_size=[8]), "image_size.1 is missing."),
        (mapping(model={"zzz": 1}), "model.zzz is unknown. Known: bidirectional, cell, dropout, "),
    ],
)
def test_refusals(given: dict[str, Any], message: str) -> None:
    assert message in refusal(given)


def test_conflicts_are_named_by_their_flags() -> None:
    message = refusal(
        mapping(model={"dropout": 0.5}, training={"steps": 1, "epochs": 2, "momentum": 0.9, "decay_after": 3})
    )
    for part in (
        "--dropout acts between layers and --num-layers is 1.",
        "--epochs, --samples and --steps, got --epochs and --steps.",
        "--momentum belongs to --optimizer sgd, got --optimizer adam.",
        "--decay-after belongs to --schedule exponential, got --schedule constant.",
    ):
        assert part in message


def test_problems_of_flags_are_named_as_typed() -> None:
    plain = to_mapping(TASK, DIGITS)
    plain["training"]["learning_rate"] = -1.0
    plain["model"]["hidden_size"] = 0
    assert refusal(plain, source=None) == (
        "--hidden-size: input should be greater than 0, got 0. "
        "--learning-rate: input should be greater than 0, got -1.0."
    )


def test_a_problem_in_a_mapping_names_its_flag_and_its_key() -> None:
    given = {"task": "language-model", "data": "pydoc", "model": {"zoneout": {"h": 1.5}}}
    assert refusal(given, source=None) == "--zoneout h: input should be less than 1, got 1.5."


def test_merging_over_a_base() -> None:
    _, config = from_mapping(
        {"task": "classification", "model": {"cell": "gru"}, "training": {"seed": 5}}, source="x", base=DIGITS
    )
    expected = to_mapping(TASK, DIGITS)
    expected["model"]["cell"], expected["training"]["seed"] = "gru", 5
    assert to_mapping(TASK, config) == expected
    assert DIGITS.model.cell == "lstm"


@pytest.mark.parametrize(("unit", "value"), [("steps", 7), ("samples", 99), ("epochs", 0.5)])
def test_a_length_takes_the_place_of_the_base_s(unit: str, value: float) -> None:
    _, config = from_mapping({"task": "classification", "training": {unit: value}}, source="x", base=DIGITS)
    assert config.training == DIGITS.training.with_length(**{unit: value})
    message = refusal({"task": "classification", "training": {"steps": 3, "samples": 4}}, base=DIGITS)
    assert "got --samples and --steps" in message
    assert from_mapping({"task": "classification"}, source="x", base=DIGITS)[1] == DIGITS


def test_merging_refuses_what_is_no_section() -> None:
    message = refusal({"task": "classification", "model": "gru", "training": None}, base=DIGITS)
    assert "model: input should be a dictionary" in message
    assert "training: input should be a dictionary" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "cannot be read as YAML: .*expected"),
        (b"- 1\n", "must be a mapping of names, got list"),
        (b"", "must be a mapping of names, got NoneType"),
        (b"1: 2\n", "must be a mapping of names"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        (b"a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        (b"[" * 100_000, "cannot be read as YAML"),
        (b"a: " + b"x" * (1 << 20), "at most 1048576 bytes, got 1048579"),
    ],
)
def test_read_yaml_of_damaged_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(OptionError, match=message) as caught:
        read_yaml(file)
    assert "\n" not in str(caught.value)


def test_read_yaml_of_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none\.yaml cannot be read: No such file or directory\."):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(OptionError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


def test_imports_no_torch() -> None:
    code = "import sys, elman.tasks.configuration as c; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
