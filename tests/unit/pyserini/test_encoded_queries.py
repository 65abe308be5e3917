from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from expandr_ir.errors import InputError
from expandr_ir.io.topics import read_topics
from expandr_ir.pyserini.encoded_queries import write_encoded_queries, write_vector_topics

TEXTS = {"007": "do fleas jump", "é": "a\tlog"}
VECTORS = np.array([[0.1, -2, 3], [1e-8, 0, 1 / 3]], dtype=np.float32)


def test_the_pickle_has_ids_texts_and_vectors(tmp_path):
    path = write_encoded_queries(tmp_path / "new" / "folder", TEXTS, VECTORS)
    assert path == tmp_path / "new" / "folder" / "embedding.pkl"
    table = pd.read_pickle(path)
    assert table["id"].tolist() == ["007", "é"]
    assert table["text"].tolist() == list(TEXTS.values())
    for row, vector in zip(table["embedding"], VECTORS, strict=True):
        assert row.dtype == np.float32
        np.testing.assert_array_equal(row, vector)


def test_what_pyserini_would_misread_is_refused(tmp_path):
    with pytest.raises(InputError, match="bpr"):
        write_encoded_queries(tmp_path / "bpr-runs", TEXTS, VECTORS)
    with pytest.raises(InputError, match="'007' and 'é' have the same text, 'do fleas jump'"):
        write_encoded_queries(tmp_path, dict.fromkeys(TEXTS, "do fleas jump"), VECTORS)
    assert not list(tmp_path.iterdir())


def test_one_text_twice_with_one_vector_is_fine(tmp_path):
    write_encoded_queries(tmp_path, dict.fromkeys(TEXTS, "do fleas jump"), VECTORS[[0, 0]])


def test_topics_that_are_vectors_keep_every_bit(tmp_path):
    write_vector_topics(tmp_path / "topics.json", list(TEXTS), VECTORS)
    topics = read_topics(tmp_path / "topics.json")
    assert list(topics) == ["007", "é"]
    found = [json.loads(topic.text) for topic in topics.values()]
    np.testing.assert_array_equal(np.array(found, dtype=np.float32), VECTORS)
