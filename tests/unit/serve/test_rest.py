"""Searches, documents, explanations and expansions over REST; every bad request is answered by an error of ours."""

from __future__ import annotations

import json
import re

import pytest

from expandr_ir import BM25, load_collection
from expandr_ir.records import Topic
from expandr_ir.serve.index import expanded

pytestmark = pytest.mark.java

QUESTION = "keep only the last n lines of a log while reading it"
TEXT = "a deque (of collections) with a maxlen keeps the last n lines"


def test_a_search_is_bm25s_with_pyserinis_names(client):
    answer = client.get("/v1/demo/search", params={"query": QUESTION, "hits": 5}).json()
    hits = BM25(load_collection("demo"), hits=5).search({"d001": QUESTION})["d001"]
    assert (answer["api"], answer["index"], answer["query"]["text"]) == ("v1", "demo", QUESTION)
    assert [candidate["docid"] for candidate in answer["candidates"]] == hits.doc_ids
    assert [candidate["score"] for candidate in answer["candidates"]] == pytest.approx(hits.scores, abs=1e-6)
    assert [candidate["rank"] for candidate in answer["candidates"]] == [1, 2, 3, 4, 5]
    first = answer["candidates"][0]
    assert client.get(f"/v1/demo/doc/{first['docid']}").json()["doc"] == first["doc"]
    assert answer["run"] == "bm25-none"


def test_texts_of_the_client_are_searched_and_judgements_marked(client):
    body = {"query": f" {QUESTION}\n", "expansions": [TEXT], "aggregation": "append", "hits": 50}
    answer = client.post("/v1/demo/search", json=body).json()
    run = BM25(load_collection("demo"), aggregation="append", hits=50).search(
        {"d001": expanded(Topic("d001", QUESTION), [TEXT])}
    )
    assert [candidate["docid"] for candidate in answer["candidates"]] == run["d001"].doc_ids
    assert answer["query"]["topic_id"] == "d001"
    assert {candidate["docid"]: candidate["grade"] for candidate in answer["candidates"]}["collections.deque"] == 2
    assert (answer["run"], answer["expansions"]) == ("bm25-append", [TEXT])


def test_an_expander_writes_the_texts_and_says_how_they_are_searched(client):
    asked = {"query": "merge lists", "expander": "query2doc-zs", "samples": 2}
    answer = client.get("/v1/demo/search", params=asked).json()
    assert [text[-22:] for text in answer["expansions"]] == ["merge lists (sample 0)", "merge lists (sample 1)"]
    assert answer["run"] == "bm25-repeat"
    changed = client.get("/v1/demo/search", params=asked | {"aggregation": "interleave"}).json()
    assert (changed["run"], changed["expansions"]) == ("bm25-interleave", answer["expansions"])


def test_an_expander_that_counts_repeats_is_searched_with_them(client):
    asked = {"query": "merge lists", "expander": "csqe"}
    answer = client.get("/v1/demo/search", params=asked).json()
    *_, last = map(json.loads, client.post("/v1/expand", json=asked).text.splitlines())
    texts = {"expansions": [text["text"] for text in last["expansions"]], "repeats": last["repeats"]}
    assert client.post("/v1/demo/search", json=asked | texts).json() == answer
    uncounted = client.post("/v1/demo/search", json=asked | texts | {"repeats": None})
    assert (uncounted.status_code, "query_repeats" in uncounted.text) == (400, True)


def test_an_expansion_is_streamed(client):
    with client.stream("POST", "/v1/expand", json={"query": "merge lists", "expander": "query2e"}) as stream:
        assert stream.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in stream.iter_lines()]
    assert {"call": 1, "sample": 0}.items() <= lines[0].items()
    assert lines[-1]["expansions"][0]["text"].endswith("Query: merge lists (sample 0)")


def test_the_parts_of_a_score_add_up_to_it(client):
    body = {"query": "last lines", "expansions": [TEXT], "aggregation": "append"}
    candidates = client.post("/v1/demo/search", json=body | {"hits": 200}).json()["candidates"]
    candidate = next(candidate for candidate in candidates if candidate["docid"] == "collections.deque")
    terms = client.post("/v1/demo/explain", json=body | {"docid": candidate["docid"]}).json()["terms"]
    assert sum(term["score"] for term in terms) == pytest.approx(candidate["score"], abs=1e-3)
    assert [term["score"] for term in terms] == sorted((term["score"] for term in terms), reverse=True)
    origins = {term["word"]: term["origin"] for term in terms}
    assert origins["deque"] == origins["maxlen"] == "expansion"
    assert {"both", "expansion"} >= set(origins.values())


