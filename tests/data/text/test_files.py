from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.text import files as module
from elman.data.text.files import TextFile, TextInMemory, cut_in_parts
from elman.errors import DataError


def no_progress(done, total):
    pass


def read(path, level="character", begin=0, end=None):
    return list(TextFile(path, begin, path.stat().st_size if end is None else end).blocks(level, no_progress))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "some.txt"


@pytest.fixture(params=[1, 2, 3, 5, 1 << 20])
def block(request, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", request.param)
    return request.param


TEXT = "a été 𝄞\n\u2028b\r\n\ufeffc  d\n\n"


@pytest.mark.usefixtures("block")
def test_characters_across_the_borders_of_blocks_are_whole(file):
    file.write_bytes(TEXT.encode())
    assert "".join(read(file)) == TEXT


@pytest.mark.usefixtures("block")
def test_words_across_the_borders_of_blocks_are_whole(file):
    file.write_bytes(TEXT.encode())
    blocks = read(file, "word")
    assert "".join(blocks) == TEXT
    assert [word for block in blocks for word in block.split()] == TEXT.split()


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("text", ["a", "a b", "a\nb", "a\nb ", "a\n b\t"])
def test_the_last_line_of_words_ends_like_the_others(file, text):
    file.write_text(text)
    assert "".join(read(file, "word")) == text + "\n"
    assert "".join(read(file)) == text
    file.write_text(text + "\n")
    assert "".join(read(file, "word")) == text + "\n"


@pytest.mark.usefixtures("block")
def test_the_byte_order_mark_is_dropped_at_the_start_of_the_file_alone(file):
    file.write_bytes(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n")
    assert "".join(read(file)) == "one\n\ufefftwo\n"
    assert "".join(read(file, begin=7)) == "\ufefftwo\n"
    file.write_bytes(b"\xef\xbb\xbf")
    assert "".join(read(file, "word")) == ""


@pytest.mark.usefixtures("block")
def test_a_part_is_its_bytes(file):
    file.write_text("one\ntwo\nthree\n")
    assert "".join(read(file, "word", 4, 8)) == "two\n"
    assert "".join(read(file, "character", 4, 8)) == "two\n"


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"ab\nc\xff\n", "the byte ff at offset 4 (line 2)"),
        (b"\xe9t\xe9\n", "the byte e9 at offset 0 (line 1)"),
        ("é\n\né".encode() + b"\xc3(", "the byte c3 at offset 6 (line 3)"),
        (b"abc\n\xf0\x9d\x84", "the byte f0 at offset 4 (line 2)"),  # cut off within a character
        (b"\xed\xa0\x80", "the byte ed at offset 0 (line 1)"),  # half a character
        ("é\nab".encode() + b"\0c", "the byte 00 at offset 5 (line 2)"),
    ],
)
@pytest.mark.parametrize("level", ["word", "character"])
def test_what_is_not_utf8_is_named_by_file_offset_and_line(file, content, place, level):
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(file, level)
    assert str(caught.value).startswith(f"{file} must be UTF-8 text, got {place}.")


def test_the_place_of_a_wrong_byte_is_that_in_the_file_not_in_the_part(file):
    file.write_bytes(b"one\ntwo\nth\xffree\n")
    with pytest.raises(DataError, match=r"ff at offset 10 \(line 3\)"):
        read(file, begin=8)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("häuser\n".encode("latin-1"), "Latin-1? iconv -f LATIN1 -t UTF-8 converts it."),
        ("one".encode("utf-16"), "UTF-16"),
        (b"\xfe\xff\0o", "UTF-16"),
        (b"\x1f\x8b\x08\0\0", "gunzip"),
        (b"PK\x03\x04\0\0", "zip archive"),
        (b"BZh91AY\xff", "bunzip2"),
        (b"\xfd7zXZ\0", "unxz"),
        (b"(\xb5/\xfd\0", "unzstd"),
        (b"%PDF-1.7\n\xff", "PDF"),
        (b"one\0two", "It is no text."),
    ],
)
def test_the_likely_cause_is_named(file, content, cause):
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(file)
    assert cause in str(caught.value)


