"""A coroutine's items as a plain iterator: from anywhere, closed early, with its error at the end."""

import asyncio
import threading
import time

import pytest

from expandr_ir.generators.background import iterate

pytestmark = pytest.mark.flash


async def count(emit, upto=3):
    for number in range(upto):
        await asyncio.sleep(0)
        emit(number)


def worker_threads():
    return [thread for thread in threading.enumerate() if thread.name == "expandr-generator"]


def test_items_come_in_order_and_the_thread_ends():
    assert list(iterate(count)) == [0, 1, 2]
    assert worker_threads() == []


def test_items_come_as_they_are_emitted():
    async def slow(emit):
        emit("first")
        await asyncio.sleep(60)

    started = time.monotonic()
    items = iterate(slow)
    assert next(items) == "first"
    items.close()
    assert time.monotonic() - started < 5
    assert worker_threads() == []


def test_closing_early_cancels_and_cleans_up():
    ended = []

    async def endless(emit):
        try:
            while True:
                emit(1)
                await asyncio.sleep(0.001)
        finally:
            ended.append(True)

    items = iterate(endless)
    assert next(items) == 1
    items.close()
    assert ended == [True]
    assert worker_threads() == []


def test_an_error_comes_after_what_was_emitted():
    async def fails(emit):
        emit(1)
        raise ValueError("no more")

    items = iterate(fails)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)


def test_it_works_inside_a_running_loop():
    async def notebook():
        return list(iterate(count))

    assert asyncio.run(notebook()) == [0, 1, 2]


def test_threads_of_the_executor_end_too():
    async def in_thread(emit):
        emit(await asyncio.to_thread(threading.get_ident))

    before = threading.active_count()
    (ident,) = iterate(in_thread)
    assert ident != threading.get_ident()
    assert threading.active_count() == before
