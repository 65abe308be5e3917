"""A folder of regressions small enough to work out by hand, with texts that would break a careless page."""

from __future__ import annotations

import json
from pathlib import Path

from expandr_ir.io.manifest import write_manifest
from expandr_ir.regress.results import Result, Results, Value, write_results

HOSTILE = '</script><script>alert("x")</script> & <b>bold</b> <!-- שלום עולם'
"""A topic's, document's and expansion's text."""

NASTY = "q\"2'd <b>&amp;"
"""A condition's name."""

RUNNABLE = "expandr evaluate --collection '{data}' -m RR@10 '{run}'"
"""A command that any test can run."""


def collection(folder: Path) -> Path:
    """A BEIR folder of 4 topics; document d1 is relevant to topic 1, and so on; d9 is not, and judged so."""
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{number}", "title": f"Title {number}", "text": f"{HOSTILE} {number}"} for number in range(1, 10)
    ]
    topics = [
        {"_id": str(number), "text": f"topic {number} {HOSTILE if number == 2 else ''}"} for number in range(1, 5)
    ]
    (folder / "corpus.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in documents))
    (folder / "queries.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in topics))
    judged = "".join(f"{number}\td{number}\t1\n" for number in range(1, 5))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}1\td9\t0\n")
    return folder


def run_file(path: Path, *ranks: int | None) -> Path:
    """A run in which topic 1's relevant document has the first rank, and so on; None: it is not found."""
    lines = []
    for number, rank in enumerate(ranks, start=1):
        others = [f"d{other}" for other in range(5, 10) if other != number]
        ranked = others if rank is None else [*others[: rank - 1], f"d{number}", *others[rank - 1 :]]
        lines += [f"{number} Q0 {doc_id} {at} {10 - at}.0 tag\n" for at, doc_id in enumerate(ranked, start=1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
    return path


def value(metric: str, measured: float | None, expected: float | None = None, **other: object) -> Value:
    """A value that holds where it equals what is expected."""
    known = measured is not None and expected is not None
    same = "OK" if known and abs(measured - expected) < 1e-4 else "FAIL"
    verdict = "SKIP" if measured is None else same if known else "NEW"
    fields = {"precision": 4, "verdict": verdict, "source": "a table & <more>"} | other
    return Value(metric=metric, measured=measured, expected=expected, **fields)


def result(name: str, values: tuple[Value, ...], spec: Path, **other: object) -> Result:
    """A condition on the tiny collection."""
    fields = {
        "collection": "tiny", "title": "Tiny & <small>", "split": "test", "family": "bm25", "tier": "exact",
        "baseline": "base", "command": "expandr --version", "topics": 4,
    }  # fmt: skip
    return Result(condition=name, spec=str(spec), values=values, **fields | other)


def regressions(folder: Path, *, manifests: bool = True) -> Path:
    """RUN_DIR with a baseline, a better and a worse run, runs of 2 and 4 samples, and one that was skipped.

    RR@10: base (1 + 1/2 + 1/3 + 0) / 4, better (1 + 1 + 1 + 1/2) / 4, worse (1/2 + 1/2 + 0 + 0) / 4.
    """
    data = collection(folder / "data" / "tiny")
    expansions = folder / "expansions.jsonl"
    rows = [{"topic_id": str(number), "texts": [f"{HOSTILE} {number}", "", "long " * 400]} for number in range(1, 5)]
    expansions.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ranks = {
        "base": (1, 2, 3, None),
        NASTY: (1, 1, 1, 2),
        "worse": (2, 2, None, None),
        "n2": (1, 2, 2, None),
        "n4": (1, 1, 2, None),
    }
    reciprocal = {"base": (1 + 1 / 2 + 1 / 3) / 4, NASTY: 3.5 / 4, "worse": 1 / 4, "n2": 2 / 4, "n4": 2.5 / 4}
    recall = {"base": 3 / 4, NASTY: 1.0, "worse": 2 / 4, "n2": 3 / 4, "n4": 3 / 4}
    runs = folder / "runs"
    results = []
    for number, (name, own) in enumerate(ranks.items()):
        run = run_file(runs / "tiny" / f"run{number}.run", *own)
        if manifests:
            tokens = {"in": 100 * number, "out": 300 * number} if number else {}
            inputs = {"expansions": expansions} if number else {}
            seconds = {"search": 0.4 * (number + 1)}
            write_manifest(run, inputs=inputs, counts={"topics": 4}, seconds=seconds, tokens=tokens)
        expected = 0.9 if name == "worse" else reciprocal[name]
        first = value("RR@10", reciprocal[name], expected, published=0.9, published_source="a paper")
        results.append(
            result(
                name, (first, value("R@100", recall[name])), data, run=f"tiny/run{number}.run",
                baseline="base" if number else None, family="live" if number else "bm25",
                expansions=str(expansions) if number else None, samples=int(name[1]) if name in {"n2", "n4"} else None,
                command=RUNNABLE.format(data=data, run=run),
                pyserini=() if number else ("python -m pyserini --a 'b c'",),
            )
        )  # fmt: skip
    skipped = tuple(
        value(metric, None, 0.5, reason="the model is not here: <fetch> it") for metric in ("RR@10", "R@100")
    )
    results.append(result("dense", skipped, data, family="dense", tier="near"))
    write_results(runs, Results(results, {"expandr_ir": "0.1", "pyserini": "1.6.0", "python": "3.11"}))
    return runs
