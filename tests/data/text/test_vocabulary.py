from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.text import vocabulary as module
from elman.data.text.vocabulary import Vocabulary, count_entries, read_vocabulary
from elman.errors import CheckpointError, DataError, OptionError

WORDS = Vocabulary("word", ("the", "<eos>", "cat", ".", "(", ")", "n't", "did", "<unk>"))
CHARACTERS = Vocabulary("character", ("e", "<unk>", "\n", " ", "é", "𝄞", "a"))


def test_words_are_what_stands_between_whitespace():
    ids = WORDS.encode("the\tcat\u2003sat .\r\n\n  the")
    assert ids.tolist() == [0, 2, 8, 3, 1, 1, 0]
    assert ids.dtype == np.int64
    assert WORDS.encode("").tolist() == WORDS.encode(" \t").tolist() == []
    assert WORDS.encode("\n").tolist() == [1]


def test_characters_are_code_points_of_any_plane():
    assert CHARACTERS.encode("aé𝄞\n z").tolist() == [6, 4, 5, 2, 3, 1]
    assert CHARACTERS.encode("<unk>").tolist() == [1] * 5
    assert CHARACTERS.encode("").tolist() == []
    assert CHARACTERS.encode("\ud800").tolist() == [1]  # what Python makes of a wrong byte in an argument


def test_what_every_vocabulary_has():
    assert (WORDS.unknown, WORDS.end, len(WORDS)) == (8, 1, 9)
    assert (CHARACTERS.unknown, CHARACTERS.end, len(CHARACTERS)) == (1, None, 7)


def test_decode_sets_words_as_people_do():
    ids = WORDS.encode("the cat ( cat ) did n't .\nthe cat")
    assert WORDS.decode(ids) == "the cat (cat) didn't.\nthe cat"
    assert WORDS.decode([]) == ""
    assert CHARACTERS.decode(np.array([0, 3, 0], np.uint8)) == "e e"


def test_decode_refuses_ids_beyond_the_vocabulary():
    for wrong in (9, -1):
        with pytest.raises(IndexError):
            WORDS.decode([wrong])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        *[("it", after, "") for after in (*",.;:!?)]}%”’", "...", "'s", "n't", "'re", "''")],
        *[(before, "it", "") for before in (*"([{“‘$#", "``")],
        *[("it", after, " ") for after in ("it", "(", "“", "-", "<unk>", "$")],
        *[(before, "it", " ") for before in (".", ")", "”", "<unk>", ",")],
        ("it", "<eos>", ""),
        ("<eos>", "it", ""),
        ("<eos>", "<eos>", ""),
    ],
)
def test_spacing(before, after, expected):
    entries = tuple(dict.fromkeys((before, after, "<eos>", "<unk>")))
    vocabulary = Vocabulary("word", entries)
    assert vocabulary.spacing(entries.index(before), entries.index(after)) == expected


def test_nothing_stands_before_the_first_word_or_between_characters():
    assert WORDS.spacing(None, 0) == ""
    assert CHARACTERS.spacing(0, 6) == ""


@settings(deadline=None)
@given(st.text(st.sampled_from("ab \n\té𝄞"), max_size=60))
def test_characters_come_back(text):
    vocabulary = Vocabulary.by_frequency(Counter(text), "character", 20) if text else CHARACTERS
    assert vocabulary.decode(vocabulary.encode(text)) == text


@settings(deadline=None)
@given(st.lists(st.sampled_from(["the", "cat", "did", "<eos>"]), max_size=30))
def test_words_come_back(words):
    text = " ".join(words).replace("<eos>", "\n")
    decoded = WORDS.decode(WORDS.encode(text))
    assert [line.split() for line in decoded.split("\n")] == [line.split() for line in text.split("\n")]
    assert WORDS.encode(decoded).tolist() == WORDS.encode(text).tolist()


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_encoding_is_total_and_goes_block_by_block(first, second):
    both = [*CHARACTERS.encode(first).tolist(), *CHARACTERS.encode(second).tolist()]
    assert CHARACTERS.encode(first + second).tolist() == both
    assert len(both) == len(first + second)
    whole = [*WORDS.encode(f"{first} ").tolist(), *WORDS.encode(second).tolist()]
    assert WORDS.encode(f"{first} {second}").tolist() == whole


def test_counts_of_blocks_are_those_of_the_text():
    text = "b a b\n\nc <unk> a\n"
    assert count_entries([text[:2], text[2:6], text[6:]], "word") == Counter(
        {"b": 2, "a": 2, "<eos>": 3, "c": 1, "<unk>": 1}
    )
    text = "aé𝄞aa\n"
    assert count_entries([text[:1], text[1:2], text[2:]], "character") == Counter(text)


def test_rare_words_are_forgotten_before_they_fill_the_memory(monkeypatch):
    monkeypatch.setattr(module, "_MOST_WORDS", 10)
    blocks = [f"the cat w{number} v{number} the\n" for number in range(100)]
    counts = count_entries(blocks, "word")
    assert len(counts) <= 10
    assert {entry: count for entry, count in counts.items() if count > 1} == {"the": 200, "cat": 100, "<eos>": 100}


