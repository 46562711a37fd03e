from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import elman.cli.score as module
from elman.tasks import Scores, load_language_model, most_surprising, score

TEXT = "the cat sat on the zebra .\nthe dog 's mat ran off !\n"


@pytest.fixture
def scores(words_run: Path, tmp_path: Path) -> Scores:
    """The scores of a text in the file text.txt."""
    (tmp_path / "text.txt").write_text(TEXT)
    return score(load_language_model(words_run), TEXT)


def test_a_line_for_each_word(elman, words_run: Path, scores: Scores) -> None:
    status, out, err = elman("score", words_run, "text.txt")
    assert (status, err) == (0, "")
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[2] for line in lines] == TEXT.replace("\n", " <eos> ").split()
    values = [word.log_probability for word in scores.words]
    assert [float(line[0]) for line in lines] == pytest.approx(values, abs=1e-4)
    assert all(re.fullmatch(r"-?\d+\.\d{4}", line[0]) for line in lines)
    ends = [8, 16]
    marked = [most_surprising(scores.words[:8])[0], 8 + most_surprising(scores.words[8:])[0]]
    assert len(lines) == ends[1]
    assert [k for k, line in enumerate(lines) if "*" in line[1]] == marked
    assert [k for k, line in enumerate(lines) if "?" in line[1]] == [5]
    assert {line[1] for line in lines} <= {"", "*", "?", "*?"}


