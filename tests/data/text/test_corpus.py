from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.text import files as text_module
from elman.data.text.corpus import load_corpus
from elman.data.text.vocabulary import Vocabulary
from elman.errors import DataError, OptionError

TRAIN = "the cat sat on the mat .\nthe dog <unk>\n\nno end"
VALID = "the cow sat\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "elman" / "text"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    (path / "train.txt").write_text(TRAIN)
    (path / "valid.txt").write_text(VALID)
    return path


def test_words_of_a_folder(folder):
    corpus = load_corpus(str(folder))
    assert corpus.name == "mine"
    assert corpus.vocabulary.entries[:2] == ("<eos>", "the")
    assert sorted(corpus.vocabulary.entries) == sorted({*TRAIN.split(), "<eos>"})
    assert {split: corpus.vocabulary.decode(ids) for split, ids in corpus.splits.items()} == {
        "train": "the cat sat on the mat.\nthe dog <unk>\n\nno end\n",
        "validation": "the <unk> sat\n",
    }
    assert corpus.notes == ("<unk> stands for 6.2 % of train, 25 % of validation",)


def test_characters_of_a_folder(folder):
    corpus = load_corpus(str(folder), level="character")
    assert {split: corpus.vocabulary.decode(ids) for split, ids in corpus.splits.items()} == {
        "train": TRAIN,
        "validation": VALID.replace("w", "<unk>"),
    }
    assert corpus.vocabulary.end is None


@pytest.mark.parametrize(("level", "entry"), [("word", "w{}"), ("character", None)])
@pytest.mark.parametrize(("count", "kind"), [(255, "uint8"), (256, "uint16"), (65_535, "uint16"), (65_536, "uint32")])
def test_ids_have_the_smallest_type_that_holds_the_vocabulary(folder, level, entry, count, kind):
    """`count` entries and <unk>."""
    codes = (code for code in range(33, 0x110000) if not 0xD800 <= code < 0xE000)
    if entry:
        text = " ".join(entry.format(number) for number in range(count - 1)) + "\n"
    else:
        text = "".join(chr(next(codes)) for _ in range(count - 1)) + "\n"
    (folder / "train.txt").write_bytes(text.encode())
    corpus = load_corpus(str(folder), level=level, vocabulary_size=1 << 20)
    assert len(corpus.vocabulary) == count + 1
    for ids in corpus.splits.values():
        assert isinstance(ids, np.memmap)
        assert (ids.dtype.name, ids.ndim, ids.flags.writeable) == (kind, 1, False)
    assert corpus.vocabulary.decode(corpus.splits["train"]) == text


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("level", ["word", "character"])
def test_the_size_of_blocks_changes_nothing(folder, monkeypatch, tmp_path, level, size):
    (folder / "train.txt").write_bytes("\ufeffété 𝄞 a\nb\n\n c\u3000d".encode())
    whole = load_corpus(str(folder), level=level)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(text_module, "_BLOCK", size)
    blocks = load_corpus(str(folder), level=level)
    assert blocks.vocabulary.entries == whole.vocabulary.entries
    assert blocks.checksum == whole.checksum
    for split, ids in whole.splits.items():
        np.testing.assert_array_equal(blocks.splits[split], ids)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1), st.integers(3, 12))
def test_any_text_is_read_as_python_reads_it(tmp_path_factory, lines, size):
    folder = tmp_path_factory.mktemp("any")
    text = "".join(f"{line}\n" for line in lines).removeprefix("\ufeff")
    (folder / "train.txt").write_bytes(text.encode())
    characters = load_corpus(str(folder), level="character")
    assert characters.vocabulary.decode(characters.splits["train"]) == text
    corpus = load_corpus(str(folder), vocabulary_size=size)
    entries, words = corpus.vocabulary.entries, text.replace("\n", " <eos> ").split()
    rows = {entry: row for row, entry in enumerate(entries)}
    assert corpus.splits["train"].tolist() == [rows.get(word, corpus.vocabulary.unknown) for word in words]
    counts = Counter(words)
    assert len(entries) == min(size, len({*words, "<unk>"}))
    kept = [(-counts[entry], entry) for entry in entries if entry not in {"<eos>", "<unk>"}]
    assert kept == sorted(kept)
    assert all((-counts[word], word) > max(kept, default=(0, "")) for word in counts if word not in rows)


def test_a_size_limit_makes_the_rest_unknown_and_says_so(folder):
    corpus = load_corpus(str(folder), vocabulary_size=4)
    assert corpus.vocabulary.entries == ("<eos>", "the", ".", "<unk>")
    assert corpus.vocabulary.decode(corpus.splits["validation"]) == "the <unk> <unk>\n"
    assert corpus.notes[0] == "the vocabulary is limited to the 4 most frequent words"


