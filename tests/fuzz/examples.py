"""Valid content of the formats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from expandr_ir.config import conf_dir
from expandr_ir.io.runs import Run
from expandr_ir.records import Hits, Topic


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


TOPICS = {"1": Topic("1", "what do cats chase"), "2": Topic("2", "who eats cheese")}
RUN = Run({"1": Hits(["d1", "d3"], [2.5, 1.25]), "2": Hits(["d3", "d1", "d2"], [3.0, 3.0, -1.0])}, name="bm25")
VECTORS = np.array([[0.6, 0.8], [1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
IDS = ["d1", "d2", "d3"]
DOCUMENTS = [{"_id": doc_id, "title": "Cats", "text": f"text of {doc_id}, é"} for doc_id in IDS]
PREFERENCE = {
    "row_id": "1",
    "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "what do cats chase"}],
    "chosen": [{"role": "assistant", "content": "mice"}],
    "rejected": [{"role": "assistant", "content": "dogs"}],
    "rewards": {"chosen": 1.5, "rejected": 0.25},
}
STORED = [
    {
        "messages": [{"role": "user", "content": f"Write about {name}"}],
        "generator": {"engine": "api", "model": "m", "revision": None, "adapter": None},
        "decoding": {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 64, "stop": ["\n\n"], "seed": 1},
        "sample": sample,
        "text": f"text {sample} about {name}",
        "prompt": "passage@1",
        "finish_reason": reason,
        "tokens_in": 12,
        "tokens_out": 34,
        "seconds": 0.5,
        "engine_version": "x 1.0",
        "error": error,
        "created": "2026-01-01T00:00:00.000000+00:00",
        "verbatim": False,
    }
    for name in ("cats", "cheese")
    for sample, reason, error in ((0, "stop", None), (1, "length", None), (2, "error", "no answer"))
]
ANSWER = {
    "id": "c",
    "model": "m",
    "system_fingerprint": "f",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "mice <think>x</think>"}, "finish_reason": "stop"},
        {"index": 1, "message": {"role": "assistant", "content": "dogs", "reasoning": "r"}, "finish_reason": "length"},
        {
            "index": 2,
            "message": {"role": "assistant", "content": None, "refusal": "no"},
            "finish_reason": "content_filter",
        },
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 1}},
}
RESULT = {
    "collection": "toy",
    "title": "Toy",
    "spec": "/data/toy",
    "split": "test",
    "condition": "bm25-flat",
    "about": "BM25",
    "family": "bm25",
    "tier": "exact",
    "baseline": None,
    "command": "expandr search --collection /data/toy --output bm25-flat.run",
    "pyserini": ["python -m pyserini.search.lucene"],
    "topics": 3,
    "samples": 2,
    "seconds": 1.5,
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "values": [
        {
            "metric": "nDCG@10",
            "precision": 4,
            "measured": 0.5123,
            "expected": 0.5,
            "tolerance": 0.0,
            "source": "a paper",
            "verdict": "FAIL",
            "reason": "higher",
        },
        {
            "metric": "R@100",
            "precision": 4,
            "published": 0.7,
            "published_source": "a paper",
            "verdict": "SKIP",
            "reason": "no data",
        },
    ],
}
TESTED = {
    "toy": {
        "hyde": {
            "contrasts": {
                "nDCG@10": {"difference": -0.01, "p_holm": 1.0, "wins": 1, "ties": 1, "losses": 1, "family": 2}
            },
            "cost": {"seconds": 0.5, "tokens": 3.0},
            "notes": ["a note"],
        }
    }
}
CONDITIONS = """\
tiers: {exact: 0, near: 0.002, live: 0.02, training: 0.02, published: 0}
metrics:
  nDCG@10: {precision: 4, trec_eval: "-c -m ndcg_cut.10"}
sources: {pyserini: "Pyserini 2.3.0"}
conditions:
  bm25-flat: {about: BM25, family: bm25, tier: exact, search: {fields: flat, k1: 0.9}}
  frozen:
    name: "{method}.{llm}"
    vary: {method: [a, b], llm: [x, y]}
    about: what {method} by {llm} wrote
    family: frozen
    tier: exact
    expansions: "{method}.{llm}.jsonl"
