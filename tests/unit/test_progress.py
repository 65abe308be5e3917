"""Progress where there is no terminal: a line now and then, and none where told so."""

from __future__ import annotations

import logging
import os
import re
import time

import pytest

from expandr_ir import progress as module
from expandr_ir.cli import main
from expandr_ir.progress import progress, quiet


@pytest.fixture
def log_file(monkeypatch, caplog):
    """No terminal, and a line every 20 ms."""
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.02)
    monkeypatch.delenv("EXPANDR_QUIET", raising=False)
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.WARNING):
        yield lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("done", "total", "seconds", "note", "line"),
    [
        (20, 100, 40.0, "3 failed", "20 of 100, 0.5 a second, 160 s left, 3 failed"),
        (0, 1234, 30.0, "", "0 of 1,234, 0 a second"),
        (2, None, 40.0, "", "2, 0.05 a second"),
        (4, 4, 2.0, "", "4 of 4, 2 a second, 0 s left"),
    ],
)
def test_a_line_has_rate_and_time_left(done, total, seconds, note, line):
    assert module._line(done, total, seconds, note) == line


def wait_for(lines, pattern):
    end = time.monotonic() + 10
    while not any(re.match(pattern, line) for line in lines()):
        assert time.monotonic() < end, lines()
        time.sleep(0.005)


def test_lines_come_while_a_step_takes_long(log_file):
    with progress("samples", 40) as advance:
        wait_for(log_file, r"samples: 0 of 40, 0 a second$")
        advance(10, "3 failed")
        wait_for(log_file, r"samples: 10 of 40, .* a second, .* s left, 3 failed$")
    count = len(log_file())
    time.sleep(0.06)
    assert len(log_file()) == count


@pytest.mark.parametrize("by_option", [True, False])
def test_quiet(log_file, monkeypatch, by_option):
    if not by_option:
        monkeypatch.setenv("EXPANDR_QUIET", "1")
    with quiet(by_option):
        assert os.environ["EXPANDR_QUIET"] == "1"
        with progress("samples", 3) as advance:
            advance(1, "note")
            time.sleep(0.06)
    assert not log_file()
    assert os.environ.get("EXPANDR_QUIET") == (None if by_option else "1")


@pytest.mark.parametrize("words", [[], ["--quiet"]])
def test_every_verb_takes_quiet(log_file, tmp_path, monkeypatch, words):
    monkeypatch.setenv("EXPANDR_STORE", str(tmp_path / "store.sqlite"))
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0001)
    line = ["expand", "--collection", "demo", "--generator", "echo", "--output", str(tmp_path / "e.jsonl"), *words]
    assert main(line) == 0
    assert any("samples: " in line for line in log_file()) == (not words)
