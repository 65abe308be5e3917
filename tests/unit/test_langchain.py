"""Our retriever in LangChain's own chains, threads and callbacks."""

from __future__ import annotations

import asyncio

import pytest

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.records import Document

pytest.importorskip("langchain_core")
pytestmark = pytest.mark.java


@pytest.fixture
def retriever(demo_bm25, demo_documents, demo_expander):
    from expandr_ir.langchain import ExpandRRetriever

    return ExpandRRetriever(retriever=demo_bm25, documents=demo_documents, expander=demo_expander)


def test_the_documents_are_those_of_the_run(retriever, demo_bm25, demo_documents, demo_expander):
    topics = demo_bm25.collection.topics()
    run = demo_bm25.search(demo_expander.expand(topics))
    queries = {topic_id: topics[topic_id].text for topic_id in ("d001", "d002", "d003")}
    for topic_id, documents in zip(queries, retriever.batch(list(queries.values())), strict=True):
        assert [d.id for d in documents] == [d.metadata["id"] for d in documents] == run[topic_id].doc_ids
        assert [d.metadata["score"] for d in documents] == run[topic_id].scores
        best = demo_documents[run[topic_id].doc_ids[0]]
        assert (documents[0].page_content, documents[0].metadata["title"]) == (best.text, best.title)
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


def test_bad_input(retriever, demo_bm25, demo_documents, demo_expander):
    from expandr_ir.langchain import ExpandRRetriever

    with pytest.raises(InputError, match="has no text"):
        retriever.invoke("")
    with pytest.raises(ExpandrError, match="none of the 1 topics got an expansion"):
        retriever.invoke("a question nobody recorded")
    plain = ExpandRRetriever(retriever=type(demo_bm25)(demo_bm25.collection, hits=5), documents=demo_documents)
    assert len(retriever.with_fallbacks([plain]).invoke("a question nobody recorded")) == 5
    with pytest.raises(ValueError, match="instance of Retriever"):
        ExpandRRetriever(retriever="bm25", documents=demo_documents)
    blank = dict.fromkeys(demo_documents, Document("d", "a title", ""))
    (first, *_) = ExpandRRetriever(retriever=plain.retriever, documents=blank).invoke("merge two sorted lists")
    assert (first.page_content, first.metadata["title"]) == ("", "a title")


def test_it_is_shown_without_its_documents(retriever):
    assert len(repr(retriever)) < 2000


def test_the_example_of_the_page(run_example, capsys):
    run_example("LangChain")
    assert len(capsys.readouterr().out.splitlines()) >= 5
