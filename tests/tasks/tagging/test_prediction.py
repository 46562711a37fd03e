from __future__ import annotations

import io
import json

from rich.console import Console

from elman.tasks.tagging.prediction import Span, TagPrediction

WORDS = TagPrediction(
    source="a.txt:1",
    tokens=("He", "likes", "the", "cat", "."),
    tags=("B-NP", "B-VP", "B-NP", "I-NP", "O"),
    probabilities=(0.9, 0.8, 0.7, 0.6, 1.0),
    level="word",
    spans_are_written=True,
    kinds=("NP", "VP"),
)
CODE = TagPrediction(
    source="a.py",
    tokens=tuple("a = 'x\ty'\n"),
    tags=("B-name", "O", "B-operator", "O", *["B-string", *["I-string"] * 4], "O"),
    probabilities=(1.0,) * 10,
    level="character",
    spans_are_written=True,
    kinds=("name", "operator", "string"),
)


def shown(prediction: TagPrediction, **options: object) -> str:
    out = io.StringIO()
    Console(file=out, width=70, **options).print(prediction)  # type: ignore[arg-type]
    return out.getvalue()


def test_spans() -> None:
    assert WORDS.spans == [Span("NP", 0, 1, "He"), Span("VP", 1, 2, "likes"), Span("NP", 2, 4, "the cat")]
    assert CODE.spans == [Span("name", 0, 1, "a"), Span("operator", 2, 3, "="), Span("string", 4, 9, "'x\ty'")]


def test_json() -> None:
    answer = json.loads(json.dumps(WORDS.as_json()))
    assert answer["tokens"] == ["He", "likes", "the", "cat", "."]
    assert answer["tags"] == list(WORDS.tags)
    assert answer["probabilities"] == [0.9, 0.8, 0.7, 0.6, 1.0]
    assert answer["spans"][2] == {"kind": "NP", "start": 2, "end": 4, "text": "the cat"}
    assert "truth" not in answer
    assert CODE.as_json()["tokens"] == "a = 'x\ty'\n"


def test_columns() -> None:
    assert WORDS.as_conll() == "He B-NP\nlikes B-VP\nthe B-NP\ncat I-NP\n. O\n\n"
    assert CODE.as_conll() == "a\tname\n=\toperator\n'x\\ty'\tstring\n\n"


def test_columns_with_the_truth_are_what_conlleval_reads() -> None:
    with_truth = TagPrediction(**{**vars(WORDS), "truth": ("B-NP", "B-VP", "B-NP", "O", "O")})
    assert with_truth.as_conll().splitlines()[3] == "cat O I-NP"
    assert with_truth.as_json()["truth"][3] == "O"


def test_sentences_for_people() -> None:
    assert shown(WORDS) == "[NP He] [VP likes] [NP the cat] .\n"
    coloured = shown(WORDS, force_terminal=True, color_system="standard")
    assert "\x1b[36m[NP \x1b[0mHe\x1b[36m]" in coloured
    assert "\x1b[32m[VP \x1b[0mlikes" in coloured  # another kind, another colour


def test_mistakes_are_shown() -> None:
    wrong = TagPrediction(**{**vars(WORDS), "truth": ("B-NP", "B-VP", "B-NP", "B-NP", "O")})
    assert shown(wrong) == "[NP He] [VP likes] [NP the cat] .\nit is: [NP He] [VP likes] [NP the] [NP cat] .\n"
    right = TagPrediction(**{**vars(WORDS), "truth": WORDS.tags})
    assert shown(right) == shown(WORDS)


def test_code_for_people() -> None:
    assert shown(CODE) == "name       a\noperator   =\nstring     'x\\ty'\n"
    coloured = shown(CODE, force_terminal=True, color_system="standard")
    assert coloured.startswith("\x1b[36ma\x1b[0m \x1b[32m=\x1b[0m ")


def test_plain_tags() -> None:
    plain = TagPrediction(
        **{**vars(WORDS), "tags": ("PR", "VB", "DT", "NN", "."), "spans_are_written": False, "kinds": ("DT",)}
    )
    assert shown(plain) == "He/PR likes/VB the/DT cat/NN ./.\n"
    assert plain.as_conll().startswith("He PR\nlikes VB\n")
    assert "spans" not in plain.as_json()
