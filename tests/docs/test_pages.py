"""Links lead somewhere, both READMEs are one page, and nothing public is left out."""

from __future__ import annotations

import re

import pytest
import yaml

import elman
from docs.pages import PAGES, READMES, ROOT, blocks, page_id, prose
from elman.cells import Cell
from elman.tasks.registry import TASKS

ENGLISH, CHINESE = READMES
DOCS = [page for page in PAGES if (ROOT / "docs") in page.parents]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:src|tests|docs|examples|scripts)/[\w./-]*)`")


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page):
    for link in _LINK.findall(prose(page)):
        target, _, anchor = link.partition("#")
        if target.startswith("https:"):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.is_file(), f"{link} is not there"
        assert ROOT in file.parents, f"{link} leads out of the repository"
        assert not anchor or anchor in anchors(file), f"{link}: no such heading in {file.name}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_exist(page):
    for path in _PATH.findall(page.read_text(encoding="utf-8")):
        assert "foo" in path or (ROOT / path).exists(), f"{path} is not there"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_nothing_is_left_to_fill_in(page):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"@@\w+@@|/root/|/home/", text) == []


def test_index_lists_every_page():
    links = {(ROOT / "docs" / link).resolve() for link in _LINK.findall(prose(ROOT / "docs" / "README.md"))}
    assert set(PAGES) - {ENGLISH, ROOT / "docs" / "README.md"} <= links


def test_readmes_are_one_page():
    assert [block.text for block in blocks(ENGLISH)] == [block.text for block in blocks(CHINESE)]
    assert len(re.findall("^## ", prose(ENGLISH), re.MULTILINE)) == len(
        re.findall("^## ", prose(CHINESE), re.MULTILINE)
    )
    for pattern in (r"`[^`]+`", r"\d+(?:\.\d+)? %", r"@@\w+@@"):
        english, chinese = (re.findall(pattern, prose(page)) for page in READMES)
        assert {*chinese} - {*english} <= {"`scripts/demo`", "`scripts/test`"}
        assert {*english} <= {*chinese}
    assert CHINESE.name in _LINK.findall(prose(ENGLISH))
    assert ENGLISH.name in _LINK.findall(prose(CHINESE))


@pytest.mark.parametrize("name", elman.__all__)
def test_public_name_is_documented(name):
    code = re.compile(rf"(?<![\w]){name}(?!\w)")
    spans = [span for page in DOCS for span in re.findall(r"`[^`]+`", prose(page))]
    texts = [*spans, *(block.text for page in DOCS for block in blocks(page, "python", "pycon"))]
    assert any(code.search(text) for text in texts)


@pytest.mark.parametrize("name", Cell.registry)
def test_cell_stands_in_the_table(name):
    cell = Cell.registry[name]
    count = sum(parameter.numel() for parameter in cell(28, 128).parameters())
    layer = cell.__name__.removesuffix("Cell")
    page = ROOT / "docs" / "cells.md"
    (row,) = (
        line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` | `elman.")
    )
    cells = [field.strip() for field in row.strip("|").split("|")]
    assert cells[1:4] == [f"`elman.{cell.__name__}`", f"`elman.{layer}`", ", ".join(cell.states)]
    assert cells[4].replace(",", "").split() == [*cell.gates, *cell.diagonals]
    assert cells[5] == f"{count:,}"


def test_presets_are_documented():
    presets = [name for task in TASKS for name in (task.command, *task.presets)]
    text = "\n".join(page.read_text(encoding="utf-8") for page in DOCS)
    assert [name for name in presets if f"elman train {name}" not in text] == []


def test_pictures_are_small():
    pictures = list((ROOT / "docs" / "images").iterdir())
    used = "\n".join(prose(page) for page in PAGES)
    for picture in pictures:
        assert picture.stat().st_size < 200_000, picture.name
        assert f"images/{picture.name}" in used, f"{picture.name} is on no page"


def test_pre_commit_hooks_run_what_check_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert [hook["id"] for hook in hooks] == ["ruff-check", "ruff-format", "mypy"]
    check = (ROOT / "scripts" / "check").read_text(encoding="utf-8")
    for hook in hooks:
        assert hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "") in check
