from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from elman.data import ImageFormat
from elman.tasks.classification.config import ClassifierConfig
from elman.tasks.classification.model import SequenceClassifier, Specification
from elman.tasks.classification.prediction import ClassPrediction


def show(prediction: ClassPrediction, **options: object) -> str:
    console = Console(file=io.StringIO(), width=60, **options)
    console.print(prediction)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_of_sorts_and_draws() -> None:
    image = ImageFormat(height=3, width=2, dark_background=True, frame=None, ink=0.0, maximum=16)
    specification = Specification(("ape", "bee", "cow"), steps=3, features=2, scale=1 / 16, image=image)
    model = SequenceClassifier(ClassifierConfig(hidden_size=2), specification)
    x = torch.tensor([[0, 16], [8, 4], [0, 0]], dtype=torch.uint8)
    found = ClassPrediction.of(model, "a.png", x, torch.tensor([0.25, 0.125, 0.625]), truth="ape", notes=("inverted",))
    assert list(found.probabilities.items()) == [("cow", 0.625), ("ape", 0.25), ("bee", 0.125)]
    assert found.grey == ((0, 255), (128, 64), (0, 0))
    assert found.as_json() == {
        "source": "a.png",
        "class": "cow",
        "probabilities": {"cow": 0.625, "ape": 0.25, "bee": 0.125},
        "truth": "ape",
        "notes": ["inverted"],
    }


PREDICTION = ClassPrediction(
    "a.png", {"3": 0.9, "8": 0.099, "1": 0.001, "0": 0.0}, "8", ("inverted",), ((0, 255), (128, 0), (0, 60))
)


def test_without_colour_a_picture_is_letters() -> None:
    assert show(PREDICTION).splitlines() == [
        "  @@  a.png: 3 (it is 8)",
        "++    3 ██████████████████ 90.0%",
        "  ::  8 ██                 9.9%",
        "      1                    0.1%",
        "      inverted",
    ]


def test_in_colour_a_picture_is_half_blocks() -> None:
    shown = show(PREDICTION, force_terminal=True, color_system="truecolor")
    assert "\x1b[38;2;0;0;0;48;2;128;128;128m▀\x1b[0m\x1b[38;2;255;255;255;48;2;0;0;0m▀" in shown  # rows 0 and 1
    assert "\x1b[38;2;60;60;60;48;2;0;0;0m▀" in shown  # the last row of an odd number stands on black
    assert "\x1b[31m (it is 8)" in shown


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = show(PREDICTION, force_terminal=True)
    assert "@@" in shown
    assert "▀" not in shown


def test_sequences_have_no_picture() -> None:
    shown = show(ClassPrediction("test example 4", {"[up]": 0.75, "down": 0.25}, "[up]"))
    assert shown.split() == [
        "test",
        "example",
        "4:",
        "[up]",
        "(right)",
        "[up]",
        15 * "█",
        "75.0%",
        "down",
        5 * "█",
        "25.0%",
    ]