sets: {plain: [bm25-flat]}
"""
COLLECTION = """\
title: Toy
folder: toy
statistics: {flat: {documents: 3, terms: [1, 2]}}
metrics: [nDCG@10]
sets: [plain]
values:
  - {source: pyserini, rows: {bm25-flat: [0.5]}}
  - {source: "a paper, Table 1", tolerance: 0.01, rows: {a.x: [0.9]}}
published: [{source: "another paper", rows: {b.y: [null]}}]
"""
EXPANDER = """\
source: mine
prompts: {first: passage}
prompt_by_collection: {scifact: passage-scientific-claim}
generator: echo
temperature: 0.7
stop: ["\\n\\n"]
samples: 2
passages: 3
retriever: hybrid
sparse_aggregation: repeat
sparse: {repeats: 5}
dense_aggregation: weighted
dense: {weight: 0.8}
encoder: all-MiniLM-L6-v2
fusion: rrf
with_topics_alone: true
"""
GENERATOR = """\
engine: api
model: my-model
revision: null
prompt: passage
decoding: {temperature: 0.7, top_p: 0.9, max_new_tokens: 100, stop: ["\\n"], seed: 1}
local: {device: cpu, batch_size: 8}
vllm: {gpu_memory_utilization: 0.5, max_model_len: 4096}
api: {base_urls: ["http://localhost:8000/v1"], api_key_env: null, timeout_s: 2e1, extra_body: {top_k: 5, x: {y: [1]}}}
notes: none
"""
TRAINING = """\
preferences: prefs
model: small
output: out
lora: {r: 16}
dpo: {learning_rate: 1e-3, num_train_epochs: 1, loss_type: [sigmoid, sft]}
heldout: {rows: rows.jsonl, queries: 10}
generator: echo
"""


QRELS_TSV = "query-id\tcorpus-id\tscore\n1\td1\t2\n2\td3\t1\n"
TSV = "".join(f"{topic_id}\t{topic.text}\n" for topic_id, topic in TOPICS.items())
JSONL = json_lines({"_id": topic_id, "text": topic.text, "metadata": {}} for topic_id, topic in TOPICS.items())
PYSERINI = json.dumps({topic_id: {"title": topic.text} for topic_id, topic in TOPICS.items()})
JUDGED = [{"query-id": topic_id, "corpus-id": doc_id, "score": 1} for topic_id, doc_id in (("1", "d1"), ("2", "d3"))]
QRELS_TREC = "1 0 d1 2\n1 0 d2 0\n2 0 d3 1\n"
TREC_RUN = "1 Q0 d1 1 2.500000 x\n1 Q0 d3 2 1.25 x\n2 Q0 d3 1 3e0 x\n2 Q0 d1 2 3e0 x\n"
EXPANSIONS = json_lines(
    [
        {
            "topic_id": "1",
            "sample": 0,
            "topic_text": "what do cats chase",
            "text": "mice",
            "raw": " mice",
            "reasons": ["strip"],
            "key": "k",
            "tokens_in": 3,
            "tokens_out": 4,
            "seconds": 0.5,
            "other": {"x": [1]},
        },
        {"topic_id": "2", "texts": ["cats", ""], "query": "who eats cheese", "query_repeats": 3},
        {"topic_id": "2", "sample": 5, "text": "", "finish_reason": "error"},
        {"topic_id": "9", "text": "of another topic"},
    ]
)
ROWS = json_lines(
    {"query_id": number, "query": f"q {number}", "positive": ["p", "é"], "negatives": "n"} for number in range(4)
) + json_lines({"query": f"r {number}", "pos": "p", "neg": None} for number in range(4))
PROMPT = (conf_dir() / "prompts" / "passage-few-shot.yaml").read_text(encoding="utf-8")
ENCODER = (conf_dir() / "encoders" / "bge-base-en-v1.5.yaml").read_text(encoding="utf-8")
DOWNLOADS = """\
groups:
  a:
    url: https://x.org/{path}
    file: beir/{name}
    then: unzip
    licence: each its own
    source: a list
    items:
      one: {path: one.zip, md5: 444067daf65d982533ea17ebd59501e4, size: 3}
      two: {sha256: null, md5: 444067daf65d982533ea17ebd59501e4}
  b:
    {url: "https://x.org/{name}", file: "{name}", then: query2doc, licence: l, source: s, unverified: u, items: {c: {}}}
"""
