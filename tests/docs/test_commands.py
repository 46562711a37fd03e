"""Every command on the pages is one that the command line takes; those of the README are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
import torch

import elman.bench.run
import elman.data.catalogue
import elman.insight
import elman.tasks.runs
import elman.testing
from docs.pages import PAGES, READMES, ROOT, blocks, page_id, prose
from elman.cli import COMMANDS, main

README = READMES[0]
_LINE = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )?(elman .*?)(?:\s+#.*)?$", re.MULTILINE)


def sessions(page):
    """Every command in a block of the page, and the first line of what it answers in a console session."""
    for block in blocks(page, "bash", "console"):
        lines = block.text.splitlines()
        for line, answer in zip(lines, [*lines[1:], ""], strict=True):
            if (block.language == "bash" or line.startswith("$ ")) and (match := _LINE.fullmatch(line)):
                yield match[1], answer if block.language == "console" else ""


SESSIONS = [(page, command, answer) for page in PAGES for command, answer in sessions(page)]
REFUSED = [(page, command, answer) for page, command, answer in SESSIONS if answer.startswith("elman: ")]
INLINE = [(page, command) for page in PAGES for command in re.findall(r"`(elman [a-z][^`]*)`", prose(page))]
SHOWN = [(page, command) for page, command, answer in SESSIONS if not answer.startswith("elman: ")]
TAKEN = list(dict.fromkeys([*SHOWN, *INLINE]))


def case_id(value):
    return value if isinstance(value, str) else page_id(value)


class Taken(Exception):  # noqa: N818
    """The command line has understood a command and would set to work."""


@pytest.fixture
def no_work(monkeypatch):
    """Stop where the work would begin."""

    def stop(*arguments, **named):
        raise Taken

    for name in ("start_run", "resume_run", "evaluate_run", "load_run", "open_run"):
        monkeypatch.setattr(elman.tasks.runs, name, stop)
    for name in ("fetch", "verify"):
        monkeypatch.setattr(elman.data.catalogue, name, stop)
    monkeypatch.setattr(elman.testing, "compare_backends", stop)
    monkeypatch.setattr(elman.insight, "fresh_flow", stop)
    monkeypatch.setattr(elman.bench.run, "bench", stop)
    monkeypatch.setattr(subprocess, "call", stop)


@pytest.mark.parametrize(("page", "command"), TAKEN, ids=case_id)
def test_command_is_taken(page, command, folder_of, no_work):
    folder = folder_of(page)
    _, name, *rest = shlex.split(command)
    assert name in COMMANDS
    if not rest:  # the name of a command in a sentence
        return
    if name == "board":
        (folder / rest[0]).mkdir(exist_ok=True)
        (folder / rest[0] / "events.out.tfevents.0").touch()
    if "--help" in rest:
        with pytest.raises(SystemExit, match="0"):
            main([name, *rest])
    elif name in {"cells", "equations", "explain"} or rest in (["list"], ["--list"]):
        assert main([name, *rest]) == 0
    else:
        with pytest.raises(Taken):
            main([name, *rest])


def test_a_wrong_flag_is_not_taken(no_work, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["train", "digits", "--hiden-size", "3"])
    assert leaving.value.code == 2


@pytest.mark.parametrize(("page", "command", "answer"), REFUSED, ids=case_id)
def test_refusal_reads_as_shown(page, command, answer, folder_of, capsys):
    folder_of(page)
    assert main(shlex.split(command)[1:]) == 2
    assert capsys.readouterr().err.strip() == answer


def test_commands_are_found():
    """That the patterns above find what they are to find."""
    commands = [command for _, command, _ in SESSIONS]
    assert "elman train digits --out run" in commands
    assert "elman train mnist" in commands
    assert (README, "elman train digits --cell minimal:MinimalGatedCell") in INLINE
    assert len(REFUSED) == 3


def test_every_command_is_explained():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in COMMANDS if f"elman {name}" not in text] == []


def test_scripts_are_there():
    text = "\n".join(block.text for page in PAGES for block in blocks(page, "bash"))
    scripts = set(re.findall(r"^(scripts/\w+)", text, re.MULTILINE))
    assert {"scripts/demo", "scripts/test", "scripts/check"} <= scripts
    for script in scripts:
        assert (ROOT / script).stat().st_mode & 0o100, f"{script} cannot be run"


def test_the_session_of_the_readme(tmp_path, monkeypatch, capsys):
    """Train, go on, evaluate, predict: shorter than shown, and it reads as shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    shown, *_ = (block.text for block in blocks(README, "console"))
    train, resume, evaluate, predict, board = commands_of(shown)
    threads = torch.get_num_threads()
    try:
        assert main([*train, "--steps", "45"]) == 0
        assert main([*resume, "--steps", "60"]) == 0
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().err
    assert shown.splitlines()[1] in said  # the data and the size of the model
    assert main(evaluate) == 0
    keys = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert keys == ["task", "split", "accuracy", "loss", "examples"]
    assert all(re.search(rf"^{key} ", shown, re.MULTILINE) for key in keys)
    assert main(predict) == 0
    picture = [line[:16].rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    start = shown.splitlines().index("$ " + shlex.join(["elman", *predict]))
    assert picture == [line[:16].rstrip() for line in shown.splitlines()[start + 1 : start + 9]]
    assert board == ["board", "run"]


def test_the_language_model_of_the_readme(tmp_path, monkeypatch, capsys):
    """Train, write, evaluate: shorter than shown, and it reads as shown."""
    monkeypatch.chdir(tmp_path)
    _, shown, _ = (block.text for block in blocks(README, "console"))
    train, write, evaluate = commands_of(shown)
    threads = torch.get_num_threads()
    try:
        assert main([*train, "--steps", "3"]) == 0
    finally:
        torch.set_num_threads(threads)
    data = shown.splitlines()[1]
    if sys.version_info[:3] == (3, 11, 7):  # the text differs between versions of Python
        assert data in capsys.readouterr().err
    assert main(write) == 0
    assert capsys.readouterr().out.startswith("The function returns ")
    assert main(evaluate) == 0
    keys = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert keys == ["task", "split", "perplexity", "loss", "words"]
    assert all(re.search(rf"^{key} ", shown, re.MULTILINE) for key in keys)


def test_the_tagger_of_the_readme(tmp_path, monkeypatch, capsys):
    """Train, label, evaluate: shorter than shown, and it reads as shown."""
    monkeypatch.chdir(tmp_path)
    *_, shown = (block.text for block in blocks(README, "console"))
    train, label, evaluate = commands_of(shown)
    threads = torch.get_num_threads()
    try:
        assert main([*train, "--steps", "120", "--hidden-size", "32"]) == 0
    finally:
        torch.set_num_threads(threads)
    data = shown.splitlines()[1].partition(" Model:")[0]
    if sys.version_info[:3] == (3, 11, 7):  # the text differs between versions of Python
        assert data in capsys.readouterr().err
    capsys.readouterr()
    assert main(label) == 0
    spans = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line]
    start = shown.splitlines().index(f"$ {shlex.join(['elman', *label])}") + 1
    expected = [line.split(maxsplit=1) for line in shown.splitlines()[start : start + 7]]
    assert {kind for kind, _ in spans} <= {"keyword", "name", "number", "string", "operator", "comment"}
    assert expected[0] == ["keyword", "return"]
    assert expected[-1] == ["number", "1.5e3"]
    assert main(evaluate) == 0
    keys = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert keys == ["task", "split", "f1", "precision", "recall", "accuracy", "sentences", "loss", "characters"]
    assert all(re.search(rf"^{key} ", shown, re.MULTILINE) for key in keys)


def commands_of(shown):
    return [shlex.split(line)[1:] for line in re.findall(r"^\$ (elman .*)$", shown, re.MULTILINE)]


def test_a_cell_of_the_readme_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (source,) = (block.text for block in blocks(README, "python") if "class MinimalGatedCell" in block.text)
    (tmp_path / "minimal.py").write_text(source, encoding="utf-8")
    (command,) = {command for page, command in INLINE if page == README and "minimal:" in command}
    threads = torch.get_num_threads()
    try:
        assert main([*shlex.split(command)[1:], "--steps", "2", "--threads", "1", "--out", "run"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert "cell: minimal:MinimalGatedCell" in (tmp_path / "run" / "config.yaml").read_text()
