from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from elman.tasks.base import Predictor
from elman.tasks.runs import open_run


@pytest.fixture(scope="module")
def sure(digits_run: Path) -> tuple[np.ndarray, str]:
    """A test image, 0 to 16, that the model is sure about, and its class."""
    task = open_run(digits_run, Predictor)
    answers: list[Any] = task.examples(task.model, 40)
    best = max((a for a in answers if a.label == a.truth), key=lambda a: a.probabilities[a.label])
    index = int(best.source.removeprefix("test example "))
    return task.data.test.x[index].numpy(), best.label


def save(path: str, grey: np.ndarray, *, size: int | None = None) -> str:
    picture = Image.fromarray(grey.astype(np.uint8))
    (picture if size is None else picture.resize((size, size), Image.Resampling.BICUBIC)).save(path, quality=95)
    return path


def test_pictures_in_many_forms(elman, digits_run: Path, sure: tuple[np.ndarray, str]) -> None:
    image, label = sure
    bright = image * (255 / 16)
    padded = np.pad(bright, 4)
    files = [
        save("raw.png", image),
        save("bright.png", bright),
        save("inverted.png", 255 - bright),
        save("photograph.jpg", 255 - padded, size=320),
        save("blackboard.jpeg", padded, size=320),
    ]
    status, out, err = elman("predict", digits_run, *files, "--json")
    assert (status, err) == (0, "")
    answers = json.loads(out)
    assert [answer["source"] for answer in answers] == files
    assert [answer["class"] for answer in answers] == [label] * 5
    scaled, cropped = "scaled from 320x320 to 8x8", "cropped to the ink and centred"
    inverted = "inverted: dark ink on light paper"
    notes = [[note for note in answer["notes"] if note != "strokes thickened"] for answer in answers]
    assert notes == [[], [], [inverted], [scaled, inverted, cropped], [scaled, cropped]]
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert sorted(answer["probabilities"]) == sorted("0123456789")
    first, *same = (answer["probabilities"] for answer in answers[:3])
    for other in same:
        assert other == pytest.approx(first, abs=1e-5)


def test_the_answer_for_people(elman, digits_run: Path, sure: tuple[np.ndarray, str]) -> None:
    image, label = sure
    save("mine.png", 255 - image * (255 / 16))
    status, out, err = elman("predict", digits_run, "mine.png")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert f"mine.png: {label}" in lines[0]
    assert "inverted: dark ink on light paper" in out
    drawn = [line[:16].ljust(16) for line in lines[:8]]
    for row, line in zip(image, drawn, strict=True):
        assert [2 * " .:-=+*#%@"[10 * round(int(v) * 255 / 16) // 256] for v in row] == [
            line[k : k + 2] for k in range(0, 16, 2)
        ]


def test_examples(elman, digits_run: Path) -> None:
    answers = json.loads(elman("predict", digits_run, "--examples", 3, "--json").out)
    assert [answer["source"] for answer in answers] == ["test example 0", "test example 179", "test example 358"]
    assert all(answer["truth"] in "0123456789" for answer in answers)
    shown = elman("predict", digits_run, "--examples", 3).out
    assert shown.count("(right)") == sum(answer["class"] == answer["truth"] for answer in answers)


def test_needs_no_data(elman, digits_run: Path, tmp_path: Path, sure: tuple[np.ndarray, str]) -> None:
    shutil.copytree(digits_run, tmp_path / "run")
    config = tmp_path / "run/config.yaml"
    config.write_text(config.read_text().replace("data: digits", "data: /no/such"))
    save("mine.png", sure[0])
    assert json.loads(elman("predict", "run", "mine.png", "--json").out)[0]["class"] == sure[1]
    assert elman("evaluate", "run").status == 2
    assert json.loads(elman("evaluate", "run", "--data", "digits", "--json").out)["examples"] == 359


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"seven", "a.txt must be a picture (PNG, JPEG, GIF, BMP, WEBP), got something else."),
        ("a.png", b"", "a.png must be a picture (PNG, JPEG, GIF, BMP, WEBP), got an empty file."),
        ("a.pdf", b"%PDF-1.7", "a.pdf must be a picture"),
        ("a.svg", b"<svg/>", "a.svg must be a picture"),
    ],
)
def test_what_is_no_picture(refused, digits_run: Path, name: str, content: bytes, message: str) -> None:
    Path(name).write_bytes(content)
    assert message in refused("predict", digits_run, name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_truncated_pictures(refused, digits_run: Path, name: str, share: float) -> None:
    save(name, np.random.default_rng(0).integers(0, 255, (40, 40)))
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[: int(share * len(content))])
    assert f"{name} must be a picture" in refused("predict", digits_run, name)


