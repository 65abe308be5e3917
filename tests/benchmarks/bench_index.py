"""Time and memory of indexing, searching and encoding, by the number of documents.

    python tests/benchmarks/bench_index.py [--documents 50000 200000 500000] [--encode 20000 80000] [--work FOLDER]

Passages of 56 words whose frequencies follow Zipf's law are registered with ir_datasets; `expandr index`, `search` and
`encode` run on them, each in a process of its own, whose peak of resident memory (Python, Java's heap and what Lucene
maps) is the system's own figure. The encoder is random and tiny: what counts is its memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
WORDS, TOPICS = 56, 100


def synthesize(folder: Path, documents: int) -> None:
    """Writes docs-N.tsv and topics.tsv."""
    rng = random.Random(1)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 10))) for _ in range(100_000)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))
    with (folder / f"docs-{documents}.tsv").open("w") as file:
        for number in range(documents):
            file.write(f"{number}\t{' '.join(rng.choices(vocabulary, cum_weights=weights, k=WORDS))}\n")
    with (folder / "topics.tsv").open("w") as file:
        for number in range(TOPICS):
            file.write(f"{number}\t{' '.join(rng.choices(vocabulary[100:5000], k=6))}\n")


def child(docs: str, name: str, argv: list[str]) -> None:
    """Runs one command line on a registered data set, and prints what it took as JSON on the last line."""
    import ir_datasets

    from expandr_ir import jvm
    from expandr_ir.cli import main

    ir_datasets.registry.register(name, ir_datasets.create_dataset(docs_tsv=docs))
    started = time.perf_counter()
    code = main(argv)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "code": code,
        "seconds": seconds,
        "cpu_s": used.ru_utime + used.ru_stime,
        "rss_mb": _peak_rss_mb(),
        "heap_mb": _java_heap_mb() if jvm._started_in else 0,
    }
    print(json.dumps(found))


def _peak_rss_mb() -> int:
    """The most memory that was resident; getrusage would count what the parent process had."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) // 1024


def _java_heap_mb() -> int:
    """The sum of the peaks of Java's heap pools."""
    from jnius import autoclass, cast

    pools = autoclass("java.lang.management.ManagementFactory").getMemoryPoolMXBeans().toArray()
    beans = [cast("java.lang.management.MemoryPoolMXBean", pool) for pool in pools]
    return sum(bean.getPeakUsage().getUsed() for bean in beans if bean.getType().name() == "HEAP") // 2**20


def run(work: Path, documents: int, *argv: str) -> dict[str, float]:
    """What `child` printed; the command must succeed."""
    env = os.environ | {
        "EXPANDR_HOME": str(work / "home"),
        "IR_DATASETS_HOME": str(work / "irds"),
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")]),
    }
    arguments = ["--child", str(work / f"docs-{documents}.tsv"), f"passages-{documents}", *argv]
    done = subprocess.run([sys.executable, __file__, *arguments], env=env, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"code": done.returncode}
    if found["code"] != 0:
        raise SystemExit(done.stderr)
    return found


def row(documents: int, what: str, found: dict[str, float]) -> None:
    """Prints one line of the table."""
    cells = [f"{documents:,}", what, *(f"{found[name]:.1f}" for name in ("seconds", "cpu_s"))]
    cells += [f"{documents / found['cpu_s']:,.0f}", *(str(found[name]) for name in ("rss_mb", "heap_mb"))]
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    if "--child" in sys.argv[1:2]:
        child(sys.argv[2], sys.argv[3], sys.argv[4:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, nargs="*", default=[50_000, 200_000, 500_000])
    parser.add_argument("--encode", type=int, nargs="*", default=[20_000, 80_000])
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        print("| documents | | seconds | CPU seconds | documents a CPU second | peak RSS, MB | of it Java heap, MB |")
        print("|---:|---|---:|---:|---:|---:|---:|")
        for documents in arguments.documents:
            synthesize(work, documents)
            of = ["--collection", f"irds:passages-{documents}"]
            row(documents, "index", run(work, documents, "index", *of))
            searched = ["--topics", str(work / "topics.tsv"), "--output", str(work / "bm25.run")]
            row(documents, "search 100 topics", run(work, documents, "search", *of, *searched))
        if arguments.encode:
            sys.path.insert(0, str(TESTS))
            from tiny_encoders import tiny_bert

            encoder = work / "encoder.yaml"
            encoder.write_text(f"model: {tiny_bert(work / 'encoder')}\npooling: mean\nnormalize: true\n")
        for documents in arguments.encode:
            synthesize(work, documents)
            of = ["--collection", f"irds:passages-{documents}", "--encoder", str(encoder)]
            row(documents, "encode", run(work, documents, "encode", *of))


if __name__ == "__main__":
    main()
