"""Leases of batches: processes that share a store share the work, and a dead one holds nothing."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from expandr_ir.store.store import Store

EXPIRY_S = 60.0


class Leases:
    """The leases of one worker: given up after `expiry_s` seconds, extended in a third of that while it works."""

    def __init__(self, store: Store, expiry_s: float = EXPIRY_S) -> None:
        self._store, self._expiry_s = store, expiry_s
        self._owner = f"{_machine()}|{os.getpid()}|{uuid.uuid4().hex}"

    @contextmanager
    def hold(self, batch: str) -> Iterator[bool]:
        """Yields True where this worker has the batch to itself until the block ends, False where another one has it.

        Raises:
            ExpandrError: the store cannot be written.
        """
        if not self._take(batch):
            yield False
            return
        done = threading.Event()
        with ThreadPoolExecutor(max_workers=1) as pool:
            extending = pool.submit(self._extend, batch, done)
            try:
                yield True
            finally:
                done.set()
                self._give_back(batch)
        extending.result()

    def _take(self, batch: str) -> bool:
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM leases WHERE expires <= ?", (time.time(),))
            owner = connection.execute("SELECT owner FROM leases WHERE batch = ?", (batch,)).fetchone()
            if owner and not _is_dead(*owner):
                return False
            lease = (batch, self._owner, time.time() + self._expiry_s)
            connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", lease)
            return True

    def _extend(self, batch: str, done: threading.Event) -> None:
        extend = "UPDATE leases SET expires = ? WHERE batch = ? AND owner = ?"
        while not done.wait(self._expiry_s / 3):
            with self._store.transaction() as connection:
                connection.execute(extend, (time.time() + self._expiry_s, batch, self._owner))

    def _give_back(self, batch: str) -> None:
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM leases WHERE batch = ? AND owner = ?", (batch, self._owner))


def _machine() -> str:
    """Returns this host and, on Linux, this container: process ids mean nothing outside of it."""
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {space.readlink() if space.exists() else ''}"


def _is_dead(owner: str) -> bool:
    """Returns True where a lease's owner is known to have ended; one on another machine is not known."""
    machine, process, _ = owner.rsplit("|", 2)
    if machine == _machine() and os.name == "posix":
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # it runs, under another user
            return False
    return False
