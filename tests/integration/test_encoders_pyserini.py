"""The vectors are Pyserini's own, to 1e-5 in float32, whatever the batch and its padding."""

import numpy as np
import pytest
from tiny_encoders import SENTENCES, tiny_bert

from expandr_ir.config import EncodeOptions, EncoderConfig
from expandr_ir.encoders import load_encoder
from expandr_ir.jvm import import_pyserini
from expandr_ir.records import Document

pytestmark = [pytest.mark.java, pytest.mark.slow]

TEXTS = [*SENTENCES, "a", "z " * 100, "one", "Two words", "long words " * 3]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return str(tiny_bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="module", params=[("mean", True), ("mean", False), ("cls", True), ("cls", False)])
def setting(request):
    return request.param


def ours(bert, setting, batch_tokens, **prefixes):
    options = EncodeOptions(devices=["cpu"], precision="float32", batch_tokens=batch_tokens)
    pooling, normalize = setting
    return load_encoder(
        EncoderConfig(bert, pooling=pooling, normalize=normalize, max_length=40, options=options, **prefixes)
    )


@pytest.mark.parametrize("batch_tokens", [1, 100, 10_000])
@pytest.mark.parametrize("prefix", [None, "find this:"])
def test_queries(bert, setting, batch_tokens, prefix):
    pooling, normalize = setting
    theirs = import_pyserini("pyserini.encode").AutoQueryEncoder(
        bert, pooling=pooling, l2_norm=normalize, prefix=prefix
    )
    expected = np.stack([theirs.encode(text, max_length=40) for text in TEXTS])
    found = ours(bert, setting, batch_tokens, query_prefix=f"{prefix} " if prefix else "").encode_queries(TEXTS)
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("batch_tokens", [1, 100, 10_000])
def test_documents_with_titles(bert, setting, batch_tokens):
    pooling, normalize = setting
    titles = [text[:5] if number % 2 else "" for number, text in enumerate(TEXTS)]
    documents = [
        Document(str(number), title, text) for number, (title, text) in enumerate(zip(titles, TEXTS, strict=True))
    ]
    theirs = import_pyserini("pyserini.encode").AutoDocumentEncoder(
        bert, device="cpu", pooling=pooling, l2_norm=normalize
    )
    expected = theirs.encode(TEXTS, titles=titles, max_length=40)
    encoder = ours(bert, setting, batch_tokens)
    assert np.abs(encoder.encode_documents(documents) - expected).max() < 1e-5
    assert encoder.truncated["documents"] == 6  # letters are tokens and 38 fit: five sentences, and a hundred times z