def test_one_bad_picture_among_good_ones(refused, digits_run: Path, sure: tuple[np.ndarray, str]) -> None:
    save("good.png", sure[0])
    message = refused("predict", digits_run, "good.png", "none.png")
    assert "none.png must be a picture (PNG, JPEG, GIF, BMP, WEBP), got No such file or directory." in message
    save("blank.png", np.full((50, 50), 200))
    assert "blank.png: picture must be ink on a plain ground, got a blank one" in refused(
        "predict", digits_run, "blank.png"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "elman predict needs files, or --text TEXT, or --examples N, and one of them only."),
        (
            ("a.png", "--examples", 2),
            "elman predict needs files, or --text TEXT, or --examples N, and one of them only.",
        ),
        (("a.png", "--json", "--conll"), "--json and --conll are two forms of the same: give one of them."),
        (("a.png", "-"), "- is standard input, which is read alone: give it, or files."),
        (("-", "--columns"), "--columns says what files hold, and none is given."),
        (("--text", "seven"), "must be tagging, got classification."),
        (("a.png", "--columns"), "must be tagging, got classification."),
        (("--examples", 1, "--conll"), "must be tagging, got classification."),
        (("--examples", 0), "--examples must be 1 to 359, the test examples, got 0."),
        (("--examples", 360), "--examples must be 1 to 359, the test examples, got 360."),
    ],
)
def test_arguments(refused, digits_run: Path, arguments: tuple[object, ...], message: str) -> None:
    assert message in refused("predict", digits_run, *arguments)


def test_a_sentence_is_labelled(elman, tagged: Path) -> None:
    status, out, err = elman("predict", tagged / "run", "--text", "the cat sees .")
    assert (status, err) == (0, "")
    assert out == "[NP the cat] [VP sees] .\n\n"
    answer = json.loads(elman("predict", tagged / "run", "--text", "the cat", "--json").out)
    assert [(a["source"], a["tokens"], a["tags"]) for a in answer] == [
        ("text:1", ["the", "cat"], ["B-NP", "I-NP"]),
    ]
    assert elman("predict", tagged / "run", "--text", "the cat", "--conll").out == "the B-NP\ncat I-NP\n\n"


def test_a_terminal_is_shown_control_characters_written_out(
    elman, tagged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("predict", tagged / "run", "--text", "the \x1b[2J\x9bcat")
    assert "\x1b[2J\x9bcat" in elman(*arguments).out  # a program reads what was there
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = elman(*arguments).out
    assert r"\x1b[2J\x9bcat" in out
    assert "\x1b[2J" not in out


def test_texts_from_files_and_standard_input(elman, tagged: Path, type_in: Callable[[str | bytes], None]) -> None:
    Path("a.txt").write_text("the cat sees .\n\na dog\n", encoding="utf-8")
    expected = "the B-NP\ncat I-NP\nsees B-VP\n. O\n\na B-NP\ndog I-NP\n\n"
    assert elman("predict", tagged / "run", "a.txt", "--conll").out == expected
    assert elman("predict", tagged / "run", "a.txt", "a.txt", "--conll").out == 2 * expected
    type_in("the cat sees .\n\na dog\n")
    assert elman("predict", tagged / "run", "-", "--conll").out == expected


def test_columns_are_labelled(elman, refused, tagged: Path) -> None:
    out = elman("predict", tagged / "run", tagged / "test.txt", "--columns", "--json").out
    answers = json.loads(out)
    assert len(answers) == 24
    assert answers[0]["tokens"] == ["the", "cat", "sees", "."]
    assert answers[0]["tags"] == ["B-NP", "I-NP", "B-VP", "O"]
    Path("bare.txt").write_text("the\ncat\n\n", encoding="utf-8")
    assert elman("predict", tagged / "run", "bare.txt", "--columns", "--conll").out == "the B-NP\ncat I-NP\n\n"
    assert "none.txt must be " in refused("predict", tagged / "run", "none.txt")
    assert "none.txt" in refused("predict", tagged / "run", "none.txt", "--columns")


def test_test_sentences_are_compared(elman, tagged: Path) -> None:
    out = elman("predict", tagged / "run", "--examples", 2, "--conll").out
    assert out.splitlines()[:4] == ["the B-NP B-NP", "cat I-NP I-NP", "sees B-VP B-VP", ". O O"]
    metrics = json.loads(elman("evaluate", tagged / "run", "--json").out)
    assert (metrics["task"], metrics["split"], metrics["f1"], metrics["sentences"]) == ("tagging", "test", 1.0, 24)
