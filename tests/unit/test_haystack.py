"""Our components in Haystack's own pipelines."""

from __future__ import annotations

import pytest

import expandr_ir as ex
from expandr_ir.errors import InputError
from expandr_ir.records import Document

pytestmark = pytest.mark.java


@pytest.fixture(scope="module", autouse=True)
def without_telemetry():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")  # read when haystack is imported
        pytest.importorskip("haystack")
        yield


@pytest.fixture
def retriever(demo_bm25, demo_expander):
    from expandr_ir.haystack import ExpandRRetriever

    return ExpandRRetriever(demo_bm25, demo_bm25.lucene_index.documents, demo_expander)


@pytest.fixture
def question(demo_bm25):
    return demo_bm25.collection.topics()["d001"].text


def test_a_pipeline_has_the_documents_of_the_run(retriever, question, demo_bm25, demo_expander):
    from haystack import Pipeline
    from haystack.components.builders import PromptBuilder

    pipeline = Pipeline()
    pipeline.add_component("retriever", retriever)
    pipeline.add_component("prompt", PromptBuilder("{% for d in documents %}{{ d.content }}\n{% endfor %}"))
    pipeline.connect("retriever.documents", "prompt.documents")
    data = {"retriever": {"query": question}}
    answer = pipeline.run(data, include_outputs_from={"retriever"})
    documents = answer["retriever"]["documents"]
    run = demo_bm25.search(demo_expander.expand(demo_bm25.collection.topics()))["d001"]
    assert [document.id for document in documents] == run.doc_ids
    assert [document.score for document in documents] == run.scores
    assert documents[0].meta == {"title": run.doc_ids[0]}
    assert answer["prompt"]["prompt"].startswith(documents[0].content)


def test_several_queries_for_haystacks_own_retrievers(question, demo_expander):
    import haystack
    from haystack.components.retrievers import MultiQueryTextRetriever
    from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    from expandr_ir.haystack import ExpandRQueryExpander

    store = InMemoryDocumentStore()
    texts = [e.text for e in demo_expander.expand({"d001": question})["d001"].expansions]
    store.write_documents([haystack.Document(id=text[:9], content=text) for text in texts])
    pipeline = haystack.Pipeline()
    pipeline.add_component("expander", ExpandRQueryExpander(demo_expander))
    pipeline.add_component("retriever", MultiQueryTextRetriever(retriever=InMemoryBM25Retriever(store, top_k=1)))
    pipeline.connect("expander.queries", "retriever.queries")
    answer = pipeline.run({"expander": {"query": question}}, include_outputs_from={"expander"})
    assert answer["expander"]["queries"] == [question, *texts]
    assert {document.content for document in answer["retriever"]["documents"]} == set(texts)


def test_several_threads_and_top_k(demo_bm25):
    from haystack.components.retrievers import MultiQueryTextRetriever

    from expandr_ir.haystack import ExpandRRetriever

    plain = ExpandRRetriever(ex.BM25(demo_bm25.collection, hits=5), demo_bm25.lucene_index.documents)
    queries = [topic.text for topic in demo_bm25.collection.topics().values()][:20]
    several = MultiQueryTextRetriever(retriever=plain, max_workers=8)
    documents = several.run(queries, retriever_kwargs={"top_k": 1})["documents"]
    assert {d.id for d in documents} == {plain.run(query)["documents"][0].id for query in queries}
    assert [len(plain.run(queries[0], top_k)["documents"]) for top_k in (0, 2, 9)] == [0, 2, 5]


def test_bad_input(retriever, demo_bm25, demo_expander):
    from haystack import Pipeline
    from haystack.core.errors import PipelineRuntimeError

    from expandr_ir.haystack import ExpandRQueryExpander, ExpandRRetriever

    for run in (retriever.run, ExpandRQueryExpander(demo_expander).run):
        with pytest.raises(InputError, match="has no text"):
            run(" ")
    with pytest.raises(InputError, match="top_k is -1"):
        retriever.run("merge two sorted lists", top_k=-1)
    pipeline = Pipeline()
    pipeline.add_component("expander", ExpandRQueryExpander(demo_expander))
    with pytest.raises(PipelineRuntimeError, match="none of the 1 topics got an expansion"):
        pipeline.run({"expander": {"query": "a question nobody recorded"}})
    bm25 = ex.BM25(demo_bm25.collection, hits=1)
    plain = ExpandRRetriever(bm25, lambda ids: dict.fromkeys(ids, Document("d", "a title", "")))
    (document,) = plain.run("merge two sorted lists")["documents"]
    assert (document.content, document.meta) == ("", {"title": "a title"})


def test_the_example_of_the_page(run_example, capsys):
    run_example("Haystack")
    assert capsys.readouterr().out.count("Document(") >= 8
