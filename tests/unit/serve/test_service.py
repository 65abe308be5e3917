"""Slow generators, clients that go away, indexes that are being opened: searches are answered, or told to come back."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest
from starlette.testclient import TestClient

from expandr_ir.collections import load_collection
from expandr_ir.errors import InputError
from expandr_ir.progress import progress
from expandr_ir.serve import wire
from expandr_ir.serve.app import create_app
from expandr_ir.serve.faults import BusyError, LateError
from expandr_ir.serve.pools import Pool
from expandr_ir.serve.service import Service

pytestmark = pytest.mark.java

WRITE = wire.ExpandRequest(query="merge lists", expander="query2e")
SEARCH = wire.SearchRequest(query="merge lists", hits=2)


def wait_until(condition, seconds=20):
    """Waits for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


async def first_event(service):
    """The stream and its first event."""
    events = service.expand(WRITE)
    return events, await anext(events)


def test_a_slow_generator_blocks_no_search_and_its_texts_come_as_they_grow(held):
    service, generator = held()

    async def run():
        events, first = await first_event(service)
        assert first["text"] == "List 10"
        assert len((await service.search("demo", SEARCH)).candidates) == 2
        generator.may_go.set()
        return [event async for event in events]

    last = asyncio.run(run())[-1]
    assert last["expansions"][0]["text"].endswith("merge lists (sample 0)")
    assert last["counts"]["generated"] == 1


def test_more_expansions_than_may_wait_are_told_to_come_back(held):
    service, generator = held()

    async def run():
        events, _ = await first_event(service)
        waiting = service.expand(wire.ExpandRequest(query="second", expander="query2e"))
        second = asyncio.create_task(anext(waiting))
        await asyncio.sleep(0.05)
        with pytest.raises(BusyError, match="2 expansions are under way or wait") as refused:
            await anext(service.expand(WRITE))
        assert refused.value.retry_after_s == 1
        generator.may_go.set()
        await second
        for stream in (events, waiting):
            assert [event async for event in stream]

    asyncio.run(run())


def test_a_client_that_goes_away_ends_the_generation_and_frees_its_place(held):
    service, generator = held()

    async def run():
        events, _ = await first_event(service)
        await events.aclose()
        generator.may_go.set()

    asyncio.run(run())
    wait_until(lambda: service.expansions._calls == 0)
    assert generator.texts == 0
    assert generator.listener is None


def test_what_takes_too_long_is_given_up(held):
    service, _ = held(timeout_s=0.5)

    async def run():
        with pytest.raises(LateError, match=r"no answer within 0\.5 s \(expansions\)"):
            [event async for event in service.expand(WRITE)]
        assert len((await service.search("demo", SEARCH)).candidates) == 2

    asyncio.run(run())


def test_a_pool_counts_a_thread_that_still_works_after_its_time():
    pool = Pool("searches", 1, 0, 0.01)

    async def run():
        may_end = threading.Event()
        with pytest.raises(LateError):
            await pool.run(may_end.wait, 20)
        with pytest.raises(BusyError, match="1 searches are under way"):
            pool.submit(int)
        may_end.set()
        wait_until(lambda: pool._calls == 0)
        assert await pool.run(int) == 0

    asyncio.run(run())
    pool.close()


def test_an_index_that_is_being_opened_says_how_far_it_is(make_service):
    service = make_service()
    service.start = lambda: None
    index = service.indexes["demo"]

    def documents():
        with progress("documents indexed", 5574) as advance:
            advance(1200)
            answers.append(client.get("/v1/demo/search?query=lists"))
            answers.append(client.get("/health"))
        return []

    answers = []
    index.collection.qrels = lambda split: documents() or {}
    with TestClient(create_app(service), base_url="http://localhost") as client:
        service.open()
        assert client.get("/v1/demo/search?query=lists").status_code == 200
    refused, health = answers
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    done = {"work": "documents indexed", "done": 1200, "total": 5574}
    assert refused.json()["progress"] == health.json()["indexes"]["demo"]["progress"] == done


def test_an_index_that_cannot_be_opened_says_why_without_its_place(make_service, tmp_path, caplog):
    for name, row in (("corpus", {"_id": "d", "title": "", "text": "x"}), ("queries", {"_id": "q", "text": "x"})):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\tmany\n")
    service = Service(make_service().options, [load_collection(tmp_path)])
    service.start = service.open
    with TestClient(create_app(service), base_url="http://localhost") as client:
        answer = client.get(f"/v1/{tmp_path.name}/search?query=x")
    assert answer.status_code == 503
    assert "cannot be searched" in answer.json()["error"]
    assert str(tmp_path) not in answer.text
    assert str(tmp_path) in caplog.text


def test_two_collections_of_one_name_are_refused(make_service):
    with pytest.raises(InputError, match="two collections have the name 'demo'"):
        Service(make_service().options, [load_collection("demo"), load_collection("demo")])