def test_json(elman, words_run: Path, scores: Scores) -> None:
    status, out, err = elman("score", words_run, "text.txt", "--json")
    assert (status, err) == (0, "")
    assert out.count("\n") == 1
    found = json.loads(out)
    assert list(found) == ["scores", "words", "unknown", "perplexity", "loss"]
    assert (found["words"], found["unknown"]) == (16, 1)
    assert found["loss"] == pytest.approx(-scores.totals.log_probability / 16, abs=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    names = ["text", "known", "surprising", "log_probability", "expected", "expected_log_probability"]
    for word, expected in zip(found["scores"], scores.words, strict=True):
        assert list(word) == names
        assert (word["text"], word["known"], word["expected"]) == (expected.text, expected.known, expected.expected)
        assert word["log_probability"] == pytest.approx(expected.log_probability, abs=1e-5)
        assert word["expected_log_probability"] == pytest.approx(expected.expected_log_probability, abs=1e-5)
    assert sum(word["surprising"] for word in found["scores"]) == 2


def test_characters(elman, characters_run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes("the\tcät\r\n".encode())
    out = elman("score", characters_run, "text.txt").out
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[2] for line in lines] == ["t", "h", "e", "\\t", "c", "ä", "t", "\\r", "\\n"]
    assert [k for k, line in enumerate(lines) if "?" in line[1]] == [3, 5, 7]
    found = json.loads(elman("score", characters_run, "text.txt", "--json").out)
    assert list(found) == ["scores", "characters", "unknown", "perplexity", "bits_per_character", "loss"]
    assert found["bits_per_character"] == pytest.approx(found["loss"] / math.log(2))


def test_standard_input_reads_as_a_file_does(elman, words_run: Path, characters_run: Path, type_in) -> None:
    for run in (words_run, characters_run):
        for text in ("the cat", "\ufeffthe cat\nthe dog\n", "the \r\n\ncat"):
            Path("text.txt").write_bytes(text.encode())
            type_in(text)
            found = elman("score", run, "-")
            assert found == elman("score", run, "text.txt")
            assert found.status == 0


def test_a_word_that_no_terminal_should_get(elman, words_run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the \x1b[2J cat\n")
    assert "\x1b" not in elman("score", words_run, "text.txt").out


@pytest.fixture
def terminal(elman, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command as on a terminal; returns what it shows."""

    def call(*arguments: object, width: int = 100) -> str:
        with monkeypatch.context() as patch:
            for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm-256color"), ("COLUMNS", str(width))):
                patch.setenv(name, value)
            patch.delenv("NO_COLOR", raising=False)
            status, out, err = elman(*arguments)
        assert (status, err) == (0, "")
        return out

    return call


def test_on_a_terminal(terminal, words_run: Path, scores: Scores) -> None:
    out = terminal("score", words_run, "text.txt")
    plain = re.sub(r"\x1b\[[\d;]*m", "", out)
    assert plain.replace("↵", "").startswith("the cat sat on the zebra.\nthe dog's mat ran off!\n\n")
    marks = re.findall(r"\x1b\[1;4(?:;\d+)?m([^\x1b]*)", out)
    assert marks.pop() == "most surprising of the line"
    expected = [words[k].text for words in (scores.words[:8], scores.words[8:]) for k in most_surprising(words)]
    assert marks == [text.replace("<eos>", "↵") for text in expected]
    assert "\x1b[2mcat\x1b[0m" in out  # likely words are dim
    lines = plain.splitlines()
    assert lines[3] == "probability  0.1 or more  0.01 or more  0.001 or more  less  most surprising of the line"
    start = next(k for k, line in enumerate(lines) if line.split() == ["before", "word", "log", "p", "expected", "p"])
    rows = [line.split() for line in lines[start + 1 : start + 11]]
    worst = sorted(scores.words, key=lambda word: word.log_probability)[:10]
    for row, word in zip(rows, worst, strict=True):
        assert word.text in row
        assert float(row[-3]) == pytest.approx(word.log_probability, abs=0.006)
        assert row[-2] == word.expected
        assert float(row[-1]) == pytest.approx(math.exp(word.expected_log_probability), abs=6e-4)
    zebra = next(row for row in rows if "zebra" in row)
    assert zebra[:6] == ["cat", "sat", "on", "the", "zebra", "(unknown)"]
    sums = dict(line.split() for line in lines[-4:])
    assert list(sums) == ["words", "unknown", "perplexity", "loss"]
    assert (sums["words"], sums["unknown"]) == ("16", "1")
    assert float(sums["loss"]) == pytest.approx(-scores.totals.log_probability / 16, abs=1e-4)


def test_a_terminal_without_colours(elman, words_run: Path, scores: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    out = elman("score", words_run, "text.txt").out
    assert not re.search(r"\x1b\[[\d;]*3[13]m", out)
    assert "\x1b[1;4m" in out


def test_characters_on_a_terminal(terminal, characters_run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the  ct\x1b\nx y\n")
    plain = re.sub(r"\x1b\[[\d;]*m", "", terminal("score", characters_run, "text.txt"))
    assert plain.replace("↵", "").startswith("the  ct\\x1b\nx y\n\n")
    assert "' '" in plain  # a space in the table
    assert "bits_per_character" in plain


def test_a_very_long_line_is_marked_part_by_part(elman, words_run: Path, type_in, monkeypatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_LINE", 6)
    type_in("the cat sat on the mat " * 4)
    marks = [line.split("\t")[1] for line in elman("score", words_run, "-").out.splitlines()]
    assert [marks[k : k + 6].count("*") for k in range(0, 24, 6)] == [1, 1, 1, 1]


def test_long_texts_are_not_kept(elman, words_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are read as they are scored: a window ahead, not more."""
    ahead, read_, done = [], [], []

    def endless():
        for _ in range(2000):
            read_.append(7)
            ahead.append(sum(read_) - len(done))
            yield "the cat sat on the mat\n"

    word = module._Lines.word
    monkeypatch.setattr("elman.cli.texts.standard_input", endless)
    monkeypatch.setattr(module._Lines, "word", lambda *arguments: done.append(1) or word(*arguments))
    assert elman("score", words_run, "-").out.count("\n") == 14_000
    assert max(ahead) < 600


def test_a_bar_where_the_text_itself_does_not_show(elman, words_run: Path, scores: Scores, monkeypatch) -> None:
    without = elman("score", words_run, "text.txt")
    monkeypatch.setattr(Console, "is_terminal", property(lambda console: console.stderr))
    found = elman("score", words_run, "text.txt")
    assert "scoring" in found.err
    assert (found.status, found.out, without.err) == (0, without.out, "")
    assert found.out.count("\n") == 16


def test_files_that_will_not_do(refused, elman, words_run: Path, tmp_path: Path, type_in) -> None:
    assert "none.txt must be a text file, got nothing there." in refused("score", words_run, "none.txt")
    assert "got neither a file nor a folder. A text from a pipe" in refused("score", words_run, os.devnull)
    assert f"{tmp_path} must be a text file, got a folder." in refused("score", words_run, tmp_path)
    (tmp_path / "empty.txt").touch()
    assert "empty.txt must be a text, got nothing in it." in refused("score", words_run, "empty.txt")
    (tmp_path / "packed.gz").write_bytes(b"\x1f\x8b\x08\x00\x80\xff")
    assert "packed.gz must be UTF-8 text, got the byte 8b" in refused("score", words_run, "packed.gz")
    type_in(b"the \xff")
    assert "standard input must be UTF-8 text, got the byte ff." in refused("score", words_run, "-")
    type_in("")
    assert "- must be a text, got nothing in it." in refused("score", words_run, "-")
