from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from elman.data.labelled.idx import read_idx, write_idx
from elman.errors import DataError, OptionError

TYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]


def header(code: int, *sizes: int) -> bytes:
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, code, len(sizes), *sizes)


@settings(max_examples=60, deadline=None)
@given(
    array=st.sampled_from(TYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    ),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_what_is_written_is_read_back(array, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("idx") / f"array{suffix}"
    write_idx(path, array)
    read = read_idx(path)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    read[...] = 0  # its own memory, not the file's


def test_reads_the_published_layout(tmp_path):
    (tmp_path / "x").write_bytes(bytes([0, 0, 0x0B, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0x01, 0x02, 0xFF, 0xFE]))
    assert read_idx(tmp_path / "x").tolist() == [[258, -2]]


def test_gzip_is_told_by_the_content_not_by_the_name(tmp_path):
    (tmp_path / "plain.gz").write_bytes(header(8, 2) + b"\x05\x06")
    (tmp_path / "packed").write_bytes(gzip.compress(header(8, 2) + b"\x05\x06"))
    assert read_idx(tmp_path / "plain.gz").tolist() == read_idx(tmp_path / "packed").tolist() == [5, 6]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "first four bytes must be 00 00.*got an empty file"),
        (b"\0\0", "first four bytes.*got 00 00"),
        (b"\x89PNG\r\n", "got 89 50 4e 47. This is not an idx file"),
        (b"<!DOCTYPE html>", "looks like a web page"),
        (b"\0\0\x0a\1" + b"\0" * 8, "a type of idx"),
        (header(8), "1 to 8 dimensions"),
        (b"\0\0\x08\x09" + b"\0" * 40, "1 to 8 dimensions"),
        (b"\0\0\x08\3" + b"\0\0\0\1", "header must be 16 bytes for 3 dimensions, got 8. The file is cut short"),
        (header(8, 2, 3) + b"12345", r"must be 6 bytes \(2 x 3 of uint8\), got 5 bytes. The file is cut short"),
        (header(8, 2, 3) + b"1234567", "must be 6 bytes.*got .*The header does not belong"),
        (header(0x0E, 1) + b"1234567", r"must be 8 bytes \(1 of float64\), got 7 bytes"),
    ],
)
def test_refuses_what_is_not_a_whole_idx_file(tmp_path, pack, content, message):
    path = tmp_path / "x"
    path.write_bytes(content if pack is bytes and content else pack(content))
    with pytest.raises(DataError, match=message):
        read_idx(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_takes_no_memory_for_absurd_sizes(tmp_path, pack, monkeypatch):
    (tmp_path / "x").write_bytes(pack(header(8, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"abc"))
    monkeypatch.setattr(np, "empty", None)  # would be a TypeError
    with pytest.raises(DataError, match="header is wrong"):
        read_idx(tmp_path / "x")


def test_unpacks_no_more_of_a_bomb_than_the_header_promises(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(gzip.compress(header(8, 3) + bytes(50_000_000)))
    asked = []
    original = gzip.GzipFile.read

    def read(self, size=-1):
        asked.append(size)
        return original(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", read)
    with pytest.raises(DataError, match=r"must be 3 bytes \(3 of uint8\), got more"):
        read_idx(tmp_path / "x")
    assert asked
    assert max(asked) <= 4
    assert min(asked) >= 0


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 60), damage=st.integers(0, 255))
def test_a_cut_or_damaged_gzip_is_one_clear_error_or_harmless(cut, damage, tmp_path_factory):
    whole = gzip.compress(header(8, 40) + bytes(range(40)), mtime=0)
    path = tmp_path_factory.mktemp("idx") / "x.gz"
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(DataError, match=r"x\.gz"):
        read_idx(path)
    position = 12 + cut % (len(whole) - 12)
    broken = bytearray(whole)
    broken[position] ^= damage or 1
    path.write_bytes(broken)
    try:
        read = read_idx(path)
    except DataError as error:
        assert "x.gz" in str(error)  # noqa: PT017  # a bit that deflate does not use may change, nothing else
    else:
        assert read.tolist() == list(range(40))


def test_a_missing_file_and_a_folder_are_clear(tmp_path):
    with pytest.raises(DataError, match=r"nothing.* must be a readable idx file, got No such file"):
        read_idx(tmp_path / "nothing")
    with pytest.raises(DataError, match="a readable idx file, got Is a directory"):
        read_idx(tmp_path)


def test_larger_than_memory_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(header(8, 100) + bytes(100))
    monkeypatch.setattr("os.sysconf", lambda name: 9)
    with pytest.raises(DataError, match=r"below this machine's memory \(81 bytes\), got 100 bytes"):
        read_idx(tmp_path / "x")


@pytest.mark.parametrize("array", [np.zeros(3, np.int64), np.zeros((), np.uint8), np.zeros((1,) * 9, np.uint8)])
def test_does_not_write_what_idx_cannot_hold(tmp_path, array):
    with pytest.raises(OptionError, match=r"array must be 1 to 8 dimensions of uint8.*got \d dimensions of"):
        write_idx(tmp_path / "x", array)
    assert not (tmp_path / "x").exists()
