"""A plain iterator over what a coroutine emits in a thread of its own, so that any caller can use it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def iterate(produce: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]]) -> Iterator[T]:
    """Yields what `produce` emits, as it comes; its error is raised after the last item.

    It runs in an event loop of its own, so the caller may be inside a running one (a notebook). Closing the iterator
    cancels the coroutine and waits until its thread has ended.

    Args:
        produce: called with the function it emits items through.
    """
    items: queue.SimpleQueue[T | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(produce(items.put))
    task.add_done_callback(lambda _: items.put(None))
    thread = threading.Thread(target=_drive, args=(loop, task), name="expandr-generator", daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not None:
            yield item
    finally:
        loop.call_soon_threadsafe(task.cancel)  # does nothing to a task that is done
        thread.join()
        loop.close()
    task.result()


def _drive(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    loop.run_until_complete(asyncio.wait([task]))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
