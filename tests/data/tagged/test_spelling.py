from __future__ import annotations

import io

import pytest

from elman.data.tagged.columns import Columns, read_columns
from elman.data.tagged.spelling import checked_scheme, in_scheme
from elman.errors import OptionError


def file_of(*sentences):
    text = "\n".join("".join(f"w {tag}\n" for tag in tags.split()) for tags in sentences)
    return read_columns(io.StringIO(text), Columns(), tagged=True)


def tags_of(splits):
    return {split: [" ".join(sentence.tags) for sentence in part] for split, part in splits.items()}


@pytest.mark.parametrize(
    ("given", "wanted", "result", "scheme", "notes"),
    [
        ("B-X I-X B-X", "given", "B-X I-X B-X", "BIO", []),
        ("B-X I-X B-X", "BIO", "B-X I-X B-X", "BIO", []),
        ("B-X I-X B-X", "BIOES", "B-X E-X S-X", "BIOES", ["the spans were in BIO and are in BIOES now"]),
        ("B-X E-X S-X", "given", "B-X E-X S-X", "BIOES", []),
        ("B-X E-X S-X", "BIO", "B-X I-X B-X", "BIO", ["the spans were in BIOES and are in BIO now"]),
        ("B-X L-X U-X", "given", "B-X E-X S-X", "BIOES", []),
        ("I-X I-X O", "given", "B-X I-X O", "BIO", ["the spans were in IOB1 and are in BIO now"]),
        ("I-X I-X O", "BIOES", "B-X E-X O", "BIOES", ["the spans were in IOB1 and are in BIOES now"]),
        ("B I O", "BIOES", "B E O", "BIOES", ["the spans were in BIO and are in BIOES now"]),
        ("DET NOUN O", "given", "DET NOUN O", None, []),
    ],
)
def test_tags_come_in_the_scheme_that_is_wanted(given, wanted, result, scheme, notes):
    splits, found, told = in_scheme({"train": file_of(given)}, wanted)
    assert (tags_of(splits), found, told) == ({"train": [result]}, scheme, notes)


def test_the_scheme_is_that_of_all_files_together():
    files = {"train": file_of("B-X O", "B-Y I-Y"), "test": file_of("I-X O")}
    splits, scheme, notes = in_scheme(files, "given")
    assert (tags_of(splits)["test"], scheme) == (["B-X O"], "BIO")
    assert notes == [
        "the text: 1 tags broke the rules of BIO and were put right, the first in the sentence of line 1",
    ]


@pytest.mark.parametrize(("wanted", "right"), [("given", "B-X I-X O B-Y"), ("BIOES", "B-X E-X O S-Y")])
def test_repairs_are_counted_and_the_first_is_named(wanted, right):
    files = {"train": file_of("B-X I-X O B-Y", "O B-Y", "B-X I-X O I-Y", "I-X I-Y")}
    splits, _, notes = in_scheme(files, wanted)
    assert tags_of(splits)["train"][2] == right
    assert (
        notes[-1] == "the text: 3 tags broke the rules of BIO and were put right, the first in the sentence of line 9"
    )


def test_bioes_is_put_right_as_well():
    splits, _, notes = in_scheme({"train": file_of("B-X I-X O", "S-X", "B-X L-X")}, "given")
    assert tags_of(splits)["train"] == ["B-X E-X O", "S-X", "B-X E-X"]
    assert notes == [
        "the text: 1 tags broke the rules of BIOES and were put right, the first in the sentence of line 1"
    ]


def test_one_tag_of_no_scheme_among_others_is_named():
    files = {"train": file_of("B-X I-X O"), "test": file_of("O", "O B_X")}
    splits, scheme, notes = in_scheme(files, "given")
    assert (tags_of(splits)["test"], scheme) == (["O", "O B_X"], None)
    told = "The tags are plain labels, since 'B_X' is of no scheme (the text, the sentence of line 3)."
    assert notes == [told]
    with pytest.raises(
        OptionError, match=r"scheme must be left as given where tags are plain labels, got BIO. The tags"
    ):
        in_scheme(files, "BIO")


def test_another_scheme_is_refused():
    checked_scheme("BIOES")
    with pytest.raises(OptionError, match="scheme must be given, BIO or BIOES, got 'IOB'"):
        checked_scheme("IOB")
