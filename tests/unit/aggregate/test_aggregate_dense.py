from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from expandr_ir.aggregate import DENSE, DenseOptions, dense_aggregation, dense_vectors
from expandr_ir.aggregate.dense import concat
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.records import ExpandedTopic, Expansion, Topic

VECTORIAL = frozenset(DENSE) - {"concat"}
TOPIC = np.array([1, 0, 2], dtype=np.float32)
TWO = np.array([[3, 4, 0], [5, 0, 6]], dtype=np.float32)

numbers = st.floats(-8, 8, width=32)
samples = st.integers(1, 5).flatmap(lambda n: arrays(np.float32, (n, 3), elements=numbers))


class Letters:
    """An encoder whose vectors say how often a text has a, b and c; what it was asked is kept."""

    dim = 3
    config = SimpleNamespace(model="letters")

    def __init__(self, sep_token: str | None = "[SEP]"):
        self.model = SimpleNamespace(tokenizer=SimpleNamespace(sep_token=sep_token))
        self.queries: list[list[str]] = []
        self.expansions: list[list[str]] = []

    def encode_queries(self, texts):
        self.queries.append(list(texts))
        return self._vectors(texts)

    def encode_expansions(self, texts):
        self.expansions.append(list(texts))
        return 10 * self._vectors(texts)

    def _vectors(self, texts):
        counts = [[text.count(letter) for letter in "abc"] for text in texts]
        return np.array(counts, dtype=np.float32).reshape(len(texts), 3)


def expanded(**topics: tuple[str, ...]) -> dict[str, ExpandedTopic]:
    """Keyword: the topic's id; then its text and its expansions."""
    return {
        key: ExpandedTopic(Topic(key, topic), tuple(Expansion(i, text) for i, text in enumerate(texts)))
        for key, (topic, *texts) in topics.items()
    }


def rows(name: str, topics, encoder=None, **options) -> list[list[float]]:
    keys, vectors = dense_vectors(name, topics, encoder or Letters(), DenseOptions(**options))
    assert keys == list(topics)
    assert vectors.dtype == np.float32
    return vectors.tolist()


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("none", {}, [1, 0, 2]),
        ("mean", {}, [2.5, 1, 2.5]),  # the expansions' mean is 4 2 3
        ("hyde", {}, [3, 4 / 3, 8 / 3]),
        ("weighted", {}, [0.8 + 0.8, 0.4, 1.6 + 0.6]),
        ("weighted", {"expansion_weight": 0.5}, [2.5, 1, 2.5]),
        ("weighted", {"expansion_weight": 0}, [1, 0, 2]),
        ("pairs", {}, [2.5, 1, 2.5]),  # the pairs are 2 2 1 and 3 0 4
        ("expansion", {}, [4, 2, 3]),
    ],
)
def test_vectors_by_hand(name, options, wanted):
    vector = dense_aggregation(name)(TOPIC, TWO, DenseOptions(**options))
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, wanted, rtol=1e-6)


def test_the_text_that_concat_encodes():
    assert concat("q r", ["d e", "f"], " [SEP] ") == "q r [SEP] d e [SEP] f"


@pytest.mark.parametrize("name", sorted(VECTORIAL - {"hyde"}))
@given(topic=arrays(np.float32, 3, elements=numbers), text=arrays(np.float32, 3, elements=numbers), n=st.integers(1, 6))
def test_equal_samples_are_as_one(name, topic, text, n):
    combine = dense_aggregation(name)
    np.testing.assert_allclose(
        combine(topic, np.tile(text, (n, 1)), DenseOptions()), combine(topic, text[None], DenseOptions()), atol=1e-5
    )


@pytest.mark.parametrize("name", sorted(VECTORIAL))
@given(topic=arrays(np.float32, 3, elements=numbers), texts=samples, seed=st.randoms())
def test_the_order_of_samples_does_not_matter(name, topic, texts, seed):
    order = list(range(len(texts)))
    seed.shuffle(order)
    combine = dense_aggregation(name)
    np.testing.assert_allclose(
        combine(topic, texts, DenseOptions()), combine(topic, texts[order], DenseOptions()), atol=1e-5
    )


