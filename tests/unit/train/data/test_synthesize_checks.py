"""What a synthetic query must be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.records import Document
from expandr_ir.train.data.checks import Query, fault, is_copied, near_duplicates, sift
from expandr_ir.train.data.documents import folded, words
from expandr_ir.train.data.extractive import pieces, sentences
from expandr_ir.train.data.synthesize import SynthesizeOptions

DOCUMENT = Document("d", "Oats and wheat", "Both crops were sown in May, and harvested late.")  # 3 + 9 words


def query(text, document=DOCUMENT):
    return Query(document, text)


def limits(**more):
    return SynthesizeOptions(corpus="c", output="o", without_llm=True, **more)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("oats wheat", None),
        ("", "empty"),
        ("?! --", "empty"),
        ("oats", "too_short"),
        ("Oats and wheat both crops were sown", "copied"),  # 7 of 12 words
        ("Oats and wheat: both crops, were", None),  # 6 of 12
        ("tell me: BOTH CROPS were sown in May and please", "copied"),  # 7 in a stretch, though not at its start
        ("Oats and wheat\nBoth crops were sown in May, and harvested late.", "copied"),
        ("one two three four five six seven eight nine ten eleven", "too_long"),
    ],
)
def test_a_query_by_itself(text, reason):
    assert fault(query(text), limits(max_query_words=10)) == reason


def test_copied_counts_whole_words():
    assert is_copied(["wheat", "fields"], ["wheat", "fields", "burn"], 0.5)
    assert not is_copied(["wheat", "field"], ["wheat", "fields", "burn"], 0.5)
    assert not is_copied(["a", "b", "c"], ["a", "b", "c"], 1.0)  # no query is more than all of it


def test_near_duplicates_by_hand():
    texts = [
        "alpha beta gamma delta",
        "delta gamma beta alpha",  # the same words: 1.0
        "alpha beta gamma epsilon",  # 3 of 5: .6
        "Alpha, beta; gamma delta zeta",  # 4 of 5: .8
        "eta theta",
    ]
    assert near_duplicates(texts, 1.0) == {1}
    assert near_duplicates(texts, 0.8) == {1, 3}
    assert near_duplicates(texts, 0.6) == {1, 2, 3}
    assert near_duplicates(texts, 0.61) == {1, 3}


SENTENCES = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6).map(" ".join), max_size=25)


@settings(deadline=None)
@given(SENTENCES, st.sampled_from([0.3, 0.5, 0.6, 0.7, 0.8, 1.0]))
def test_near_duplicates_are_those_of_the_straightforward_way(texts, share):
    earlier, dropped = [], set()
    for place, text in enumerate(texts):
        words = set(text.split())
        if any(len(words & other) >= share * len(words | other) - 1e-12 for other in earlier):
            dropped.add(place)
        else:
            earlier.append(words)
    assert near_duplicates(texts, share) == dropped


def test_sift_counts_the_first_reason():
    texts = ["oats wheat", "Oats  WHEAT", "wheat oats", "", "barley rye", "x"]
    fit, dropped = sift([query(text) for text in texts], limits())
    assert [query.text for query in fit] == ["oats wheat", "barley rye"]
    assert [(query.text, reason) for query, reason in dropped] == [
        ("Oats  WHEAT", "duplicate"),
        ("", "empty"),
        ("x", "too_short"),
        ("wheat oats", "near_duplicate"),
    ]
    assert fit[0].topic_id == query("OATS wheat").topic_id != fit[1].topic_id


@pytest.mark.parametrize("more", [{"min_query_words": 0}, {"max_query_words": 1}, {"near_duplicate": 0.0}])
def test_limits_that_make_no_sense(more):
    with pytest.raises(InputError):
        limits(**more)


def test_words_of_several_scripts():
    assert words("state-of-the-art, don't 3.5 (x)") == ["state-of-the-art", "don't", "3.5", "x"]
    assert words("Größe наука") == ["Größe", "наука"]
    assert words("機械学習 in 2020年") == ["機", "械", "学", "習", "in", "2020", "年"]
    assert folded("STRASSE straße") == ["strasse", "strasse"]
    assert pieces("red fox, blue (sky) x") == [["red", "fox"], ["blue"], ["sky"], ["x"]]
    assert pieces("3.5 a_b 機械x\u00a0y; -") == [["3.5", "a"], ["b", "機", "械", "x", "y"]]
    assert sentences("One is 3.5.\nTwo! 三。四") == ["One is 3.5.", "Two!", "三。", "四"]
