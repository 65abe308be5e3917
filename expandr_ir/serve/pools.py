"""Threads for one kind of work, so that slow work of another kind does not keep it waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from expandr_ir.serve.faults import BusyError, LateError

T = TypeVar("T")


class Pool:
    """A number of threads, of calls that may wait for one, and of seconds that a call may take."""

    def __init__(self, work: str, threads: int, waiting: int, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._work, self._most = work, threads + waiting
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"expandr-{work}")
        self._lock, self._calls = threading.Lock(), 0

    def submit(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """The call's result to come.

        Raises:
            BusyError: too many calls wait already.
        """
        with self._lock:
            if self._calls >= self._most:
                busy = f"{self._calls} {self._work} are under way or wait"
                raise BusyError(busy, retry_after_s=1, expected=f"at most {self._most}", remedy="ask again in a moment")
            self._calls += 1
        future = self._threads.submit(function, *arguments)
        future.add_done_callback(self._done)  # not of the asyncio future, which ends while its thread still works
        return asyncio.wrap_future(future)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """The call's result.

        Raises:
            BusyError: too many calls wait already.
            LateError: it took too long; a call that has not begun is dropped.
        """
        try:
            return await asyncio.wait_for(self.submit(function, *arguments), self.timeout_s)
        except TimeoutError as error:
            raise self.late() from error

    def late(self) -> LateError:
        """The error of a call that took too long."""
        return LateError(f"no answer within {self.timeout_s:g} s ({self._work})", remedy="ask for less at once")

    def close(self) -> None:
        """Drops the calls that wait; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self._calls -= 1
