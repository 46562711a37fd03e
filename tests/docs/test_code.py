"""The Python of the pages and the examples run, and give what they say."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys

import pytest

from docs.pages import PAGES, READMES, ROOT, blocks, page_id
from elman.data import ImageFormat, read_picture

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
CODE = [page for page in PAGES if blocks(page, "python", "pycon") and page != READMES[1]]  # whose blocks are the same


@pytest.mark.parametrize("page", CODE, ids=page_id)
def test_blocks_run(page, folder_of):
    folder_of(page)
    names = {"__name__": "page"}
    for block in blocks(page, "python", "pycon"):
        if block.language == "python":
            # at its own line, so that a failure and the tracer name the line of the page
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True), names)
            continue
        test = doctest.DocTestParser().get_doctest(block.text, names, page.name, str(page), block.line - 1)
        output = []
        result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=output.append, clear_globs=False)
        names.update(test.globs)
        assert result.attempted
        assert not result.failed, "".join(output)


def test_what_the_pages_say_can_fail():
    """The runner of the doctests above compares."""
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "", "", 0)
    assert doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=lambda text: None).failed == 1


def run_example(name, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [float(number) for number in re.findall(r"(?<=[ :])\d+(?:\.\d+)?(?:e[-+]\d+)?$", done.stdout, re.MULTILINE)]


def test_example_own_cell(tmp_path):
    (accuracy,) = run_example("own_cell", tmp_path)
    assert 0.92 < accuracy <= 1


def test_example_carried_state(tmp_path):
    from_zero, carried = run_example("carried_state", tmp_path)
    assert carried < from_zero / 5


def test_example_torch_weights(tmp_path):
    outputs, states, *norms = run_example("torch_weights", tmp_path)
    assert max(outputs, states) < 1e-12
    assert len(norms) == 4
    assert min(norms) > 0


def test_the_picture_of_the_quick_start_is_read_as_it_says():
    mnist = ImageFormat(height=28, width=28, dark_background=True, frame=(0.7143, 0.7143), ink=0.3361, maximum=255)
    picture, notes = read_picture(ROOT / "docs" / "images" / "three.jpg", mnist)
    assert picture.shape == (28, 28)
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    assert [note for note in notes if f"- *{note}*" not in page] == []
    assert len(notes) == len(re.findall(r"^- \*", page, re.MULTILINE)) == 4


def test_every_example_is_tested():
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert names == {name.removeprefix("test_example_") for name in globals() if name.startswith("test_example_")}
