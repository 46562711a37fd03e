from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elman.data.tagged import vectors as module
from elman.data.tagged.vectors import read_vectors
from elman.errors import DataError

BODY = "the 0.25 -1 3e-1\nété 1 2 3\n, 4 5 6\n. . . 7 8 9\n"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "glove.txt"


@pytest.mark.parametrize(
    "text",
    [BODY, "\ufeff4 3\n" + BODY, BODY.replace("\n", "\r\n"), "4 3\n" + BODY.replace("\n", " \n"), BODY.rstrip("\n")],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_words_that_are_wanted_are_read(file, text, packed):
    body = text.encode()
    file.write_bytes(gzip.compress(body) if packed else body)
    words, values = read_vectors(file, {"été", "the", ". . .", ".", "absent"})
    assert words == ("the", "été", ". . .")
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.array([[0.25, -1, 0.3], [1, 2, 3], [7, 8, 9]], dtype=np.float32))


def test_the_first_vector_of_a_word_counts(file):
    file.write_text("a 1\nb 2\na 3\n")
    assert read_vectors(file, ["b", "a"]).values.tolist() == [[1.0], [2.0]]


def test_words_that_are_not_wanted_may_be_anything(file):
    file.write_bytes(b"a 1 2\n\xff 3 4\n\x00 nan inf\n")
    assert read_vectors(str(file), ["a"]).values.tolist() == [[1.0, 2.0]]


def test_progress_is_told(file):
    file.write_text(BODY)
    told = []
    read_vectors(file, ["the"], progress=lambda *report: told.append(report))
    assert told == [("reading glove.txt", len(BODY.encode()), len(BODY.encode()))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: numbers of a vector must be 1 to 8,192, with a space before each, got 0"),
        ("a\n", "line 1: numbers of a vector must be 1 to 8,192, with a space before each, got 0"),
        ("5 0\n", "line 1: numbers of a vector must be 1 to 8,192"),
        ("5 99999\n", "got 99,999"),
        ("b 1 2\na 1\n", r"line 2: the numbers must be 2, as in the first line, got 1. Is it a text file\?"),
        ("1 2\nb 1\n", "line 2: the numbers must be 2"),
        ("a 1 2\nb 1\n", "line 2: the numbers must be 2"),
        ("b 1 2\na 1 nan\n", "line 2 must be finite as float32, got numbers that are not"),
        ("a inf 2\n", "must be finite"),
        ("a 1e39 2\n", "must be finite"),
        ("b 1 2\na 1 two\n", "line 2 must be a word and numbers, got could not convert"),
        ("b 1 2\na  1\n", "must be a word and numbers"),
        ("3 2\nb 1 2\na 1 2\n", "words must be 3, as its first line says, got 2. The file was cut off."),
        ("1 2\nb 1 2\na 1 2\n", r"words must be 1, as its first line says, got 2\.$"),
        ("A 1\nB 2\n", "vectors of some of the 1 words, got none of them. Are they spelled alike"),
    ],
)
def test_damaged_files_are_named_with_their_line(file, text, message):
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_vectors(file, ["a"])


@given(st.binary(max_size=40) | st.text(alphabet="a1 .-e\n\r", max_size=40).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_is_vectors_or_an_error_of_ours(file, body):
    file.write_bytes(body)
    try:
        words, values = read_vectors(file, {"a", "1", "e"})
    except DataError as error:
        assert "glove.txt" in str(error)  # noqa: PT017
        return
    assert len(words) == len(values) > 0
    assert np.isfinite(values).all()


def test_word2vecs_binary_form_is_recognised(file):
    file.write_bytes(b"2 3\na " + np.arange(3, dtype=np.float32).tobytes() + b"\nb " + b"\x01" * 12 + b"\n")
    with pytest.raises(DataError, match="binary form have to be saved as text first"):
        read_vectors(file, ["a"])


def test_a_line_has_a_longest_length(file, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST", 8)
    file.write_text("a 1\nb 2.000000\n")
    with pytest.raises(DataError, match="line 2 must be at most 8 bytes"):
        read_vectors(file, ["a"])
