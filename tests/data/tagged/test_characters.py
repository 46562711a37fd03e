from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elman.data.tagged.characters import cut_text, pieces_between


@given(st.text(alphabet=st.sampled_from("ab\n"), max_size=20), st.integers(1, 90))
def test_the_pieces_of_a_text_are_the_text(line, times):
    text = line * times
    pieces = cut_text(text)
    assert "".join("".join(piece.tokens) for piece in pieces) == text
    assert all(0 < len(piece) <= 256 and not piece.tags for piece in pieces)
    if "\n" in line:
        assert all(piece.tokens[-1] == "\n" for piece in pieces[:-1])


@given(
    st.integers(0, 2000),
    st.lists(st.integers(0, 2100), max_size=30),
    st.lists(st.integers(0, 2100), max_size=30),
)
def test_pieces_end_at_the_best_place_there_is(length, ends, others):
    pieces = pieces_between(length, ends, others)
    assert [begin for begin, _ in pieces] == [0, *(end for _, end in pieces[:-1])][: len(pieces)]
    assert (pieces[-1][1] if pieces else 0) == length
    for begin, end in pieces[:-1]:
        best = [place for place in ends if begin < place <= begin + 256]
        second = [place for place in others if begin < place <= begin + 256]
        assert end == (max(best) if best else max(second) if second else begin + 256)
    assert all(0 < end - begin <= 256 for begin, end in pieces)
