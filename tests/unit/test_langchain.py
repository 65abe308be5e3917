"""Our retriever in LangChain's own chains, threads and callbacks."""

from __future__ import annotations

import asyncio

import pytest

import expandr_ir as ex
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.records import Document

pytest.importorskip("langchain_core")
pytestmark = pytest.mark.java


@pytest.fixture
def retriever(demo_bm25, demo_expander):
    from expandr_ir.langchain import ExpandRRetriever

    return ExpandRRetriever(retriever=demo_bm25, documents=demo_bm25.lucene_index.documents, expander=demo_expander)


def test_the_documents_are_those_of_the_run(retriever, demo_bm25, demo_expander):
    topics = demo_bm25.collection.topics()
    run = demo_bm25.search(demo_expander.expand(topics))
    queries = {topic_id: topics[topic_id].text for topic_id in ("d001", "d002", "d003")}
    for topic_id, documents in zip(queries, retriever.batch(list(queries.values())), strict=True):
        assert [d.id for d in documents] == [d.metadata["id"] for d in documents] == run[topic_id].doc_ids
        assert [d.metadata["score"] for d in documents] == run[topic_id].scores
        assert [d.metadata["title"] for d in documents] == run[topic_id].doc_ids  # the demo's titles are its ids
        assert all(d.page_content for d in documents)
    assert asyncio.run(retriever.ainvoke(queries["d003"])) == documents


def test_in_a_chain_with_its_callbacks(retriever, demo_bm25):
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableLambda, RunnablePassthrough

    class Ends(BaseCallbackHandler):
        documents = ()

        def on_retriever_end(self, documents, **_):
            self.documents = documents

    ends = Ends()
    join = RunnableLambda(lambda documents: "\n".join(document.page_content for document in documents))
    prompt = ChatPromptTemplate.from_template("{context}\n\n{question}")
    chain = {"context": retriever | join, "question": RunnablePassthrough()} | prompt
    question = demo_bm25.collection.topics()["d001"].text
    text = chain.invoke(question, {"callbacks": [ends]}).to_string()
    assert text.endswith(question)
    assert len(ends.documents) == 5
    assert all(document.page_content in text for document in ends.documents)


def test_bad_input(retriever, demo_bm25, demo_expander):
    from expandr_ir.langchain import ExpandRRetriever

    with pytest.raises(InputError, match="has no text"):
        retriever.invoke("")
    with pytest.raises(ExpandrError, match="none of the 1 topics got an expansion"):
        retriever.invoke("a question nobody recorded")
    bm25, documents = ex.BM25(demo_bm25.collection, hits=5), demo_bm25.lucene_index.documents
    plain = ExpandRRetriever(retriever=bm25, documents=documents)
    assert len(retriever.with_fallbacks([plain]).invoke("a question nobody recorded")) == 5
    with pytest.raises(ValueError, match="instance of Retriever"):
        ExpandRRetriever(retriever="bm25", documents=documents)
    blank = ExpandRRetriever(retriever=bm25, documents=lambda ids: dict.fromkeys(ids, Document("d", "a title", "")))
    (first, *_) = blank.invoke("merge two sorted lists")
    assert (first.page_content, first.metadata["title"]) == ("", "a title")


def test_the_example_of_the_page(run_example, capsys):
    run_example("LangChain")
    assert len(capsys.readouterr().out.splitlines()) >= 5
