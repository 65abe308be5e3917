"""The vectors are Pyserini's own, to 1e-5 in float32, whatever the batch and its padding."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_encoders import SENTENCES, tiny_bert

from expandr_ir.config import EncodeOptions, EncoderConfig
from expandr_ir.encoders import load_encoder
from expandr_ir.jvm import import_pyserini
from expandr_ir.records import Document

pytestmark = [pytest.mark.java, pytest.mark.slow]

TEXTS = [*SENTENCES, "a", "z " * 100, "one", "Two words", "long words " * 3]


@pytest.mark.parametrize(("pooling", "normalize", "prefix"), [("mean", True, None), ("cls", False, "find this:")])
def test_queries_and_documents_with_titles(tmp_path, pooling, normalize, prefix):
    bert = str(tiny_bert(tmp_path))
    titles = [text[:5] if number % 2 else "" for number, text in enumerate(TEXTS)]
    documents = list(map(Document, map(str, range(len(TEXTS))), titles, TEXTS))
    pyserini = import_pyserini("pyserini.encode")
    theirs = pyserini.AutoQueryEncoder(bert, pooling=pooling, l2_norm=normalize, prefix=prefix)
    queries = np.stack([theirs.encode(text, max_length=40) for text in TEXTS])
    theirs = pyserini.AutoDocumentEncoder(bert, device="cpu", pooling=pooling, l2_norm=normalize)
    expected = theirs.encode(TEXTS, titles=titles, max_length=40)
    for batch_tokens in (1, 100, 10_000):
        options = EncodeOptions(devices=["cpu"], precision="float32", batch_tokens=batch_tokens)
        config = EncoderConfig(bert, pooling=pooling, normalize=normalize, max_length=40, options=options)
        ours = load_encoder(replace(config, query_prefix=f"{prefix} " if prefix else ""))
        assert np.abs(ours.encode_queries(TEXTS) - queries).max() < 1e-5
        assert np.abs(ours.encode_documents(documents) - expected).max() < 1e-5
        assert ours.truncated["documents"] == 6  # letters are tokens and 38 fit: five sentences, and a hundred times z
