"""Similarities: each text encoded once, the same as query by query, and the same after a run that broke off."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.config import EncoderConfig
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.train.similarities import Compared, SimilarityOptions, encoder_provenance, similarities

DIM = 8
COSINE = SimilarityOptions(shard_texts=3)
DOT = replace(COSINE, similarity="dot")


class HashEncoder:
    """A vector for each text and role, drawn from the text; it can die after so many calls."""

    def __init__(self, die_after=None, **config):
        self.config = EncoderConfig(model="m", query_prefix="", document_prefix="", **config)
        self.dim = DIM
        self.seen, self.calls, self.die_after = [], 0, die_after

    def _encode(self, kind, texts):
        if self.calls == self.die_after:
            raise KeyboardInterrupt
        self.calls += 1
        self.seen += [(kind, text) for text in texts]
        return np.array([vector(kind, text) for text in texts], dtype=np.float32)

    def encode_queries(self, texts):
        return self._encode("query", texts)

    def encode_documents(self, documents):
        return self._encode("document", documents)

    def encode_expansions(self, texts):
        return self._encode("document" if self.config.expansion_prefix is None else "expansion", texts)

    def identity(self):
        return {"model": "m"}


def vector(kind, text):
    if text == "zero":
        return np.zeros(DIM)
    seed = int.from_bytes(f"{kind} {text}".encode()[:16], "big")
    return np.random.default_rng(seed).normal(size=DIM) * 3


def cosine(left, right):
    return left @ right / np.linalg.norm(left) / np.linalg.norm(right)


ROWS = [
    Compared("q1", ("p1", "p2"), "a1", ("c1", "c2", "c3")),
    Compared("q2", ("p1",), "c1", ("c4", "c2")),
    Compared("q3", ("p3",), None, ("c5", "c6")),
]


def test_cosines_of_each_query(tmp_path):
    found = similarities(ROWS, HashEncoder(), tmp_path, COSINE, with_query=True)
    for one, own in zip(ROWS, found, strict=True):
        positive, query = vector("document", one.positives[0]), vector("query", one.query)
        expected = [cosine(vector("document", text), positive) for text in one.candidates]
        np.testing.assert_allclose(own.positive, expected, atol=1e-6)
        assert own.query == pytest.approx(cosine(query, positive), abs=1e-6)
        if one.answer is None:
            assert own.answer is None
        else:
            answer = vector("document", one.answer)
            expected = [cosine(vector("document", text), answer) for text in one.candidates]
            np.testing.assert_allclose(own.answer, expected, atol=1e-6)


def test_dot_products_and_a_role_of_its_own(tmp_path):
    encoder = HashEncoder(expansion_prefix="topic: ")
    (own, *_) = similarities(ROWS, encoder, tmp_path, DOT)
    expected = [vector("expansion", text) @ vector("document", "p1") for text in ("c1", "c2", "c3")]
    np.testing.assert_allclose(own.positive, expected, rtol=1e-5)
    assert own.query is None
    assert ("expansion", "c1") in encoder.seen
    assert ("document", "c1") in encoder.seen  # as the second query's answer


def test_the_nearest_of_several_positives(tmp_path):
    (own, *_) = similarities(ROWS, HashEncoder(), tmp_path, replace(COSINE, positives="nearest"), with_query=True)
    both = [vector("document", text) for text in ("p1", "p2")]
    expected = [max(cosine(vector("document", text), one) for one in both) for text in ("c1", "c2", "c3")]
    np.testing.assert_allclose(own.positive, expected, atol=1e-6)
    assert own.query == pytest.approx(max(cosine(vector("query", "q1"), one) for one in both), abs=1e-6)


def test_each_text_is_encoded_once(tmp_path):
    encoder = HashEncoder()
    similarities(ROWS, encoder, tmp_path, COSINE, with_query=True)
    assert len(encoder.seen) == len(set(encoder.seen))
    documents = {"p1", "p3", "a1", "c1", "c2", "c3", "c4", "c5", "c6"}  # p2 does not count, the first positive does
    assert set(encoder.seen) == {("document", text) for text in documents} | {("query", f"q{n}") for n in (1, 2, 3)}


def test_what_is_there_is_not_encoded_again(tmp_path):
    first = similarities(ROWS, HashEncoder(), tmp_path, COSINE)
    again = HashEncoder()
    found = similarities(ROWS, again, tmp_path, COSINE)
    assert again.seen == []
    assert [one.positive.tolist() for one in found] == [one.positive.tolist() for one in first]
    assert sorted(path.suffix for path in tmp_path.iterdir() if not path.name.startswith(".")) == [".npz"]


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_broken_off_run_goes_on_at_the_first_missing_shard(tmp_path, calls):
    whole = similarities(ROWS, HashEncoder(), tmp_path / "whole", COSINE)
    with pytest.raises(KeyboardInterrupt):
        similarities(ROWS, HashEncoder(die_after=calls), tmp_path / "broken", COSINE)
    again = HashEncoder()
    found = similarities(ROWS, again, tmp_path / "broken", COSINE)
    assert again.calls == 3 - calls  # nine documents in shards of three
    (left,), (right,) = ((tmp_path / name).glob("*.npz") for name in ("whole", "broken"))
    assert left.name == right.name
    assert left.read_bytes() == right.read_bytes()
    assert [one.positive.tolist() for one in found] == [one.positive.tolist() for one in whole]


def test_other_encoders_texts_and_options_do_not_meet(tmp_path):
    class Other(HashEncoder):
        def identity(self):
            return {"model": "other"}

    for encoder, rows, options in (
        (HashEncoder(), ROWS, COSINE),
        (Other(), ROWS, COSINE),
        (HashEncoder(expansion_prefix="x"), ROWS, COSINE),
        (HashEncoder(), ROWS, DOT),
        (HashEncoder(), ROWS[:2], COSINE),
        (HashEncoder(), [*ROWS[:2], replace(ROWS[2], answer="a3")], COSINE),
    ):
        before = len(list(tmp_path.glob("*.npz")))
        similarities(rows, encoder, tmp_path, options)
        assert len(list(tmp_path.glob("*.npz"))) == before + 1
    assert encoder_provenance(HashEncoder(expansion_prefix="x")) != encoder_provenance(HashEncoder())


def test_faults(tmp_path):
    with pytest.raises(ExpandrError, match="the vector of a text is zero: 'zero'"):
        similarities([Compared("q", ("p",), None, ("c", "zero"))], HashEncoder(), tmp_path, COSINE)

    class Broken(HashEncoder):
        def encode_documents(self, documents):
            return np.full((len(documents), DIM), np.nan, dtype=np.float32)

    with pytest.raises(ExpandrError, match="the vector of a text is not finite"):
        similarities(ROWS, Broken(), tmp_path, COSINE)
    with pytest.raises(InputError, match="shard_texts is 0"):
        SimilarityOptions(shard_texts=0)


@settings(deadline=None, max_examples=40)  # files are written and synced
@given(st.data())
def test_any_texts_in_any_shards(tmp_path_factory, data):
    texts = st.sampled_from([f"t{n}" for n in range(8)])
    rows = data.draw(
        st.lists(
            st.builds(
                Compared,
                query=texts,
                positives=st.lists(texts, min_size=1, max_size=2, unique=True).map(tuple),
                answer=st.none() | texts,
                candidates=st.lists(texts, min_size=2, max_size=5, unique=True).map(tuple),
            ),
            max_size=5,
        )
    )
    options = replace(COSINE, shard_texts=data.draw(st.integers(1, 9)))
    found = similarities(rows, HashEncoder(), tmp_path_factory.mktemp("work"), options)
    for one, own in zip(rows, found, strict=True):
        positive = vector("document", one.positives[0])
        expected = [cosine(vector("document", text), positive) for text in one.candidates]
        np.testing.assert_allclose(own.positive, expected, atol=1e-5)
        assert (own.answer is None) == (one.answer is None)