def test_by_frequency_orders_as_readers_of_the_treebank_do():
    counts = {"b": 2, "a": 2, "<eos>": 3, "z": 9, "c": 1}
    assert Vocabulary.by_frequency(counts, "word", 10).entries == ("z", "<eos>", "a", "b", "c", "<unk>")
    assert Vocabulary.by_frequency({**counts, "<unk>": 5}, "word", 10).entries == (
        "z",
        "<unk>",
        "<eos>",
        "a",
        "b",
        "c",
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (6, ("z", "<eos>", "a", "b", "c", "<unk>")),
        (5, ("z", "<eos>", "a", "b", "<unk>")),
        (4, ("z", "<eos>", "a", "<unk>")),
        (3, ("z", "<eos>", "<unk>")),
    ],
)
def test_a_limit_drops_the_rarest_but_never_what_the_level_needs(size, expected):
    counts = {"b": 2, "a": 2, "<eos>": 3, "z": 9, "c": 1}
    assert Vocabulary.by_frequency(counts, "word", size).entries == expected
    rare = {"z": 9, "y": 8, "x": 7, "<eos>": 1, "<unk>": 1}
    assert Vocabulary.by_frequency(rare, "word", 3).entries == ("z", "<eos>", "<unk>")
    assert Vocabulary.by_frequency({"b": 1, "a": 5}, "character", 2).entries == ("a", "<unk>")


@pytest.mark.parametrize(
    ("level", "entries", "message"),
    [
        ("syllable", ("a", "<unk>"), "level must be 'word' or 'character', got 'syllable'"),
        ("word", ("a", "<eos>", "a", "<unk>"), "got 'a' more than once"),
        ("word", ("a", "<eos>"), "must be with <unk>"),
        ("word", ("a", "<unk>"), "must be with <eos>"),
        ("word", ("a b", "<eos>", "<unk>"), "got 'a b'"),
        ("word", ("\n", "<eos>", "<unk>"), r"got '\\n'"),
        ("word", ("", "<eos>", "<unk>"), "got a blank one"),
        ("character", ("ab", "<unk>"), "got 'ab'"),
        ("character", ("a", "<unk>", "<eos>"), "got '<eos>'"),
        ("character", ("\ud800", "<unk>"), "half a character"),
        ("character", ("a",), "2 to .* entries, got 1"),
        ("word", ("x" * 500 + " y", "<eos>", "<unk>"), r"x{40}\.\.\.'\.$"),
        ("word", (1, "<eos>", "<unk>"), "others among them"),
    ],
)
def test_entries_that_no_text_has_are_refused(level, entries, message):
    with pytest.raises(OptionError, match=message):
        Vocabulary(level, entries)
    with pytest.raises(CheckpointError, match="The vocabulary must be a level and entries, got dict"):
        Vocabulary.from_json({"level": level, "entries": list(entries)})


@pytest.mark.parametrize("vocabulary", [WORDS, CHARACTERS])
def test_json_brings_it_back(vocabulary):
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert (again.level, again.entries) == (vocabulary.level, vocabulary.entries)


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        "word",
        {},
        {"level": "word"},
        {"level": ["word"], "entries": ["<unk>", "<eos>"]},
        {"level": "word", "entries": None},
        {"level": "word", "entries": 3},
        {"level": "word", "entries": "ab"},
        {"level": "word", "entries": [["<unk>"], "<eos>"]},
        {"level": "word", "entries": ["<unk>", "<eos>", None]},
    ],
)
def test_json_of_something_else_is_a_damaged_checkpoint(fields):
    with pytest.raises(CheckpointError, match="The vocabulary must be"):
        Vocabulary.from_json(fields)


def test_too_many_entries_are_refused(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_VOCABULARY", 8)
    with pytest.raises(OptionError, match="2 to 8 entries, got 9"):
        Vocabulary("word", WORDS.entries)


class TestFile:
    def test_gives_entries_in_its_order(self, tmp_path):
        path = tmp_path / "words.txt"
        path.write_bytes("\ufeff<eos>\r\nthe\r\nété\r\n".encode())
        assert read_vocabulary(path, "word").entries == ("<eos>", "the", "été", "<unk>")
        path.write_text("the\n<unk>", encoding="utf-8")
        assert read_vocabulary(str(path), "word").entries == ("the", "<unk>", "<eos>")

    def test_characters_have_the_end_of_a_line_too(self, tmp_path):
        path = tmp_path / "characters.txt"
        path.write_bytes("a\n \n𝄞\n".encode())
        assert read_vocabulary(path, "character").entries == ("a", " ", "𝄞", "<unk>", "\n")

    @pytest.mark.parametrize(
        ("level", "content", "message"),
        [
            ("word", b"a\n\nb\n", "line 2 must be one word, got a blank one"),
            ("word", b"a\nb\na\n", "line 3 must be one word, got 'a', which line 1 has too"),
            ("word", b"a\nb c\n", "line 2 must be one word, got 'b c'"),
            ("word", b"", "line 1 must be one word, got a blank one"),
            ("word", b"a\nb\xff\n", "must be UTF-8 text, got the byte ff at offset 3"),
            ("character", b"a\nbc\n", "line 2 must be one character, got 'bc'"),
        ],
    )
    def test_that_is_something_else_says_where(self, tmp_path, level, content, message):
        path = tmp_path / "entries.txt"
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"entries\.txt.*{message}"):
            read_vocabulary(path, level)

    def test_that_is_missing_or_too_large(self, tmp_path, monkeypatch):
        for place in (tmp_path / "none.txt", tmp_path):
            with pytest.raises(DataError, match="must be a file, got none of that name"):
                read_vocabulary(place, "word")
        path = tmp_path / "words.txt"
        path.write_text("\n".join("abcdefgh"))
        monkeypatch.setattr(module, "LARGEST_VOCABULARY", 9)
        with pytest.raises(DataError, match=r"words\.txt: vocabulary must be 2 to 9 entries, got 10"):
            read_vocabulary(path, "word")
        monkeypatch.setattr(module, "_LARGEST_FILE", 14)
        with pytest.raises(DataError, match="at most 14 bytes, got more"):
            read_vocabulary(path, "word")
