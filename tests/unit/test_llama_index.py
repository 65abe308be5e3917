"""Our query transform in LlamaIndex's own query engine: the vector is the mean of the query's and all texts'."""

from __future__ import annotations

import numpy as np
import pytest

from expandr_ir.errors import ExpandrError, InputError

pytest.importorskip("llama_index.core")
pytestmark = pytest.mark.java

VECTORS = {"keep only": [1.0, 0.0, 0.0], "To keep": [0.0, 3.0, 0.0], "A double-ended": [0.0, 0.0, 6.0]}
"""Of a topic of the demo and its two texts, by how they begin."""


@pytest.fixture
def transform(demo_expander):
    from expandr_ir.llama_index import ExpandRQueryTransform

    return ExpandRQueryTransform(demo_expander)


@pytest.fixture
def question(demo_bm25):
    return demo_bm25.collection.topics()["d001"].text


@pytest.fixture
def index():
    from llama_index.core import VectorStoreIndex
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.schema import TextNode

    class Lookup(BaseEmbedding):
        def _get_query_embedding(self, query):
            return next(vector for start, vector in VECTORS.items() if query.startswith(start))

        async def _aget_query_embedding(self, query):
            return self._get_query_embedding(query)

        def _get_text_embedding(self, text):
            raise AssertionError(text)

    nodes = [TextNode(id_=f"axis {axis}", text=f"text {axis}", embedding=list(np.eye(3)[axis])) for axis in range(3)]
    return VectorStoreIndex(nodes, embed_model=Lookup(model_name="lookup"))


def test_the_query_engine_searches_by_the_mean_of_all_texts(index, transform, question):
    from llama_index.core.llms import MockLLM
    from llama_index.core.query_engine import TransformQueryEngine

    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=3)
    assert engine.query(question).source_nodes[0].node_id == "axis 0"
    nodes = TransformQueryEngine(engine, transform).query(question).source_nodes
    assert [node.node_id for node in nodes] == ["axis 2", "axis 1", "axis 0"]
    mean = np.array([1, 3, 6]) / 3
    assert [node.score for node in nodes] == pytest.approx(sorted(mean / np.linalg.norm(mean), reverse=True))


def test_what_a_bundle_has_stays_and_its_vector_does_not(transform, question):
    from llama_index.core.schema import QueryBundle

    bundle = transform.run(
        QueryBundle(question, image_path="fleas.png", custom_embedding_strs=["first"], embedding=[1.0])
    )
    assert (bundle.query_str, bundle.image_path, bundle.embedding) == (question, "fleas.png", None)
    assert bundle.embedding_strs[0] == "first"
    assert all(text.startswith(start) for text, start in zip(bundle.embedding_strs[1:], list(VECTORS)[1:], strict=True))
    assert transform.run(question).embedding_strs == [question, *bundle.embedding_strs[1:]]
    assert transform.get_prompts() == {}


def test_bad_input(transform):
    with pytest.raises(InputError, match="has no text"):
        transform.run("")
    with pytest.raises(ExpandrError, match="none of the 1 topics got an expansion"):
        transform.run("a question nobody recorded")


def test_the_example_of_the_page(run_example):
    engine = run_example("LlamaIndex")["engine"]
    assert len(engine.query("stop a program that hangs").source_nodes) == 2
