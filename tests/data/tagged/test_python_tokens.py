from __future__ import annotations

import keyword
import sys
import sysconfig
import tokenize
from pathlib import Path

import pytest

from elman.data.tagged import python_tokens as module
from elman.data.tagged.python_tokens import python_splits, tagged_source
from elman.data.tagged.schemes import convert, spans
from elman.errors import DataError

KINDS = {"keyword", "name", "number", "string", "operator", "comment"}


def tokens_of(text):
    """Kind and text of each token."""
    return [
        (kind, "".join(sentence.tokens[first:end]))
        for sentence in tagged_source(text)
        for kind, first, end in spans(sentence.tags)
    ]


def test_every_kind_of_token():
    text = "if x1 is not None:  # so\n\ty = 'a' \"b\" + 0x1F\\\n  ** 1_0.5e3j\n"
    assert tokens_of(text) == [
        ("keyword", "if"),
        ("name", "x1"),
        ("keyword", "is"),
        ("keyword", "not"),
        ("keyword", "None"),
        ("operator", ":"),
        ("comment", "# so"),
        ("name", "y"),
        ("operator", "="),
        ("string", "'a'"),
        ("string", '"b"'),
        ("operator", "+"),
        ("number", "0x1F"),
        ("operator", "**"),
        ("number", "1_0.5e3j"),
    ]


@pytest.mark.parametrize(
    "string",
    [
        "f'a{b}c'",
        "f'{x!r:>{width}} {{y}}'",
        "f''",
        "rb'x'",
        "F'''a\n{b\n}'''",
        "f'{a}' f\"{f'{b}'}\"",
    ],
)
def test_an_f_string_is_one_string(string):
    expected = [("string", part) for part in string.split(" f", 1)]
    if len(expected) == 2:
        expected = [("string", "f'{a}'"), ("string", "f\"{f'{b}'}\"")]
    if string == "f'{x!r:>{width}} {{y}}'":
        expected = [("string", string)]
    assert tokens_of(f"x = {string}\n")[2:] == expected


def test_soft_keywords_are_names():
    assert tokens_of("match x:\n  case _: pass\n")[0] == ("name", "match")
    assert ("name", "type") in tokens_of("type = 1\n")


def test_tokens_side_by_side_begin_anew():
    (sentence,) = tagged_source("a[b]((\n))")
    assert sentence.tags[:6] == ("B-name", "B-operator", "B-name", "B-operator", "B-operator", "B-operator")


def test_sentences_end_with_logical_lines():
    call = "f(\n" + "    'a',\n" * 15 + ")\n"  # 140 characters
    sentences = tagged_source(call * 4)
    assert ["".join(sentence.tokens) for sentence in sentences] == [call] * 4


def test_a_long_logical_line_is_cut_at_lines_and_its_token_begins_anew():
    doc = '"""' + "some words of text\n" * 30 + '"""\n'
    sentences = tagged_source("x = 1\n" + doc + "y = 2\n")
    assert "".join("".join(sentence.tokens) for sentence in sentences) == "x = 1\n" + doc + "y = 2\n"
    assert sentences[0].tokens[-1] == sentences[1].tokens[-1] == "\n"
    assert "".join(sentences[0].tokens) == "x = 1\n"
    assert set(sentences[1].tags) == {"B-string", "I-string"}
    assert sentences[2].tags[0] == "B-string"
    for sentence in sentences:
        assert len(sentence) <= 256
        assert convert(sentence.tags, "BIO") == sentence.tags


@pytest.mark.parametrize("text", ["x = (\n", "'''a\n", "if x:\n  a\n b\n", "x = ?\n", "x = 'a\n"])
def test_what_is_no_python_is_an_error(text):
    with pytest.raises((SyntaxError, tokenize.TokenError)):
        tagged_source(text)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library of a few files."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: {"stdlib": str(tmp_path)}[name])
    for name in ("abc", "csv", "queue", "heapq"):
        (tmp_path / f"{name}.py").write_text(f"{name} = 1\n")
    return tmp_path


def texts_of(splits):
    return {split: ["".join(sentence.tokens) for sentence in part] for split, part in splits.items()}


def test_modules_are_held_out_whole(library):
    (library / "sitecustomize.py").write_text("x = 1\n")  # not of the library
    (library / "bdb.py").write_text("x = 1\n" * 7000)  # too large
    (library / "cmd.py").write_text("x = (\n")
    (library / "code.py").write_bytes(b"x = '\xff'\n")
    (library / "copy.py").write_bytes(b"# coding: no-such-thing\n")
    splits, note = python_splits()
    expected = {"train": ["abc = 1\n"], "validation": ["csv = 1\n"], "test": ["heapq = 1\n", "queue = 1\n"]}
    assert texts_of(splits) == expected
    assert "other versions have other text" in note


def test_a_library_without_its_source_is_explained(library):
    (library / "csv.py").unlink()
    with pytest.raises(DataError, match="python-tokens must be in the source of Python's standard library, got none"):
        python_splits()


@pytest.fixture(scope="module")
def splits():
    return python_splits()[0]


class TestThisPython:
    def test_it_is_of_a_moderate_size(self, splits):
        sizes = {split: sum(map(len, part)) for split, part in splits.items()}
        assert 1e6 < sizes["train"] < 2.5e6
        assert 5e4 < min(sizes["validation"], sizes["test"]) <= max(sizes["validation"], sizes["test"]) < 2e5

    def test_every_sentence_is_in_bio_with_every_kind(self, splits):
        for part in splits.values():
            assert {kind for sentence in part for kind, _, _ in spans(sentence.tags)} == KINDS
        for sentence in splits["validation"]:
            assert len(sentence.tags) == len(sentence) <= 256
            assert convert(sentence.tags, "BIO") == sentence.tags

    def test_the_text_is_that_of_the_modules(self, splits):
        folder = Path(sysconfig.get_path("stdlib"))
        for split in ("validation", "test"):
            files = [folder / f"{name}.py" for name in module._HELD[split]]
            text = "".join(file.read_text(encoding="utf-8") for file in files if file.stat().st_size <= 40_000)
            assert "".join(texts_of(splits)[split]) == text

    def test_names_and_keywords_are_told_apart(self, splits):
        found = {"keyword": set(), "name": set()}
        for sentence in splits["test"]:
            for kind, first, end in spans(sentence.tags):
                if kind in found:
                    found[kind].add("".join(sentence.tokens[first:end]))
        assert found["keyword"] <= set(keyword.kwlist)
        assert not found["name"] & set(keyword.kwlist)
        assert {"self", "heap"} <= found["name"]

    def test_the_modules_held_out_are_of_the_library(self):
        names = [name for names in module._HELD.values() for name in names]
        assert len(set(names)) == len(names)
        assert set(names) <= sys.stdlib_module_names
