"""Leases: one worker a batch, and what a dead one held is free again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from expandr_ir.store import Store
from expandr_ir.store import leases as module
from expandr_ir.store.leases import Leases


def held(leases, batch="b"):
    with leases.hold(batch) as mine:
        return mine


def rows(store):
    with store.reading() as connection:
        return connection.execute("SELECT batch, owner, expires FROM leases").fetchall()


def test_one_worker_a_batch(store):
    one, other = Leases(store), Leases(store)
    with pytest.raises(KeyboardInterrupt), one.hold("b") as mine:
        assert mine
        assert not held(other)
        assert held(other, "another")
        raise KeyboardInterrupt
    assert held(other)
    assert rows(store) == []


def test_a_lease_is_extended_while_its_owner_works(store):
    one, other = Leases(store, expiry_s=0.3), Leases(store)
    with one.hold("b"):
        (before,) = rows(store)
        time.sleep(0.7)
        assert not held(other)
        (after,) = rows(store)
        assert after[2] > before[2]


def leave_behind(store, owner, expires):
    with store.transaction() as connection:
        connection.execute("INSERT INTO leases VALUES ('b', ?, ?)", (owner, expires))


def test_a_lease_of_another_machine_expires(store):
    leave_behind(store, "elsewhere|1|x", time.time() + 100)
    assert not held(Leases(store))
    with store.transaction() as connection:
        connection.execute("UPDATE leases SET expires = ?", (time.time(),))
    assert held(Leases(store))


def test_a_lease_of_a_dead_process_is_free_at_once_and_that_of_a_living_one_is_not(store):
    leave_behind(store, f"{module._machine()}|{os.getppid()}|x", time.time() + 100)
    assert not held(Leases(store))
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    with store.transaction() as connection:
        connection.execute("UPDATE leases SET owner = ?", (f"{module._machine()}|{int(ended.stdout)}|x",))
    assert held(Leases(store))


def test_a_worker_whose_lease_was_taken_over_does_not_give_it_back(store):
    one, other = Leases(store), Leases(store)
    with one.hold("b"):
        with store.transaction() as connection:
            connection.execute("UPDATE leases SET expires = 0")
        with other.hold("b") as mine:
            assert mine
            one._give_back("b")
            assert len(rows(store)) == 1


def test_a_failure_to_extend_is_not_swallowed(store, monkeypatch):
    one = Leases(store, expiry_s=0.03)

    def fail(batch, done):
        raise OSError("disk gone")

    monkeypatch.setattr(one, "_extend", fail)
    with pytest.raises(OSError, match="disk gone"), one.hold("b"):
        pass


def test_many_threads_with_their_own_connections_never_share_a_batch(tmp_path):
    at_work: dict[str, int] = {}
    taken: list[str] = []
    guard = threading.Lock()

    def work():
        with Store.open(tmp_path / "s.sqlite") as store:
            leases = Leases(store)
            for number in range(30):
                batch = f"batch {number % 3}"
                with leases.hold(batch) as mine:
                    if mine:
                        with guard:
                            at_work[batch] = at_work.get(batch, 0) + 1
                            assert at_work[batch] == 1
                            taken.append(batch)
                        time.sleep(0.001)
                        with guard:
                            at_work[batch] -= 1

    Store.open(tmp_path / "s.sqlite").close()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    assert set(taken) == {"batch 0", "batch 1", "batch 2"}