@given(topic=arrays(np.float32, 3, elements=numbers), texts=samples)
def test_pairs_is_mean_and_weighted_by_half(topic, texts):
    mean, pairs = (dense_aggregation(name)(topic, texts, DenseOptions()) for name in ("mean", "pairs"))
    half = dense_aggregation("weighted")(topic, texts, DenseOptions(expansion_weight=0.5))
    np.testing.assert_allclose(pairs, mean, atol=1e-5)
    np.testing.assert_allclose(half, mean, atol=1e-5)


def test_topics_are_queries_and_expansions_are_encoded_as_expansions():
    topics = expanded(one=("ab", "cc", "a"), two=("b", "c"))
    assert rows("mean", topics) == [[(1 + 5) / 2, 0.5, 5], [0, 0.5, 5]]
    assert rows("expansion", topics) == [[5, 0, 10], [0, 0, 10]]
    assert rows("none", topics) == [[1, 1, 0], [0, 1, 0]]


def test_each_distinct_text_is_encoded_once_all_in_one_go():
    encoder = Letters()
    rows("hyde", expanded(one=("ab", "cc", "a"), two=("ab", "cc"), three=("c", "a", "cc", "cc")), encoder)
    assert encoder.queries == [["ab", "c"]]
    assert encoder.expansions == [["cc", "a"]]
    encoder = Letters()
    assert rows("none", expanded(one=("ab",), two=("c", "a")), encoder) == [[1, 1, 0], [0, 0, 1]]
    assert encoder.expansions == []


def test_normalized_parts():
    topics = expanded(one=("aaabbbb", "c", "b"))  # f(q) has length 5, the expansions 10
    assert rows("mean", topics, normalize_parts=True) == [pytest.approx([0.3, 0.4 + 0.25, 0.25])]
    assert rows("none", topics, normalize_parts=True) == [pytest.approx([0.6, 0.8, 0])]
    with pytest.raises(ExpandrError, match="length 0"):
        rows("mean", expanded(one=("a", "x")), normalize_parts=True)


def test_an_empty_expansion_counts_as_the_topic_itself():
    topics = expanded(one=("ab", "cc", " "))
    assert rows("mean", topics) == [[(1 + 0.5) / 2, (1 + 0.5) / 2, 5]]
    assert rows("expansion", topics) == [[0.5, 0.5, 10]]


@pytest.mark.parametrize("name", sorted(DENSE))
def test_a_topic_whose_expansions_are_all_empty_is_searched_alone(name):
    alone = rows("none", expanded(one=("abb",)))
    assert rows(name, expanded(one=("abb", "", "\n"))) == alone
    assert rows(name, expanded(one=("abb", "", ""), two=("a", "c")))[0] == alone[0]


@pytest.mark.parametrize("name", sorted(DENSE.keys() - {"none"}))
def test_a_missing_expansion_is_an_error(name):
    with pytest.raises(InputError, match=r"1 of 2 topics: two\n.*\nTry: --skip-missing"):
        rows(name, expanded(one=("a", "b"), two=("b",)))
    with pytest.raises(InputError, match="Try: --expansions FILE"):
        rows(name, expanded(one=("a",), two=("b",)))


def test_concat_encodes_one_text_as_a_query():
    encoder = Letters()
    assert rows("concat", expanded(one=("ab", "c", "", "cc"), two=("c", "")), encoder) == [[1, 1, 3], [0, 0, 1]]
    assert encoder.queries == [["ab [SEP] c [SEP] cc", "c"]]
    assert encoder.expansions == []


def test_the_separator_is_the_tokenizers_or_the_one_that_is_given():
    encoder = Letters("</s>")
    rows("concat", expanded(one=("a", "b")), encoder)
    rows("concat", expanded(one=("a", "b")), encoder, separator="; ")
    assert encoder.queries == [["a </s> b"], ["a; b"]]
    with pytest.raises(InputError, match="no separator token"):
        rows("concat", expanded(one=("a", "b")), Letters(None))
    assert rows("concat", expanded(one=("a", "b")), Letters(None), separator=" ") == [[1, 1, 0]]


def test_names_and_options_are_checked():
    for name in DENSE:
        assert dense_vectors(name, {}, Letters(), DenseOptions())[1].shape == (0, 3)
    with pytest.raises(InputError, match="Try: hyde"):
        dense_vectors("hide", {}, Letters(), DenseOptions())
    with pytest.raises(InputError, match=r"expansion_weight is 1\.5"):
        DenseOptions(expansion_weight=1.5)
