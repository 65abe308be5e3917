"""Progress where there is no terminal: a line now and then, and none where told so."""

from __future__ import annotations

import logging

import pytest

from expandr_ir import progress as module
from expandr_ir.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that each look at the clock moves on."""
    times = iter(range(0, 10_000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    monkeypatch.delenv("EXPANDR_QUIET", raising=False)
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: False, raising=False)


def test_a_line_every_30_seconds_with_rate_and_time_left(clock, caplog):
    with caplog.at_level(logging.WARNING), progress("documents encoded", 100) as advance:
        advance(10)  # 20 s after the start: no line yet
        advance(10, "3 failed")  # 40 s: 20 of 100, .5 a second, 160 s left
        advance(10)  # 20 s after that line
    assert [record.getMessage() for record in caplog.records] == [
        "documents encoded: 20 of 100, 0.5 a second, 160 s left, 3 failed"
    ]


def test_without_a_total_no_time_is_left(clock, caplog):
    with caplog.at_level(logging.WARNING), progress("samples", None) as advance:
        advance()
        advance()
    assert [record.getMessage() for record in caplog.records] == ["samples: 2, 0.05 a second"]


def test_quiet(clock, caplog, monkeypatch):
    monkeypatch.setenv("EXPANDR_QUIET", "1")
    with caplog.at_level(logging.WARNING), progress("samples", 3) as advance:
        for _ in range(3):
            advance(1, "note")
    assert not caplog.records
