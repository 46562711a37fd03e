from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from elman.cli import main
from elman.tasks import Sampling, generate, load_language_model, read
from elman.tasks.language_model.model import LanguageModel

GREEDY = ("--temperature", 0)


def test_the_text_of_a_model_that_has_learned_it(elman, words_run: Path) -> None:
    status, out, err = elman("generate", words_run, *GREEDY, "--prompt", "the cat", "--length", 14)
    assert (status, err) == (0, "")
    assert out == "the cat sat on the mat.\nthe dog's ball ran off!\n"


def test_characters(elman, characters_run: Path) -> None:
    status, out, err = elman("generate", characters_run, "--prompt", "the ", "--length", 30, "--seed", 1)
    assert (status, err) == (0, "")
    assert out.startswith("the ")
    assert len(out.removesuffix("\n")) in {33, 34}  # the last character may be a line's end itself


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        ((), Sampling()),
        (("--temperature", 1.7), Sampling(temperature=1.7)),
        (("--top-k", 4, "--temperature", 2), Sampling(temperature=2, top_k=4)),
        (("--top-p", 0.6, "--temperature", 2), Sampling(temperature=2, top_p=0.6)),
    ],
)
def test_options_do_what_they_do_in_python(elman, words_run: Path, options: tuple, sampling: Sampling) -> None:
    model = load_language_model(words_run)
    generator = torch.Generator().manual_seed(5)
    words = generate(model, read(model, "the"), 60, sampling=sampling, generator=generator)
    expected = "the" + "".join(word.text for word in words)
    found = elman("generate", words_run, "--prompt", "the", "--length", 60, "--seed", 5, *options).out
    assert found.removesuffix("\n") == expected.removesuffix("\n")


def test_the_seed_that_it_says_writes_the_text_again(elman, words_run: Path) -> None:
    first = elman("generate", words_run, "--temperature", 1.5)
    match = re.fullmatch(r"--seed (\d+) writes this text again\.\n", first.err)
    assert match is not None
    again = elman("generate", words_run, "--temperature", 1.5, "--seed", match[1], "--threads", 2)
    assert (again.out, again.err) == (first.out, "")
    assert elman("generate", words_run, "--temperature", 1.5).out != first.out
    assert torch.get_num_threads() == 1


def test_a_hundred_words_where_no_length_is_given(elman, words_run: Path) -> None:
    model = load_language_model(words_run)
    words = generate(model, read(model, ""), 100, sampling=Sampling(temperature=0))
    text = "".join(word.text for word in words)
    assert elman("generate", words_run, *GREEDY).out.removesuffix("\n") == text.removesuffix("\n")


def test_spaces_and_unknown_words_of_a_prompt(elman, words_run: Path) -> None:
    prompt = "the zebra\x1b[2J  cat "
    status, out, err = elman("generate", words_run, *GREEDY, "--prompt", prompt, "--length", 1)
    assert (status, err) == (0, "Unknown to the model, read as <unk>: zebra\\x1b[2J\n")
    assert re.fullmatch(r"the zebra\x1b\[2J  cat( ?[^ ]+)?\n", out)
    many = " ".join(f"w{k}" for k in range(13))
    err = elman("generate", words_run, *GREEDY, "--prompt", many, "--length", 1).err
    assert err == "Unknown to the model, read as <unk>: w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 and 3 more\n"


def test_the_word_none_is_a_prompt(elman, words_run: Path) -> None:
    options = ("--length", 1, "--seed", 1)
    assert elman("generate", words_run, "--prompt", "None", *options).out.startswith("None ")
    assert elman("generate", words_run, "--prompt", "", *options) == elman("generate", words_run, *options)


def test_a_prompt_on_standard_input(elman, words_run: Path, type_in) -> None:
    type_in("\ufeffthe cat\n")
    found = elman("generate", words_run, *GREEDY, "--prompt", "-", "--length", 5)
    assert found == (0, "the cat sat on the mat.\n", "")
    type_in("the cat sat on the mat .\n\n")
    assert elman("generate", words_run, *GREEDY, "--prompt", "-", "--length", 2).out.endswith("mat .\nthe dog\n")


def test_a_prompt_that_is_no_text(refused, words_run: Path, type_in) -> None:
    type_in(b"caf\xe9")
    message = refused("generate", words_run, *GREEDY, "--prompt", "-")
    assert "standard input must be UTF-8 text, got the byte e9." in message


def test_on_a_terminal_the_prompt_is_bold(elman, words_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = elman("generate", words_run, *GREEDY, "--prompt", "the\x1b cat", "--length", 1).out
    assert out.startswith("\x1b[1mthe\\x1b cat\x1b[0m")
    assert out.count("\x1b") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--length", 0), "--length must be at least 1, got 0."),
        (("--seed", -1), "--seed must be 0 or more and under 2^63, got -1."),
        (("--seed", 2**63), "--seed must be 0 or more and under 2^63, got 9223372036854775808."),
        (("--threads", 0), "--threads must be at least 1, got 0."),
        (("--temperature", -1, "--top-p", 2), "temperature must be finite, 0 or more, got -1.0. top-p must be over 0"),
        (("--top-k", 0), "top-k must be at least 1, got 0."),
    ],
)
def test_options_are_checked(refused, words_run: Path, options: tuple, message: str) -> None:
    assert message in refused("generate", words_run, *options)


def test_a_run_of_another_kind(refused, elman, digits_run: Path, words_run: Path) -> None:
    for command in (("generate", digits_run), ("score", digits_run, "x")):
        message = f"The task of {digits_run} must be language-model, got classification."
        assert message in refused(*command)
    predictors = "classification, tagging, memory"
    assert f"The task of {words_run} must be {predictors}, got language-model." in refused("predict", words_run, "x")


def begin(words_run: Path) -> subprocess.Popen[str]:
    """Starts a text without end, as a terminal would."""
    command = [sys.executable, "-m", "elman", "generate", str(words_run), "--seed", "1", "--length", "1000000000"]
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background ignores it, and its heirs
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


def test_each_word_is_seen_before_the_next_is_computed(words_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, seen, step = io.BytesIO(), [], LanguageModel.step

    def watched(*arguments: Any) -> Any:
        seen.append(raw.getvalue().decode())
        return step(*arguments)

    monkeypatch.setattr(LanguageModel, "step", watched)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8"))
    options = ["--prompt", "the cat", "--length", "4", "--temperature", "0"]
    assert main(["generate", str(words_run), *options]) == 0
    # The prompt takes three steps: what comes before a text, and two words.
    assert seen == [*3 * ["the cat"], "the cat", "the cat sat", "the cat sat on", "the cat sat on the"]


def test_ctrl_c_ends_it(words_run: Path) -> None:
    with begin(words_run) as child:
        first = child.stdout.read(20)
        assert child.poll() is None
        os.kill(child.pid, signal.SIGINT)
        rest, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, "elman: stopped.\n")
    assert "the" in first
    assert (first + rest).endswith("\n")


def test_a_reader_that_goes_away_is_no_error(words_run: Path) -> None:
    with begin(words_run) as child:
        child.stdout.read(20)
        child.stdout.close()
        err = child.stderr.read()
    assert (child.returncode, err) == (0, "")
