from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elman.data.tagged import columns as module
from elman.data.tagged.columns import Columns, read_columns
from elman.data.tagged.sentences import Sentence
from elman.errors import DataError, OptionError

CHUNKS = """He PRP B-NP
reckons VBZ B-VP

# # O
1.8 CD B-NP
"""
HE = Sentence(("He", "reckons"), ("B-NP", "B-VP"))
NUMBER = Sentence(("#", "1.8"), ("O", "B-NP"))


def conllu(*rows: str) -> str:
    return "".join(row.replace(" ", "\t") + "\n" for row in rows)


TREE = conllu(
    "#:sent_id=1",
    "1-2 Vámonos _ _ _ _ _ _ _ _",
    "1 Vamos ir VERB v _ 0 root _ _",
    "2 nos yo PRON p _ 1 obj _ _",
    "2.1 nada _ _ _ _ _ _ _ _",
    "",
    "#:text=fin",
    "1 fin fin NOUN n _ 0 root _ _",
)


def read(text, columns=None, *, tagged=True):
    return read_columns(io.StringIO(text), columns or Columns(), tagged=tagged)


@pytest.mark.parametrize(
    "text",
    [
        CHUNKS,
        CHUNKS.replace(" ", "\t"),
        CHUNKS.replace(" ", "  \t"),
        CHUNKS.replace("\n", "\r\n"),
        CHUNKS.replace("\n", " \n"),
        "\n\n" + CHUNKS.replace("\n\n", "\n \n\n\n") + "\n\n",
        "-DOCSTART- -X- O\n\n" + CHUNKS.replace("\n\n", "\n\n-DOCSTART- -X- O\n\n"),
        CHUNKS.replace("\n\n", "\n-DOCSTART-\n"),
        CHUNKS.removesuffix("\n"),
        "\ufeff" + CHUNKS,
    ],
)
def test_words_are_first_and_tags_last(text):
    assert read(text).sentences == [HE, NUMBER]


def test_lines_are_where_sentences_begin():
    assert read("\n\n" + CHUNKS).lines == [3, 6]
    assert read(TREE).lines == [3, 8]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (Columns(0, 1), Sentence(("He", "reckons"), ("PRP", "VBZ"))),
        (Columns(features=(1,)), Sentence(HE.tokens, HE.tags, (("PRP", "VBZ"),))),
        (Columns(-3, -1, (-2,)), Sentence(HE.tokens, HE.tags, (("PRP", "VBZ"),))),
        (Columns(2, 0, (1,)), Sentence(HE.tags, HE.tokens, (("PRP", "VBZ"),))),
    ],
)
def test_columns_are_chosen_by_number(columns, sentence):
    found = read(CHUNKS, columns)
    assert found.sentences[0] == sentence
    assert all(isinstance(part, int) and part >= 0 for part in (found.columns.words, found.columns.tags))
    assert read(CHUNKS, found.columns).sentences == found.sentences


def test_conllu_leaves_ranges_empty_nodes_and_comments_out():
    found = read(TREE)
    assert found.sentences == [Sentence(("Vamos", "nos"), ("VERB", "PRON")), Sentence(("fin",), ("NOUN",))]
    assert found.columns == Columns(1, 3, ())


def test_conllu_has_names_for_its_columns():
    found = read(TREE, Columns("LEMMA", "xpos", ("UPOS", 7)))
    assert found.sentences[0] == Sentence(("ir", "yo"), ("v", "p"), (("VERB", "PRON"), ("root", "obj")))


def test_a_word_of_conllu_may_have_spaces():
    text = "\t".join(["1", "1 000", "_", "NUM", *"______"]) + "\n"
    assert read(text).sentences == [Sentence(("1 000",), ("NUM",))]


def test_a_word_may_have_spaces_that_are_none_in_ascii():
    assert read("1\u00a0000 CD\n\u3000 SP\n").sentences == [Sentence(("1\u00a0000", "\u3000"), ("CD", "SP"))]


@pytest.mark.parametrize("name", ["a.conllu", "a.conllu.gz"])
def test_the_name_of_a_file_tells_conllu_too(tmp_path, name):
    body = conllu("one two three").encode()
    (tmp_path / name).write_bytes(gzip.compress(body) if name.endswith("gz") else body)
    with pytest.raises(DataError, match=r"line 1: columns must be ten, set apart by tabs, as CoNLL-U has, got 3\."):
        read_columns(tmp_path / name, Columns(), tagged=True)


def test_every_word_is_kept_once():
    first, second = read("the x\n" * 2 + "\nthe x\n").sentences
    assert first.tokens[0] is first.tokens[1] is second.tokens[0]


