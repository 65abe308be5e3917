"""Commits by time: what arrives slowly is stored every few seconds, and the rest at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from expandr_ir.records import Generation

COMMIT_EVERY_S = 5.0


@contextmanager
def commits(put: Callable[[Sequence[Generation]], object]) -> Iterator[Callable[[Generation], None]]:
    """Yields `add`; what it takes goes to `put` every `COMMIT_EVERY_S` seconds, from a thread, and at the end.

    A failure of `put` is raised by the next `add`, or at the end.
    """
    waiting: list[Generation] = []
    lock, done = threading.Lock(), threading.Event()

    def commit() -> None:
        with lock:
            if waiting:
                put(waiting)
                waiting.clear()

    def commit_by_time() -> None:
        while not done.wait(COMMIT_EVERY_S):
            commit()

    with ThreadPoolExecutor(max_workers=1) as pool:
        committing = pool.submit(commit_by_time)

        def add(generation: Generation) -> None:
            if committing.done():  # before the end: it failed
                committing.result()
            with lock:
                waiting.append(generation)

        try:
            yield add
        finally:
            done.set()
            committing.exception()  # waits; what it could not put is put now, or fails now
            commit()