def test_a_given_vocabulary_is_used_as_it_is(folder, tmp_path):
    given_one = Vocabulary("word", ("cow", "<unk>", "<eos>"))
    corpus = load_corpus(str(folder), vocabulary=given_one)
    assert corpus.vocabulary.entries == given_one.entries
    assert corpus.splits["validation"].tolist() == [1, 0, 1, 2]
    (tmp_path / "words.txt").write_text("cow\n<unk>\n")
    by_path = load_corpus(str(folder), vocabulary=str(tmp_path / "words.txt"))
    assert by_path.splits["validation"].tolist() == [1, 0, 1, 2]
    assert by_path.checksum == corpus.checksum
    other = Vocabulary("word", ("sat", "<unk>", "<eos>"))
    assert load_corpus(str(folder), vocabulary=other).splits["validation"].tolist() == [1, 1, 0, 2]
    assert load_corpus("pydoc", vocabulary=given_one).vocabulary.entries == given_one.entries


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary_size": 2}, "vocabulary size must be 3 to .*, got 2"),
        ({"vocabulary_size": -1}, "vocabulary size must be 3 to .*, got -1"),
        ({"vocabulary_size": 1 << 40}, "vocabulary size must be 3 to"),
        (
            {"vocabulary_size": 9, "vocabulary": Vocabulary("word", ("<unk>", "<eos>"))},
            "left out where a vocabulary is given",
        ),
        ({"vocabulary": Vocabulary("character", ("<unk>", "a"))}, "must be of level 'word', got 'character'"),
        ({"level": "syllable"}, "must be 'word' or 'character', got 'syllable'"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(options, message):
    with pytest.raises(OptionError, match=message):
        load_corpus("nothing/there", **options)


def test_the_checksum_is_of_the_content(folder, tmp_path):
    first = load_corpus(str(folder))
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    (moved / "valid.txt").unlink()
    assert load_corpus(str(moved)).checksum == first.checksum
    (moved / "train.txt").write_text(TRAIN.replace("cat", "cow"))  # the same ids, of another word
    changed = load_corpus(str(moved))
    assert changed.splits["train"].tolist() == first.splits["train"].tolist()
    assert changed.checksum != first.checksum
    (moved / "train.txt").write_text(TRAIN.replace("no end", "end no"))
    swapped = load_corpus(str(moved))
    assert swapped.vocabulary.entries == first.vocabulary.entries
    assert swapped.checksum != first.checksum


def test_the_checksum_is_the_same_on_any_machine(folder):
    corpus = load_corpus(str(folder), vocabulary=Vocabulary("word", ("the", "<eos>", "<unk>")))
    ids = bytes([0, 2, 2, 2, 0, 2, 2, 1, 0, 2, 2, 1, 1, 2, 2, 1])
    assert corpus.splits["train"].tobytes() == ids
    header = b'{"level": "word", "entries": ["the", "<eos>", "<unk>"]}'
    assert corpus.checksum == hashlib.sha256(header + ids).hexdigest()


@pytest.mark.parametrize(("split", "level"), [("train", "word"), ("valid", "word"), ("valid", "character")])
def test_an_empty_text_is_refused(folder, split, level):
    (folder / f"{split}.txt").write_text("")
    shown = {"train": "train", "valid": "validation"}[split]
    with pytest.raises(DataError, match=f"the {shown} text must be at least a line, got nothing"):
        load_corpus(str(folder), level=level)


def test_one_file_is_split(tmp_path):
    lines = [f"line {number}\n" for number in range(100, 300)]
    (tmp_path / "novel.txt").write_text("".join(lines))
    corpus = load_corpus(str(tmp_path / "novel.txt"), level="character")
    texts = {split: corpus.vocabulary.decode(ids) for split, ids in corpus.splits.items()}
    assert texts == {
        "train": "".join(lines[:180]),
        "validation": "".join(lines[180:190]),
        "test": "".join(lines[190:]),
    }
    assert corpus.notes == ("novel.txt is one file: its last tenth is split evenly between validation and test",)


def test_progress_tells_both_passes(folder):
    reports = []
    load_corpus(str(folder), progress=lambda *report: reports.append(report))
    assert reports == [
        ("counting train", len(TRAIN), len(TRAIN)),
        ("encoding train", len(TRAIN), len(TRAIN)),
        ("encoding validation", len(VALID), len(VALID)),
    ]


def test_pydoc_needs_no_disk(cache, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder would be")
    corpus = load_corpus("pydoc")
    assert corpus.name == "pydoc"
    assert set(corpus.splits) == {"train", "validation", "test"}
    for ids in corpus.splits.values():
        assert not ids.flags.writeable
    corpus.release()  # nothing to let go of, and no error


def _resident(path: Path) -> int:
    """Kilobytes of a mapped file that count as this process's memory."""
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    sizes = [re.search(r"^Rss:\s+(\d+)", mapping, re.MULTILINE) for mapping in mappings if str(path) in mapping]
    return sum(int(size[1]) for size in sizes)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is asked of Linux")
def test_release_lets_the_memory_go_and_the_ids_stay(folder, cache):
    (folder / "train.txt").write_text("some words and more\n" * 20_000)
    corpus = load_corpus(str(folder))
    ids = corpus.splits["train"]
    path = next(cache.glob("*/train.ids"))
    before = Counter(ids.tolist())
    assert _resident(path) >= ids.nbytes // 1024
    corpus.release()
    assert _resident(path) == 0
    assert Counter(ids.tolist()) == before


@pytest.mark.parametrize("first", ["file", "folder"])
def test_parts_of_a_file_are_not_taken_for_the_file_under_three_names(tmp_path, first):
    """A model may be asked to learn its test text by heart; the ids of the parts are kept from another time."""
    file, folder = tmp_path / "text.txt", tmp_path / "links"
    file.write_text("the cat sat\n" * 100)
    folder.mkdir()
    for name in ("train.txt", "valid.txt", "test.txt"):
        (folder / name).symlink_to(file)
    sources = [file, folder] if first == "file" else [folder, file]
    lengths = {path: {s: len(ids) for s, ids in load_corpus(str(path)).splits.items()} for path in sources}
    assert lengths[folder] == dict.fromkeys(("train", "validation", "test"), 400)
    assert lengths[file] == {"train": 360, "validation": 20, "test": 20}