class TestWithoutTags:
    @pytest.mark.parametrize(
        ("text", "columns"),
        [
            ("He\nreckons\n", Columns()),
            ("He\nreckons\n", Columns(1, 3)),
            ("He PRP\nreckons VBZ\n", Columns(0, 2)),
            (TREE, Columns(1, 12)),
            (TREE.replace("VERB", "_").replace("PRON", "_").replace("NOUN", "_"), Columns()),
        ],
    )
    def test_where_the_column_is_missing_there_are_none(self, text, columns):
        found = read(text, columns, tagged=False)
        assert found.sentences[0].tokens in {("He", "reckons"), ("Vamos", "nos")}
        assert {sentence.tags for sentence in found.sentences} == {()}
        assert found.columns.tags is None

    def test_a_feature_is_not_taken_for_the_tag(self):
        found = read("He PRP\nreckons VBZ\n", Columns(features=(1,)), tagged=False)
        assert found.sentences == [Sentence(("He", "reckons"), (), (("PRP", "VBZ"),))]

    def test_where_the_column_is_there_they_are_read(self):
        assert read(CHUNKS, tagged=False).sentences == [HE, NUMBER]
        assert read(TREE, tagged=False).sentences[1].tags == ("NOUN",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text must be one or more sentences, a token a line, got none"),
        ("\n \n-DOCSTART- -X- O\n", "got none"),
        (conllu("1.1 a _ X _ _ _ _ _ _"), "got none"),
        ("He\nreckons\n", r"columns must be two or more, got one. A line has a token and its tag"),
        ("a X\n\nb c X\n", r"the text, line 3: columns must be 2, as in line 1, got 3\.$"),
        ("a X\n\nb\n", r"line 3: columns must be 2, as in line 1, got 1\.$"),
        ("# id 7\na X\n", r"line 1: columns must be 2, as in line 2, got 3. Comments are for CoNLL-U."),
        ("a\tX\n\tX\n", "line 2: columns must be set apart by a tab each, got an empty one"),
        ("a\tX\nb \n", "line 2: columns must be 2, as in line 1, got 1"),
        (TREE.replace("2\tnos", "II\tnos"), r"line 4: ID must be a number such as 3, 3-4 or 3.1, got 'II'"),
        (TREE.replace("\tn\t_\t0", "\tn\t0"), "line 8: columns must be ten, set apart by tabs, as CoNLL-U has, got 9"),
        (conllu("1 a _ _ _ _ _ _ _ _"), "the text: UPOS must be annotated, got _ alone"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(text, message):
    with pytest.raises(DataError, match=message):
        read(text)


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        (CHUNKS, Columns(3), "word column must be from 0 to 2, or from -3 to -1, as the text has 3, got 3"),
        (CHUNKS, Columns(tags=-4), "tag column must be from 0 to 2, .*got -4"),
        (CHUNKS, Columns(features=(1, 5)), "feature column must be from 0 to 2, .*got 5"),
        (CHUNKS, Columns("FORM"), "word column must be a number for the text, which is no CoNLL-U, got 'FORM'"),
        (TREE, Columns(tags="UPSO"), "tag column must be a column of CoNLL-U, got 'UPSO'. Did you mean 'UPOS'?"),
        (CHUNKS, Columns(0, 0), "must be different from each other, got words in 0, tags in 0, features in none"),
        (CHUNKS, Columns(features=(2,)), "got words in 0, tags in 2, features in 2"),
        (CHUNKS, Columns(features=(1, -2)), "features in 1, 1"),
        (TREE, Columns(features=("UPOS",)), "words in 1, tags in 3, features in 3"),
        (TREE, Columns(0, 3), "word column must be a column of words, such as FORM, got ID, as the text is CoNLL-U"),
    ],
)
def test_columns_that_are_not_there_are_refused(text, columns, message):
    with pytest.raises(OptionError, match=message):
        read(text, columns)


@given(st.binary(max_size=60) | st.text(alphabet="#1-.\t \n\rOaB_", max_size=60).map(str.encode), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_is_sentences_or_an_error_of_ours(tmp_path, body, tagged):
    file = tmp_path / "any.txt"
    file.write_bytes(body)
    try:
        found = read_columns(file, Columns(), tagged=tagged)
    except (DataError, OptionError) as error:
        assert str(file) in str(error)  # noqa: PT017
        return
    assert found.sentences
    for sentence, line in zip(found.sentences, found.lines, strict=True):
        assert len(sentence) > 0
        assert len(sentence.tags) in ((len(sentence),) if tagged else (0, len(sentence)))
        assert all(sentence.tokens)
        assert sentence.tokens[0].encode() in body.split(b"\n")[line - 1]


def test_a_sentence_has_a_longest_length(monkeypatch):
    monkeypatch.setattr(module, "_LONGEST", 3)
    assert len(read("a X\n" * 3).sentences[0]) == 3
    with pytest.raises(DataError, match=r"line 3: the sentence must be at most 3 tokens, got more. An empty line ends"):
        read("a X\n\n" + "a X\n" * 4)
