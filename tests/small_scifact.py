"""The layout of the real data that the proofs read, with forty documents of a few words."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

WORDS = ["zinc", "flea", "aspirin", "deque", "bird", "vitamin", "egg", "log", "heart", "cold", "song", "evidence"]
MORE = "stand in one document, and nobody knows why"


def lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def small_data(folder: Path) -> Path:
    """The layout that the script reads, with a document for each pair of words."""
    pairs = [(one, other) for one in WORDS for other in WORDS if one < other][:40]
    documents = [
        {"_id": f"d{at}", "title": f"{one} {other}", "text": f"{one} and {other} {MORE}"}
        for at, (one, other) in enumerate(pairs)
    ]
    topics = [{"_id": str(at), "text": f"what of {one} with {other}"} for at, (one, other) in enumerate(pairs)]
    lines(folder / "beir/scifact/corpus.jsonl.gz", documents)
    lines(folder / "beir/scifact/queries.jsonl", topics)
    (folder / "beir/scifact/qrels").mkdir()
    for split, numbers in (("train", range(30)), ("test", range(30, 40))):
        judged = "".join(f"{at}\td{at}\t1\n" for at in numbers)
        (folder / f"beir/scifact/qrels/{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    rows = [
        {"query_id": str(at), "query": topics[at]["text"], "pos": [documents[at]["text"]],
         "neg": [documents[(at + 3) % 40]["text"]]}
        for at in range(30)
    ]  # fmt: skip
    lines(folder / "train/scifact_train_bm25neg.jsonl.gz", rows)
    written = [{"topic_id": str(at), "text": f"{one} and {other} they say"} for at, (one, other) in enumerate(pairs)]
    lines(folder / "expansions/scifact-train/passage.llm-2026.jsonl.gz", written[:30])
    lines(folder / "expansions/scifact/query2doc-zs.gpt-4.1.jsonl.gz", written[30:])
    return folder
