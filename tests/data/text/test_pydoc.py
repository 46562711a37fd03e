from __future__ import annotations

import re
import sys

import pytest

from elman.data.text.pydoc import english, pydoc_splits
from elman.errors import DataError


@pytest.fixture(scope="module")
def splits():
    return pydoc_splits()[0]


def sentences(text):
    return english({"topic": text})["topic"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is quite true. It is not false? Yes!", ["It is quite true .", "It is not false ?"]),
        ("This is\nbroken over\nlines.", ["This is broken over lines ."]),
        ("The post-\nmortem of all this.", ["The post-mortem of all this ."]),
        ("The *name* of a **PEP 8** thing.", ["The name of a PEP 8 thing ."]),
        ("It doesn't use the object’s name.", ["It does n't use the object 's name ."]),
        ('The "x.__init__()" method is called.', ["The “ x.__init__() ” method is called ."]),
        ('The "**" operator is used here.', ["The “ ** ” operator is used here ."]),
        ('The "if" and "not in" words.', ["The “ if ” and “ not in ” words ."]),
        ('The ‘dangling "else"’ of it.', ["The “ dangling “ else ” ” of it ."]),
        ("The ‘dangling else’ of an “inner” block.", ["The “ dangling else ” of an “ inner ” block ."]),
        ("See e.g. The book, i.e. it.", ["See e.g. The book , i.e. it ."]),
        ("Use 3.5 and a list (or a tuple), etc. here…  Then more of it.", [
            "Use 3.5 and a list ( or a tuple ) , etc. here ... Then more of it .",
        ]),
        ("A first one follows. (This is an aside.) And a last one is here.", [
            "A first one follows .", "( This is an aside . )", "And a last one is here .",
        ]),
        ("The value is as it was. [4]", ["The value is as it was ."]),
        ("It ends with a colon:", ["It ends with a colon :"]),
        ("New in version 3.2: The option is there.", ["The option is there ."]),
        ("Deprecated since version 3.8, will be removed in version 3.14: It is no longer needed.",
         ["It is no longer needed ."]),
        ("Note: It is a note here.", ["It is a note here ."]),
        ("Note that it is not cut.", ["Note that it is not cut ."]),
        ("* It is an item of\n  a list.", ["It is an item of a list ."]),
        ("1. It is an item of\n   a list.", ["It is an item of a list ."]),
        ("[1] It is a footnote of\n    the page.", ["It is a footnote of the page ."]),
        ("Integers (\"int\")\n   These are the whole numbers.", ["These are the whole numbers ."]),
        ("   An indented block is prose too.", ["An indented block is prose too ."]),
    ],
)  # fmt: skip
def test_prose_becomes_sentences(text, expected):
    assert sentences(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A heading of words\n******************",
        "Another heading of words.\n=========================",
        "+-----+------+\n| One | It is a cell. |\n+-----+------+",
        "   stmt ::= It is a rule.",
        "   >>> print('It is a string.')\n   It is what it answers.",
        "   (Pdb) It is what it asks.",
        "   x = It is not one of ours.",
        "   print(It, is, code, here.",
        "object.__getattr__(self, name)",
        "lower case at the start is no sentence.",
        "Too short here.",
        "No end of it here",
        'A quotation mark "that is not closed here.',
        "The code \"for x in range(10): print(x, end='')\" is long.",
        "A = B is not it at all.",
        "",
    ],
)
def test_what_is_no_prose_is_left_out(text):
    assert sentences(text) == []


def test_a_sentence_comes_once_in_the_first_topic():
    topics = {"b": "It is the same.\n\nIt is only here.\n\nIt is the same.", "a": "It is the same. It is the first."}
    assert english(topics) == {"a": ["It is the same .", "It is the first ."], "b": ["It is only here ."]}


def test_the_text_is_large_enough_and_mostly_words(splits):
    tokens = splits["train"].split()
    assert len(tokens) > 30_000
    assert sum(token.isalpha() for token in tokens) > 0.75 * len(tokens)
    assert 1000 < len(set(tokens)) < 8000
    for split in ("validation", "test"):
        assert 0.02 < len(splits[split]) / len(splits["train"]) < 0.06
        assert sum(token in set(tokens) for token in splits[split].split()) > 0.9 * len(splits[split].split())


def test_every_line_is_one_sentence(splits):
    for line in "".join(splits.values()).splitlines():
        tokens = line.split()
        assert line == " ".join(tokens)
        assert tokens[-1] in {".", "?", "!", ":", ")"}
        assert tokens[0] in {"“", "("} or tokens[0][0].isupper()
        assert sum(token.isalpha() for token in tokens) >= 4
        assert tokens.count("“") == tokens.count("”")


@pytest.mark.parametrize("trace", [r"\*\*\*\*", "====", r"\+--", "::=", ">>>", r"Traceback \(", "\n\n", "\t", "  "])
def test_no_trace_of_markup_is_left(splits, trace):
    assert not re.search(trace, "".join(splits.values()))


def test_no_sentence_is_in_two_splits(splits):
    lines = [line for text in splits.values() for line in text.splitlines()]
    assert len(lines) == len(set(lines))


def test_is_the_same_each_time_and_says_where_it_is_from(splits):
    again, note = pydoc_splits()
    assert again == splits
    assert note.startswith(f"from the documentation of Python {sys.version.split()[0]};")


def test_a_python_without_its_topics_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="pydoc must be in Python's pydoc_data, got none"):
        pydoc_splits()
