"""Expanding while processes are killed, interrupted, doubled, and run out of disk: real processes on one store."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path

import pytest

import expandr_ir
from expandr_ir.errors import ExpandrError
from expandr_ir.expanders import ExpandOptions
from expandr_ir.expanders.plan import Plan
from expandr_ir.prompts import Prompt
from expandr_ir.records import Decoding, Generation, GeneratorId, Topic
from expandr_ir.store import Store
from expandr_ir.store.verify import verify

TOPICS = 40
BATCH = 4


class SlowWriter:
    """Waits until so many processes have a batch; logs each sample when it is done, in one file for all of them."""

    def __init__(self, log, delay_s, words, together):
        self.id = GeneratorId("fake", "slow")
        self.log, self.delay_s, self.words, self.together = log, delay_s, words, together

    def generate(self, requests):
        self.log.with_name(f"at_work.{os.getpid()}").touch()
        while len(list(self.log.parent.glob("at_work.*"))) < self.together:
            time.sleep(0.005)
        for request in requests:
            for sample in request.samples:
                time.sleep(self.delay_s)
                with self.log.open("a") as log:
                    log.write(f"{os.getpid()} {request.topic.topic_id}\n")
                text = answer(request.topic.topic_id, self.words)
                yield Generation(sample.key, text, "stop", 3, self.words + 2, self.delay_s, "fake 1")


def work(arguments):
    """One process: plans and expands all topics, and prints what it got."""
    topics = {str(number): Topic(str(number), f"subject {number}") for number in range(TOPICS)}
    writer = SlowWriter(arguments.log, arguments.delay, arguments.words, arguments.together)
    prompt = Prompt(id="p", version=1, source="here", user="{topic}")
    if arguments.user:
        os.seteuid(arguments.user)
    try:
        with Store.open(arguments.store) as store:
            options = ExpandOptions(batch_samples=BATCH)
            expanded = Plan(topics, prompt, writer, Decoding(), 1, store, options=options).generate()
    except ExpandrError as error:
        sys.exit(f"{error.exit_code}: {error}")
    texts = {one.topic.topic_id: [expansion.text for expansion in one.expansions] for one in expanded.values()}
    print(json.dumps({"texts": texts, "generated": expanded.counts["generated"], "stored": expanded.counts["stored"]}))


def start(folder, delay_s=0.02, words=1, user=None, store=None, together=0):
    command = [sys.executable, __file__, "--store", store or folder / "s.sqlite", "--log", folder / "log"]
    command += ["--delay", str(delay_s), "--words", str(words), "--together", str(together)]
    command += ["--user", str(user)] if user else []
    search = os.pathsep.join(
        [str(Path(expandr_ir.__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    )
    return subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": search},
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out)


def logged(folder):
    path = folder / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(line.split()) for line in lines]


def wait_for(folder, lines, process):
    while len(logged(folder)) < lines:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def answer(topic_id, words=1):
    return " ".join([f"about {topic_id}", *(f"word{number}" for number in range(words))])


def all_texts():
    return {str(number): [answer(number)] for number in range(TOPICS)}


def assert_whole(path):
    with Store.open(path) as store:
        assert len(store) == TOPICS
        assert verify(store) == []


def twice(folder):
    """The topics that were generated more than once, as sorted numbers."""
    counts = Counter(topic for _, topic in logged(folder))
    assert len(counts) == TOPICS
    return sorted(int(topic) for topic, count in counts.items() if count > 1)


def test_killed_and_started_again(tmp_path):
    kills = (6, 15, 23)
    for lines in kills:
        process = start(tmp_path, delay_s=0.01)
        wait_for(tmp_path, lines, process)
        process.kill()
        process.wait()
    before = time.monotonic()
    last = finish(start(tmp_path, delay_s=0.0))
    assert time.monotonic() - before < 20  # nobody waits for a dead process's lease to run out
    assert last["texts"] == all_texts()
    assert len({topic // BATCH for topic in twice(tmp_path)}) <= len(kills)  # the batches in flight, and nothing else
    assert_whole(tmp_path / "s.sqlite")


def test_two_at_once_share_the_work(tmp_path):
    one, other = (start(tmp_path, together=2) for _ in range(2))
    results = [finish(one), finish(other)]
    assert [result["texts"] for result in results] == [all_texts(), all_texts()]
    assert twice(tmp_path) == []
    assert all(result["generated"] > 0 for result in results)
    assert sum(result["generated"] for result in results) == TOPICS
    assert {result["generated"] + result["stored"] for result in results} == {TOPICS}
    batches = {int(topic) // BATCH: set() for _, topic in logged(tmp_path)}
    for process, topic in logged(tmp_path):
        batches[int(topic) // BATCH].add(process)
    assert all(len(processes) == 1 for processes in batches.values())
    assert_whole(tmp_path / "s.sqlite")


def test_one_of_three_is_killed(tmp_path):
    processes = [start(tmp_path, together=3) for _ in range(3)]
    wait_for(tmp_path, 9, processes[0])
    processes[0].kill()
    processes[0].wait()
    for process in processes[1:]:
        assert finish(process)["texts"] == all_texts()
    assert len({topic // BATCH for topic in twice(tmp_path)}) <= 1
    assert_whole(tmp_path / "s.sqlite")


def test_ctrl_c_keeps_all_that_was_done(tmp_path):
    first = start(tmp_path, delay_s=0.03)
    wait_for(tmp_path, 10, first)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=30)
    assert "KeyboardInterrupt" in err
    with Store.open(tmp_path / "s.sqlite") as store:
        kept = len(store)
    assert len(logged(tmp_path)) - kept in (0, 1)  # 1: it came between the log's line and the answer
    assert finish(start(tmp_path, delay_s=0.0))["generated"] == TOPICS - kept
    assert len(twice(tmp_path)) <= 1


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk(tmp_path, small_disk):
    store, words = small_disk / "s.sqlite", 4000
    process = start(tmp_path, delay_s=0.0, words=words, store=store)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "\n6: " in f"\n{err}"
    assert "no space is left" in err
    assert "Traceback" not in err
    done = len(logged(tmp_path))
    assert 0 < done < TOPICS
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert finish(start(tmp_path, delay_s=0.0, words=words, store=store))["texts"].keys() == all_texts().keys()
    assert len({topic // BATCH for topic in twice(tmp_path)}) <= 1
    assert_whole(store)


@pytest.mark.parametrize("there", [False, True], ids=["new store", "store there"])
def test_a_read_only_folder(there):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "s.sqlite"
        if there:
            Store.open(path).close()
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        process = start(folder, user=65534 if os.geteuid() == 0 else None)
        _, err = process.communicate(timeout=60)
        folder.chmod(stat.S_IRWXU)
        assert process.returncode == 1
        assert "\n6: " in f"\n{err}"
        assert "may write" in err or "can be written" in err
        assert "EXPANDR_STORE" in err
        assert [entry.name for entry in folder.iterdir()] == (["s.sqlite"] if there else [])


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--store", type=Path)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--delay", type=float)
    parser.add_argument("--words", type=int)
    parser.add_argument("--user", type=int)
    parser.add_argument("--together", type=int, help="write when so many processes have a batch")
    work(parser.parse_args())