def test_endless_words_are_refused_before_they_fill_the_memory(file, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 8)
    monkeypatch.setattr(module, "_LONGEST_WORD", 20)
    file.write_text("one " + "x" * 20 + "\n")
    assert "".join(read(file, "word")) == file.read_text()
    file.write_text("one " + "x" * 40)
    with pytest.raises(DataError, match="words of at most 20 characters between whitespace"):
        read(file, "word")
    assert "".join(read(file)) == file.read_text()


def test_a_file_that_became_shorter_or_went_away_is_an_error(file):
    file.write_text("one\n")
    with pytest.raises(DataError, match=r"must be 9 bytes, got 4\. It was cut off"):
        read(file, end=9)
    with pytest.raises(DataError, match=r"none\.txt must be readable, got No such file"):
        list(TextFile(file.with_name("none.txt"), 0, 1).blocks("word", no_progress))


@pytest.mark.parametrize("level", ["word", "character"])
def test_progress_ends_with_all_bytes(file, monkeypatch, level):
    monkeypatch.setattr(module, "_BLOCK", 3)
    file.write_text("one\ntwo\nx y")
    reports = []
    list(TextFile(file, 4, 11).blocks(level, lambda *report: reports.append(report)))
    assert reports == [(3, 7), (6, 7), (7, 7)]


def test_text_in_memory_is_one_block():
    reports = []
    assert list(TextInMemory("a b\n").blocks("word", lambda *report: reports.append(report))) == ["a b\n"]
    assert reports == []  # a text that is in memory is read at once


@pytest.mark.usefixtures("block")
def test_cuts_are_at_line_ends_and_lose_nothing(file):
    file.write_text("".join(f"{number}\n" for number in range(10, 30)))
    parts = cut_in_parts(file, (0.9, 0.05, 0.05))
    assert [(part.begin, part.end) for part in parts] == [(0, 54), (54, 57), (57, 60)]
    file.write_text("a\n" + "b" * 50 + "\nc\nd\n")
    assert [(part.begin, part.end) for part in cut_in_parts(file, (0.5, 0.5))] == [(0, 53), (53, 57)]


def test_a_text_without_lines_is_cut_between_words(file):
    file.write_text("word " * 20)
    assert [(part.begin, part.end) for part in cut_in_parts(file, (0.5, 0.3, 0.2))] == [(0, 50), (50, 80), (80, 100)]


@settings(deadline=None)
@given(lines=st.lists(st.text(st.sampled_from("aé"), max_size=6), min_size=200, max_size=230))
def test_the_parts_of_any_text_are_lines_in_order(tmp_path_factory, lines):
    file = tmp_path_factory.mktemp("cut") / "lines.txt"
    file.write_bytes("".join(f"{line}\n" for line in lines).encode())
    parts = cut_in_parts(file, (0.8, 0.1, 0.1))
    texts = ["".join(read(file, "character", part.begin, part.end)) for part in parts]
    assert "".join(texts) == file.read_text(encoding="utf-8")
    assert all(text.endswith("\n") for text in texts)
    size = file.stat().st_size
    assert 0.8 * size - 1 <= parts[0].end < 0.8 * size + 14  # the longest line has 13 bytes


@pytest.mark.parametrize("content", ["", "one line", "one line\n", "a\nb\n", "x" * 100 + "\na\n"])
def test_too_few_lines_for_the_parts_say_what_is_needed(file, content):
    file.write_text(content)
    with pytest.raises(
        DataError, match=r"cut into 3 parts between lines or words, got [\d,]+ bytes\. .*a folder with train\.txt"
    ):
        cut_in_parts(file, (0.9, 0.05, 0.05))
