"""kill -9 at random moments of expand, encode and preferences: what is taken up again ends as an unbroken run.

`python tests/integration/test_kills.py --kills 50` prints where the kills fell; the test makes ten.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from tiny_encoders import sentence_transformers_folder, tiny_bert  # noqa: E402
from tiny_models import tiny_llama  # noqa: E402

from expandr_ir.io.files import read_jsonl  # noqa: E402
from expandr_ir.store import Store  # noqa: E402
from expandr_ir.store.verify import verify  # noqa: E402

WORDS = ["aspirin", "heart", "attack", "flea", "egg", "adult", "zinc", "cold", "vitamin", "deque", "log", "memory"]
TOPICS, DOCUMENTS = 64, 20_000


def words(name: str, count: int) -> str:
    """Some words, drawn from a name."""
    return " ".join(WORDS[byte % len(WORDS)] for byte in hashlib.sha256(name.encode()).digest()[:count])


def prepare(folder: Path) -> None:
    """Models, topics, rows and a collection."""
    tiny_llama(folder / "llm")
    tiny_bert(folder / "bert")
    sentence_transformers_folder(folder / "encoder", folder / "bert", pooling="mean", normalize=True)
    (folder / "topics.tsv").write_text("".join(f"t{n}\twhat of {words(f't{n}', 4)} {n}\n" for n in range(TOPICS)))
    rows = [
        {"id": f"r{n}", "query": f"what of {words(f'q{n}', 4)} {n}", "positive": words(f"p{n}", 9)}
        for n in range(TOPICS)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "collection").mkdir()
    documents = [{"_id": f"d{n}", "title": "", "text": words(f"d{n}", 30)} for n in range(DOCUMENTS)]
    (folder / "collection" / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in documents))
    (folder / "collection" / "queries.jsonl").write_text(json.dumps({"_id": "1", "text": "flea"}) + "\n")


def commands(folder: Path) -> dict[str, list[str]]:
    """Each verb with its options, but the store and the output."""
    llm = ["--generator", f"local:{folder / 'llm'}", "--generator.local.batch_size", "8"]
    llm += ["--generator.local.device", "cpu", "--generator.local.dtype", "float32"]
    llm += ["--generator.decoding.max_new_tokens", "24", "--batch-samples", "16"]
    return {
        "expand": ["expand", "--topics", str(folder / "topics.tsv"), "--samples", "4", *llm],
        "encode": [
            *("encode", "--collection", str(folder / "collection"), "--encoder", str(folder / "encoder")),
            *("--shard-documents", "64", "--encode.precision", "float32"),
        ],
        "preferences": [
            *("train", "preferences", "--rows", str(folder / "rows.jsonl"), "--encoder", str(folder / "encoder")),
            *("--temperatures", "0.8", "--samples", "3", "--threshold", "none", "--compare.shard_texts", "32", *llm),
        ],
    }


def result(verb: str, output: Path) -> object:
    """What must be the same: texts with topic, sample and key; the bytes of vectors and ids, or of the preferences."""
    if verb == "expand":
        return [
            (row["topic_id"], row["sample"], row.get("raw", row["text"]), row["key"]) for _, row in read_jsonl(output)
        ]
    files = output.glob("*.npy") if verb == "encode" else [output / "preferences.jsonl", output / "summary.json"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["expandr_ir.cli", "sentence_transformers", "transformers.models.llama.modeling_llama"])
"""Each process begins with these imported: the time to be killed in is that of the work."""


def call_main(words: list[str], log: Path) -> None:
    """In a process of its own: the command, its output in a file."""
    from expandr_ir.cli import main

    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["EXPANDR_HOME"] = str(log.parent)
    sys.exit(main(words))


class Run:
    """A command on a store and an output of its own."""

    def __init__(self, verb: str, command: list[str], folder: Path) -> None:
        self.verb, self.store = verb, folder / "store.sqlite"
        self.output = folder / ("expansions.jsonl" if verb == "expand" else "out")
        store = [] if verb == "encode" else ["--store", str(self.store)]
        self._words, self._log = [*command, *store, "--output", str(self.output)], folder / "log"

    def start(self) -> ForkServerProcess:
        self._log.parent.mkdir(exist_ok=True)
        process = FORKS.Process(target=call_main, args=(self._words, self._log))
        process.start()
        return process

    def finish(self) -> object:
        """The result, once the command is done."""
        process = self.start()
        process.join()
        assert process.exitcode == 0, self._log.read_text()[-3000:]
        return result(self.verb, self.output)

    def progress(self) -> int:
        """Samples that are stored, or shards that are there; a store that is damaged is a failure."""
        if self.verb == "encode":
            return len(list(self.output.glob("*.vectors.npy")))
        if not self.store.is_file():
            return 0
        with Store.open(self.store) as store:
            assert verify(store) == []
            return len(store)

    def is_begun(self) -> bool:
        return self.store.is_file() or self.output.exists()


def kill(folder: Path, kills: int, seed: int, tell: Callable[[str], object]) -> Counter[str]:
    """Kills each verb in turn, taking it up again and again until it is done; then anew. Returns where kills fell."""
    prepare(folder)
    random_, fell = random.Random(seed), Counter[str]()
    for place, (verb, command) in enumerate(commands(folder).items()):
        whole = Run(verb, command, folder / f"{verb}-whole")
        whole.finish()  # the first one loads what the others share
        shutil.rmtree(folder / f"{verb}-whole")
        began = time.monotonic()
        expected, seconds = whole.finish(), time.monotonic() - began
        share, killed, ended = kills // 3 + (place < kills % 3), 0, 0
        while killed < share:
            run = Run(verb, command, folder / f"{verb}-{ended}")
            while killed < share:
                process = run.start()
                moment = random_.uniform(0.1, 1) * seconds
                process.join(moment)
                if process.exitcode is not None:
                    break
                process.kill()
                process.join()
                done, killed = run.progress(), killed + 1
                fell[f"{verb}: {'at work' if run.is_begun() else 'before its work'}"] += 1
                tell(f"{verb}, kill {killed} after {moment:.1f} of {seconds:.1f} s: {done} stored")
            assert run.finish() == expected, f"{verb}: another result after {killed} kills"
            ended += 1
            shutil.rmtree(folder / f"{verb}-{ended - 1}")
        fell[f"{verb}: results compared"] = ended
    return fell


@pytest.mark.slow
def test_ten_kills(tmp_path):
    fell = kill(tmp_path, 10, seed=int(time.time()), tell=print)
    assert sum(count for name, count in fell.items() if "compared" not in name) == 10
    assert all(fell[f"{verb}: results compared"] for verb in ("expand", "encode", "preferences"))


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        for name, count in kill(Path(place), arguments.kills, arguments.seed, print).items():
            print(f"{name}: {count}")