def test_names_and_health(client):
    names = client.get("/v1/expanders").json()
    assert {"hyde", "query2doc-zs"} <= {expander["name"] for expander in names["expanders"]}
    assert (names["generators"], names["retrievers"]) == (["echo"], ["sparse"])
    health = client.get("/health").json()
    assert health["indexes"]["demo"]["state"] == "ready"
    assert health["indexes"]["demo"]["documents"] > 5000
    assert client.get("/v1/indexes").json() == ["demo"]
    assert {"topic_id": "d001", "text": QUESTION} in client.get("/v1/demo/topics").json()


HOSTILE = '<img src=x onerror="alert(1)">\x00\x1b[31m\u202e'


def test_control_characters_are_blanks_and_markup_is_text(client):
    answer = client.post("/v1/demo/search", json={"query": f"merge {HOSTILE} lists", "expansions": [HOSTILE]})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["query"]["text"] == 'merge <img src=x onerror="alert(1)">  [31m  lists'
    assert answer.json()["expansions"] == ['<img src=x onerror="alert(1)">  [31m ']
    half = client.post("/v1/demo/search", content=b'{"query": "merge \\ud83d lists"}')
    assert half.status_code == 400 or half.json()["candidates"]


@pytest.mark.parametrize(
    ("method", "path", "asked", "status", "message"),
    [
        ("GET", "demo/search", {}, 400, "query: Field required"),
        ("GET", "demo/search", {"query": " \t\x00"}, 400, "a query with a word in it"),
        ("GET", "demo/search", {"query": "x" * 4001}, 400, "query: String should have at most 4000"),
        ("GET", "demo/search", {"query": "x", "hits": 0}, 400, "hits: Input should be greater"),
        ("GET", "demo/search", {"query": "x", "hits": 1001}, 400, "hits: Input should be less"),
        ("GET", "demo/search", {"query": "x", "expander": "hyd"}, 400, "unknown expander 'hyd'"),
        ("GET", "demo/search", {"query": "x", "expander": "../conf/expanders/hyde.yaml"}, 400, "unknown expander"),
        ("GET", "demo/search", {"query": "x", "expander": "hyde", "generator": "openai"}, 400, "unknown generator"),
        ("GET", "demo/search", {"query": "x", "expander": "hyde", "aggregation": "mean"}, 400, "unknown aggregation"),
        ("GET", "demo/search", {"query": "x", "samples": 2}, 400, "samples without an expander"),
        ("GET", "demo/search", {"query": "x", "retriever": "dense"}, 400, "no encoder for dense"),
        ("GET", "demo/search", {"query": "x", "index": "/etc"}, 400, "index: Extra inputs"),
        ("GET", "nfcorpus/search", {"query": "x"}, 404, "unknown index 'nfcorpus'"),
        ("GET", "demo/doc/no such", {}, 404, "demo has no document 'no such'"),
        ("GET", "demo", {}, 404, "Not Found"),
        ("POST", "demo/search", {"query": "x", "expansions": ["y"] * 17}, 400, "expansions: List should have at most"),
        ("POST", "demo/search", {"query": "x", "expansions": ["y" * 1_000_000]}, 413, "more than 524,288 bytes"),
        ("POST", "demo/explain", {"query": "x", "docid": "no such"}, 404, "no document 'no such'"),
        ("POST", "expand", {"query": "x"}, 400, "expander: Field required"),
        ("POST", "expand", {"query": "x", "expander": "hyde", "temperature": 9}, 400, "temperature: Extra inputs"),
    ],
)
def test_a_bad_request_is_answered_by_an_error(client, method, path, asked, status, message):
    how = {"params": asked} if method == "GET" else {"json": asked}
    answer = client.request(method, f"/v1/{path}", **how)
    assert (answer.status_code, message in answer.json()["error"]) == (status, True), answer.text


def test_an_error_within_a_stream_is_its_last_line(client):
    lines = client.post("/v1/expand", json={"query": "x", "expander": "none such"}).text.splitlines()
    assert [json.loads(line)["error"] for line in lines] == ["unknown expander 'none such'"]


def test_the_api_is_described_without_loading_anything_from_elsewhere(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/{index}/search", "/v1/{index}/doc/{docid}", "/v1/expand", "/v1/expanders", "/health"} <= paths.keys()
    assert client.get("/docs").status_code == 404


def test_the_page_loads_its_own_two_files_and_nothing_else(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert addresses == ["data:,", "static/page.css", "static/page.js", "openapi.json"]
    for address in addresses[1:]:
        assert client.get(f"/{address}").status_code == 200
    script = client.get("/static/page.js").text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://", script)
