"""Evidence: each text encoded once, the same as query by query, and the same after a run that broke off."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.config import EncoderConfig
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.scoring import SimilarityOptions, add_similarities, encoder_provenance
from expandr_ir.train.data.rows import TrainingRow

DIM = 8
COSINE = SimilarityOptions(shard_texts=3)
DOT = replace(COSINE, similarity="dot")


class HashEncoder:
    """A vector for each text and role, drawn from the text; it can die after so many calls."""

    def __init__(self, die_after=None, name="m", **config):
        self.config = EncoderConfig(model="m", query_prefix="", document_prefix="", **config)
        self.dim, self.name = DIM, name
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
        return {"model": self.name}


def vector(kind, text):
    if text == "zero":
        return np.zeros(DIM)
    seed = int.from_bytes(f"{kind} {text}".encode()[:16], "big")
    return np.random.default_rng(seed).normal(size=DIM) * 3


def cosine(left, right):
    return left @ right / np.linalg.norm(left) / np.linalg.norm(right)


def candidates(query, positives, answer, *texts):
    return Candidates(TrainingRow(query, query, positives, ()), list(texts), answer=answer)


def table():
    return [
        candidates("q1", ("p1", "p2"), "a1", "c1", "c2", "c3"),
        candidates("q2", ("p1",), "c1", "c4", "c2"),
        candidates("q3", ("p3",), None, "c5", "c6"),
    ]


def compared(encoder, folder, options, rows=None, **others):
    rows = table() if rows is None else rows
    add_similarities(rows, encoder, folder, options, **others)
    return rows


def test_dot_products_and_a_role_of_its_own(tmp_path):
    encoder = HashEncoder(expansion_prefix="topic: ")
    first, *_ = compared(encoder, tmp_path, DOT)
    expected = [vector("expansion", text) @ vector("document", "p1") for text in ("c1", "c2", "c3")]
    np.testing.assert_allclose(first.evidence.positive, expected, rtol=1e-5)
    assert first.evidence.query is None
    assert {("expansion", "c1"), ("document", "c1")} <= set(encoder.seen)  # c1 is the second query's answer, too


def test_the_nearest_of_several_positives(tmp_path):
    first, *_ = compared(HashEncoder(), tmp_path, replace(COSINE, positives="nearest"), with_query=True)
    both = [vector("document", text) for text in ("p1", "p2")]
    expected = [max(cosine(vector("document", text), other) for other in both) for text in ("c1", "c2", "c3")]
    np.testing.assert_allclose(first.evidence.positive, expected, atol=1e-6)
    assert first.evidence.query == pytest.approx(max(cosine(vector("query", "q1"), other) for other in both), abs=1e-6)


def test_each_text_is_encoded_once_and_never_again(tmp_path):
    encoder, again = HashEncoder(), HashEncoder()
    first = compared(encoder, tmp_path, COSINE, with_query=True)
    assert len(encoder.seen) == len(set(encoder.seen))
    documents = {"p1", "p3", "a1", "c1", "c2", "c3", "c4", "c5", "c6"}  # p2 does not count, the first positive does
    assert set(encoder.seen) == {("document", text) for text in documents} | {("query", f"q{n}") for n in (1, 2, 3)}
    second = compared(again, tmp_path, COSINE, with_query=True)
    assert again.seen == []
    assert [entry.evidence.positive.tolist() for entry in second] == [
        entry.evidence.positive.tolist() for entry in first
    ]
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_broken_off_run_goes_on_at_the_first_missing_shard(tmp_path, calls):
    compared(HashEncoder(), tmp_path / "whole", COSINE)
    with pytest.raises(KeyboardInterrupt):
        compared(HashEncoder(die_after=calls), tmp_path / "broken", COSINE)
    again = HashEncoder()
    compared(again, tmp_path / "broken", COSINE)
    assert again.calls == 3 - calls  # nine documents in shards of three
    (left,), (right,) = ((tmp_path / name).glob("*.npz") for name in ("whole", "broken"))
    assert (left.name, left.read_bytes()) == (right.name, right.read_bytes())


def test_other_encoders_texts_and_options_do_not_meet(tmp_path):
    for encoder, rows, options in (
        (HashEncoder(), table(), COSINE),
        (HashEncoder(name="other"), table(), COSINE),
        (HashEncoder(expansion_prefix="x"), table(), COSINE),
        (HashEncoder(), table(), DOT),
        (HashEncoder(), table()[:2], COSINE),
        (HashEncoder(), [*table()[:2], replace(table()[2], answer="a3")], COSINE),
    ):
        before = len(list(tmp_path.glob("*.npz")))
        compared(encoder, tmp_path, options, rows)
        assert len(list(tmp_path.glob("*.npz"))) == before + 1
    assert encoder_provenance(HashEncoder(expansion_prefix="x")) != encoder_provenance(HashEncoder())


def test_a_zero_vector_has_no_cosine(tmp_path):
    (entry,) = compared(HashEncoder(), tmp_path, COSINE, [candidates("q", ("p",), None, "c", "zero")])
    assert np.isnan(entry.evidence.positive).tolist() == [False, True]


@settings(deadline=None, max_examples=30)  # files are written and synced
@given(st.data())
def test_any_texts_in_any_shards(tmp_path_factory, data):
    texts = st.sampled_from([f"t{n}" for n in range(8)])
    entries = st.builds(
        lambda query, positives, answer, own: candidates(query, tuple(positives), answer, *own),
        texts,
        st.lists(texts, min_size=1, max_size=2, unique=True),
        st.none() | texts,
        st.lists(texts, min_size=2, max_size=5, unique=True),
    )
    rows = data.draw(st.lists(entries, max_size=5))
    options = replace(COSINE, shard_texts=data.draw(st.integers(1, 9)))
    for entry in compared(HashEncoder(), tmp_path_factory.mktemp("work"), options, rows, with_query=True):
        evidence, positive = entry.evidence, vector("document", entry.row.positives[0])
        expected = [cosine(vector("document", text), positive) for text in entry.texts]
        np.testing.assert_allclose(evidence.positive, expected, atol=1e-5)
        assert evidence.query == pytest.approx(cosine(vector("query", entry.row.query), positive), abs=1e-5)
        assert (evidence.answer is None) == (entry.answer is None)
        if entry.answer is not None:
            answer = vector("document", entry.answer)
            expected = [cosine(vector("document", text), answer) for text in entry.texts]
            np.testing.assert_allclose(evidence.answer, expected, atol=1e-5)
