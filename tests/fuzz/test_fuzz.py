"""A few inputs of each format, the same ones each time; `make fuzz` reads 20,000 new ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzz import Format

HERE = Path(__file__).parent


def fuzz(*words):
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)]),
    }
    command = [sys.executable, str(HERE / "fuzz.py"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.java
def test_no_mutated_file_ends_in_a_traceback_or_a_signal():
    done = fuzz("--inputs", "15", "--seed", "1")
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-3_000:]


def write(folder):
    (folder / "x.txt").write_text("a b c\nd e f\n")


def unless_valid(fault):
    """A reader with a fault, which shows where the file is not as it was written."""
    return Format(write, lambda folder: (folder / "x.txt").read_text() == "a b c\nd e f\n" or fault(), wall_s=1.0)


FORMATS = {
    "good": Format(write, lambda folder: None),
    "ZeroDivisionError": unless_valid(lambda: 1 / 0),
    "MemoryError": unless_valid(lambda: bytearray(1 << 34)),
    "SIGSEGV": unless_valid(lambda: os.kill(os.getpid(), signal.SIGSEGV)),
    "more than its time": unless_valid(lambda: time.sleep(9)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_reader_does_wrong_is_found(name):
    done = fuzz("--table", "test_fuzz", "--inputs", "3", "--seed", "1", name)
    assert done.returncode == (name != "good"), done.stderr
    assert "3 inputs" in done.stdout
    if name != "good":
        assert f"  {name}" in done.stdout
