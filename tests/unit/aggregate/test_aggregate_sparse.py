from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.aggregate import SPARSE, TEXTUAL, SparseOptions, sparse_query
from expandr_ir.errors import InputError
from expandr_ir.records import ExpandedTopic, Expansion, Topic


def expanded(topic: str, *texts: str, query_repeats: int | None = None) -> ExpandedTopic:
    expansions = tuple(Expansion(sample, text) for sample, text in enumerate(texts))
    return ExpandedTopic(Topic("1", topic), expansions, query_repeats)


def query(name: str, of: ExpandedTopic, **options):
    return sparse_query(name, of, SparseOptions(**options), str.split)


def bag(text: str) -> Counter[str]:
    """Words as a BM25 query without a stemmer sees them."""
    return Counter(re.findall(r"\w+", text.lower()))


LONG = "a topic that is longer than all that was written"


@pytest.mark.parametrize(
    ("name", "options", "topic", "wanted"),
    [
        ("none", {}, ("q r", "a b", "c d"), "q r"),
        ("append", {}, ("q r", "a b", "c d"), "q r a b c d"),
        ("expansion", {}, ("q r", "a b", "c d"), "a b c d"),
        ("repeat", {}, ("q r", "a b", "c d"), "q r q r q r q r q r a b c d"),
        ("repeat", {"repeats": 1}, ("q r", "a b", "c d"), "q r a b c d"),
        ("repeat", {"repeats": "row"}, ("q r", "a b", "c d"), "q r q r q r a b c d"),
        ("interleave", {}, ("q r", "a b", "c d"), "q r a b q r c d"),
        ("interleave", {}, ("q", "a", "", "  ", "b"), "q a q b"),
        # 3 + 1 + 4 = 8 characters of expansions, 2 of the topic: 8 // 2 = 4
        ("adaptive", {"beta": 1}, ("ab", "cde", "fghi"), "ab ab ab ab cde fghi"),
        ("adaptive", {"beta": 2}, ("ab", "cde", "fghi"), "ab ab cde fghi"),
        ("adaptive", {"beta": 3}, ("ab", "cde", "fghi"), "ab cde fghi"),
        ("adaptive", {}, (LONG, "short"), f"{LONG} short"),
    ],
)
def test_texts_by_hand(name, options, topic, wanted):
    assert query(name, expanded(*topic, query_repeats=3), **options) == wanted


@pytest.mark.parametrize(
    ("topic", "weight", "weights"),
    [
        # topic: a 2/3, b 1/3. Expansions: a 1/2, c 1/2 and b 1. lambda .4, each expansion .3
        (("a b a", "a c", "b"), 0.4, {"a": 0.4 * 2 / 3 + 0.3 / 2, "b": 0.4 / 3 + 0.3, "c": 0.3 / 2}),
        (("q", "", "a"), 0.5, {"q": 0.5, "a": 0.5}),
        (("a", "b"), 1.0, {"a": 1.0}),
        (("a", "b"), 0.0, {"b": 1.0}),
    ],
)
def test_weights_by_hand(topic, weight, weights):
    assert query("weighted", expanded(*topic), weight=weight) == pytest.approx(weights)


def test_weighted_uses_the_analyzer():
    def stems(text: str) -> list[str]:
        return [word.rstrip("s") for word in text.split() if word != "the"]

    of = expanded("the cats", "cat dogs")
    weights = sparse_query("weighted", of, SparseOptions(weight=0.5), stems)
    assert weights == pytest.approx({"cat": 0.75, "dog": 0.25})
    nothing_left = sparse_query("weighted", expanded("the", "the", "dogs"), SparseOptions(), stems)
    assert nothing_left == {"dog": 1.0}
    assert sparse_query("weighted", expanded("cats", "the"), SparseOptions(), stems) == {"cat": 1.0}
    assert sparse_query("weighted", expanded("the", "the"), SparseOptions(), stems) == {}


@pytest.mark.parametrize("name", SPARSE)
@given(text=st.text(max_size=20), empty=st.lists(st.sampled_from(["", " ", "\n"]), max_size=3))
def test_a_topic_without_words_from_an_llm_is_searched_alone(name, text, empty):
    assert query(name, expanded(text, *empty)) == text
    assert query(name, expanded(text, *empty), repeats="row") == text


words = st.text(alphabet="abcxyz ", min_size=1, max_size=30).map(lambda text: " ".join(text.split())).filter(bool)


@given(topic=words, texts=st.lists(words, min_size=1, max_size=5), beta=st.integers(1, 9), repeats=st.integers(1, 9))
def test_bags_of_words(topic, texts, beta, repeats):
    """Textual queries are the topic some times and every expansion once; `none` and `expansion` are one of the two."""
    of = expanded(topic, *texts)
    all_texts = bag(" ".join(texts))
    times = {"none": 1, "append": 1, "repeat": repeats, "interleave": len(texts)}
    assert bag(query("expansion", of)) == all_texts
    for name in TEXTUAL - {"expansion"}:
        searched = query(name, of, beta=beta, repeats=repeats)
        assert topic in searched
        rest = bag(searched) - all_texts if name != "none" else bag(searched)
        assert bag(searched) == rest + (all_texts if name != "none" else Counter())
        multiples = {count / bag(topic)[word] for word, count in rest.items()}
        assert len(multiples) == 1
        assert multiples.pop() == times.get(name, rest[next(iter(rest))] // bag(topic)[next(iter(rest))]) >= 1


@given(topic=words, texts=st.lists(words, min_size=1, max_size=5), weight=st.floats(0, 1))
def test_weights_are_a_distribution(topic, texts, weight):
    weights = query("weighted", expanded(topic, *texts), weight=weight)
    assert sum(weights.values()) == pytest.approx(1)
    assert all(value > 0 for value in weights.values())
    doubled = query("weighted", expanded(f"{topic} {topic}", *(f"{text} {text}" for text in texts)), weight=weight)
    assert doubled == pytest.approx(weights)


@pytest.mark.parametrize(
    "options", [{"repeats": 0}, {"beta": 0}, {"weight": -0.1}, {"weight": 1.1}, {"weight": float("nan")}]
)
def test_options_that_would_lose_the_topic_or_mean_nothing(options):
    with pytest.raises(InputError, match=next(iter(options))):
        SparseOptions(**options)


@pytest.mark.parametrize("query_repeats", [None, 0])
def test_a_row_without_repeats(query_repeats):
    with pytest.raises(InputError, match=r"topic '1' has query_repeats") as error:
        query("repeat", expanded("q", "a", query_repeats=query_repeats), repeats="row")
    assert error.value.remedy == "--repeats 5"


def test_faults_name_what_is_missing():
    with pytest.raises(InputError, match="'repeet'") as error:
        query("repeet", expanded("q", "a"))
    assert error.value.remedy == "repeat"
    with pytest.raises(InputError, match="without an analyzer"):
        sparse_query("weighted", expanded("q", "a"), SparseOptions())
