from __future__ import annotations

import gzip
import io
from itertools import islice

import pytest

from elman.data.tagged import lines as module
from elman.data.tagged.lines import byte_lines, text_lines
from elman.errors import DataError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "some.txt"


@pytest.mark.parametrize("packed", [False, True])
def test_lines_come_with_their_numbers(file, packed):
    body = b"\xef\xbb\xbfone\r\n\n\xef\xbb\xbftwo \f\tthree\x20\nlast"
    file.write_bytes(gzip.compress(body) if packed else body)
    assert list(text_lines(file)) == [(1, "one"), (2, ""), (3, "\ufefftwo \f\tthree "), (4, "last")]


def test_a_stream_is_read_likewise():
    assert list(text_lines(io.StringIO("\ufeffé\r\n\nb"))) == [(1, "é"), (2, ""), (3, "b")]


def test_an_empty_file_has_no_lines(file):
    file.touch()
    assert list(text_lines(file)) == []


def test_progress_is_told(file, monkeypatch):
    monkeypatch.setattr(module, "_EVERY", 2)
    file.write_bytes(b"12\n" * 5)
    told = []
    assert len(list(byte_lines(file, longest=9, progress=lambda *report: told.append(report)))) == 5
    assert told == [(6, 15), (12, 15), (15, 15)]
    with gzip.open(file, "wb") as packed:
        packed.write(b"12\n" * 5)
    told.clear()
    list(byte_lines(file, longest=9, progress=lambda *report: told.append(report)))
    assert told[-1] == (file.stat().st_size,) * 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"a\nb\xff\n", r"some.txt must be UTF-8 text, got the byte ff \(line 2\). Latin-1\?"),
        (b"\xff\xfea\x00\n", "line 1.* It looks like UTF-16"),
        (b"PK\x03\x04\xff\n", "It is a zip archive"),
        (b"a\nb\x07", r"without control characters, got the character U\+0007 \(line 2\)"),
        (b"a\rb\r", r"U\+000D"),
        (b"a\x00", r"U\+0000"),
        ("\x9b31m".encode(), r"U\+009B"),
        (b"\x1f\x8bno gzip", "some.txt must be a whole gzip file, got a damaged one"),
        (gzip.compress(b"a\n" * 99, mtime=0)[:-9], "must be a whole gzip file"),
        (gzip.compress(b"a\n" * 99, mtime=0)[:-8] + b"12345678", "must be a whole gzip file, got a damaged one .CRC"),
    ],
)
def test_what_is_no_text_is_named(file, body, message):
    file.write_bytes(body)
    with pytest.raises(DataError, match=message):
        list(text_lines(file))


def test_lines_and_files_have_a_limit(file, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST", 4)
    monkeypatch.setattr(module, "_LARGEST", 12)
    file.write_bytes(b"123\n" * 3)
    assert len(list(text_lines(file))) == len(list(text_lines(io.StringIO("123\n" * 3)))) == 3
    for text, message in [
        ("123\n1234\n", "line 2 must be at most 4 bytes"),
        ("123\n" * 3 + "1", "at most 12 bytes of"),
    ]:
        file.write_text(text)
        for source in (file, io.StringIO(text)):
            with pytest.raises(DataError, match=message):
                list(text_lines(source))


def test_a_packed_file_is_not_unpacked_further_than_its_limit(file):
    file.write_bytes(gzip.compress(b"0" * (1 << 20)))
    with pytest.raises(DataError, match="line 1 must be at most 65,536 bytes"):
        list(text_lines(file))


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt must be readable, got No such file"):
        list(text_lines(tmp_path / "none.txt"))


def test_a_stream_in_another_encoding_is_named():
    stream = io.TextIOWrapper(io.BytesIO(b"a\n\xe9\n"), encoding="utf-8")
    with pytest.raises(DataError, match="must be UTF-8 text, got the byte e9"):
        list(text_lines(stream))
    stream = io.TextIOWrapper(io.BytesIO(b"a\n\xe9\n"), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=r"U\+DCE9 \(line 2\)"):
        list(text_lines(stream))


def test_lines_are_read_one_by_one(file):
    file.write_bytes(b"a\nb\n\xff\n")
    assert list(islice(text_lines(file), 2)) == [(1, "a"), (2, "b")]
