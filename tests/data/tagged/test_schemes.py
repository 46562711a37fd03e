from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.tagged.schemes import complete, convert, detect, is_tag, respell, spans
from elman.errors import OptionError

KINDS = ["NP", "VP", "P-X"]


@st.composite
def sentences(draw, kinds=tuple(KINDS)):
    """Spans side by side and apart, and the length of the sentence."""
    found, place = [], 0
    for gap, length, kind in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(kinds)), max_size=5)
    ):
        found.append((kind, place + gap, place + gap + length))
        place += gap + length
    return found, place + draw(st.integers(0, 2))


def written(found, length, scheme):
    """The rules of each scheme once more, a token at a time."""
    tags = ["O"] * length
    for place, (kind, first, end) in enumerate(found):
        after_its_kind = place > 0 and found[place - 1][0] == kind and found[place - 1][2] == first
        for token in range(first, end):
            begins, ends = token == first, token == end - 1
            tags[token] = {
                "BIO": "B" if begins else "I",
                "IOB1": "B" if begins and after_its_kind else "I",
                "BIOES": "S" if begins and ends else "B" if begins else "E" if ends else "I",
                "BILOU": "U" if begins and ends else "B" if begins else "L" if ends else "I",
                "BMES": "S" if begins and ends else "B" if begins else "E" if ends else "M",
            }[scheme]
            tags[token] += f"-{kind}" if kind else ""
    return tuple(tags)


def conlleval(tags):
    """The rules of conlleval.pl for where a chunk begins and ends, as tables; E and S as its successors have them."""
    begins = {
        ("B", "B"),
        ("I", "B"),
        ("O", "B"),
        ("O", "I"),
        ("E", "E"),
        ("E", "I"),
        ("O", "E"),
        ("S", "E"),
        ("S", "I"),
    }
    ends = {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O"), ("E", "E"), ("E", "I"), ("E", "O")}
    begins |= {(before, "S") for before in "BIOES"} | {("E", "B"), ("S", "B")}
    ends |= {(before, "S") for before in "BIE"} | {("E", "B")} | {("S", after) for after in "BIOES"}
    found, first, before = [], 0, "O"
    for place, tag in enumerate([*tags, "O"]):
        pair = (before[0], tag[0])
        other_kind = before[2:] != tag[2:]
        if before != "O" and (pair in ends or other_kind):
            found.append((before[2:], first, place))
        if pair in begins or (tag != "O" and other_kind):
            first = place
        before = tag
    return found


ANY = st.lists(st.sampled_from(["O", *(f"{letter}-{kind}" for letter in "BIES" for kind in KINDS)]), max_size=9)


@given(sentences(), st.sampled_from(["BIO", "IOB1", "BIOES", "BILOU", "BMES"]))
def test_spans_come_back_from_every_scheme(sentence, scheme):
    found, length = sentence
    assert spans(written(found, length, scheme)) == found


@given(sentences(), st.sampled_from(["BIO", "IOB1", "BIOES", "BILOU", "BMES"]), st.sampled_from(["BIO", "BIOES"]))
def test_every_scheme_converts_to_every_other(sentence, scheme, to):
    assert convert(written(*sentence, scheme), to) == written(*sentence, to)


@given(sentences(kinds=("",)), st.sampled_from(["BIO", "BIOES"]))
def test_a_single_kind_needs_no_name(sentence, to):
    assert convert(written(*sentence, "BIO"), to) == written(*sentence, to)


@given(ANY)
def test_any_tags_are_read_as_conlleval_reads_them(tags):
    assert spans(tags) == conlleval(tags)


@given(ANY, st.sampled_from(["BIO", "BIOES"]))
def test_putting_tags_right_changes_no_span(tags, scheme):
    right = convert(tags, scheme)
    assert spans(right) == spans(tags)
    assert convert(right, scheme) == right


@given(ANY)
def test_spelling_is_all_that_is_respelled(tags):
    spelled = [tag.replace("E-", "L-", 1).replace("S-", "U-", 1) for tag in tags]
    assert respell(spelled) == tuple(tags)


@given(st.lists(sentences(), min_size=1), st.sampled_from(["BIO", "IOB1", "BIOES", "BILOU", "BMES"]))
def test_the_scheme_is_found_out(data, scheme):
    tags = [written(*sentence, scheme) for sentence in data]
    found = detect(iter(tags))
    if found is None:
        assert {tag for sentence in tags for tag in sentence} <= {"O"}
    elif found != {"BILOU": "BIOES", "BMES": "BIOES"}.get(scheme, scheme):
        assert found in {"BIO", "IOB1", "BIOES"}  # too few tags: they are valid in the one that was found as well
        assert tags == [written(*sentence, found) for sentence in data]


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O", "O"], None),
        (["DET", "NOUN"], None),
        (["B-NP", "B_NP"], None),
        (["B-NP", ""], None),
        (["B", "I", "O"], "BIO"),
        (["B", "E", "S"], "BIOES"),
        (["B", "M", "E", "S"], "BIOES"),
        (["S", "U", "L"], None),
        (["B", "C"], None),
        (["B", "I-NP"], None),
        (["I-NP", "O", "B-NP", "I-NP", "O", "B-NP"], "BIO"),
        (["I-NP", "O", "I-NP", "I-NP", "O", "B-NP"], "IOB1"),
    ],
)
def test_what_is_no_scheme_is_labels(tags, scheme):
    assert detect([tags]) == scheme


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("BIO", ("O", "B-NP", "I-NP", "B-VP", "I-VP")),
        ("BIOES", ("O", "B-NP", "I-NP", "E-NP", "S-NP", "B-VP", "I-VP", "E-VP", "S-VP")),
        (None, ("B-VP", "I-NP", "O")),
    ],
)
def test_a_model_chooses_from_every_letter_of_every_kind(scheme, tags):
    assert complete(iter(["I-NP", "O", "B-VP", "I-NP"]), scheme) == tags


def test_a_single_kind_has_letters_alone():
    assert complete(["B"], "BIOES") == ("O", "B", "I", "E", "S")


@pytest.mark.parametrize("tag", ["", "B-", "NP", "-NP", "BNP", "X-NP", "b-NP"])
def test_a_tag_of_no_scheme_is_refused(tag):
    assert not is_tag(tag)
    with pytest.raises(OptionError, match="tag must be O, or B-, I-, E- or S- and a kind, got"):
        spans(["O", tag])
    with pytest.raises(OptionError, match="tag must be"):
        convert([tag], "BIO")
