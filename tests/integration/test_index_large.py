"""Fifty thousand passages of ir_datasets: memory that does not grow with them, and a run that was killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import expandr_ir

pytestmark = [pytest.mark.java, pytest.mark.slow]

CODE = """
import json, sys
import ir_datasets
from expandr_ir.cli import main
ir_datasets.registry.register("passages", ir_datasets.create_dataset(docs_tsv=sys.argv[1]))
code = main(sys.argv[2:])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"code": code, "rss_kb": int(status["VmHWM"].split()[0])}))
"""


def passages(path, count):
    """`count` passages of 56 words; passage 31337 alone has the word zanzibar."""
    rng = random.Random(7)
    words = [f"{first}{second}" for first in "bcdfghjklm" for second in map(str, range(400))]
    with path.open("w") as file:
        for number in range(count):
            text = " ".join(rng.choices(words, k=56)) + (" zanzibar" if number == 31_337 else "")
            file.write(f"p{number}\t{text}\n")
    return path


@pytest.fixture
def begin(tmp_path):
    processes = []

    def run(docs, *argv):
        env = os.environ | {
            "EXPANDR_HOME": str(tmp_path / "home"),
            "IR_DATASETS_HOME": str(tmp_path / "irds"),
            "EXPANDR_JAVA_HEAP": "128m",
            "PYTHONPATH": str(Path(expandr_ir.__file__).parents[1]),
        }
        command = [sys.executable, "-c", CODE, str(docs), *argv]
        processes.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def ended(process):
    out, err = process.communicate()
    status = json.loads(out.splitlines()[-1])
    assert status["code"] == 0, err
    return status, out, err


@pytest.mark.timeout(1500)
def test_a_killed_run_starts_anew_and_memory_does_not_grow_with_the_documents(begin, tmp_path):
    index = ("index", "--collection", "irds:passages")
    few, _, _ = ended(begin(passages(tmp_path / "few.tsv", 10_000), *index))
    docs = passages(tmp_path / "many.tsv", 50_000)
    process = begin(docs, *index)
    end = time.monotonic() + 600
    while not list(tmp_path.glob("home/indexes/.*.building/index/*.fdt")):  # Lucene writes stored fields
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    process.communicate()
    many, out, err = ended(begin(docs, *index))
    assert "starts anew" in err
    assert "50,000 documents (50,000 with text), 2,800,001 terms" in out
    assert many["rss_kb"] < 1.5 * few["rss_kb"]
    assert len(list((tmp_path / "home" / "indexes").iterdir())) == 2
    (tmp_path / "topics.tsv").write_text("1\tzanzibar\n")
    run = tmp_path / "bm25.run"
    search = ("search", "--collection", "irds:passages", "--topics", str(tmp_path / "topics.tsv"), "--output", str(run))
    ended(begin(docs, *search))
    assert [line.split()[2] for line in run.read_text().splitlines()] == ["p31337"]
