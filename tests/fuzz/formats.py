"""The formats that users hand over: how valid files of each are written, and what the verbs do with them."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from fuzz import Format

from expandr_ir.cli.evaluate import CompareOptions, EvaluateOptions, compare, evaluate
from expandr_ir.cli.parser import parse
from expandr_ir.cli.table import VERBS
from expandr_ir.collections import load_collection
from expandr_ir.config import conf_dir
from expandr_ir.encoders import encoder_config
from expandr_ir.errors import ExpandrError
from expandr_ir.expanders.config import expander_config
from expandr_ir.generators import load_generator
from expandr_ir.generators.completions import Fault, read_answer
from expandr_ir.generators.vllm import max_lora_rank
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import write_jsonl
from expandr_ir.io.manifest import generation_costs, manifest_path, write_manifest
from expandr_ir.io.runs import Run, read_run, write_run
from expandr_ir.io.topics import read_topics, write_topics_json
from expandr_ir.prompts import load_prompt
from expandr_ir.records import (
    Decoding,
    Document,
    Generation,
    GenerationRequest,
    GeneratorId,
    Hits,
    Message,
    SampleKey,
    Topic,
)
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.regress.downloads import items, query2doc_rows, querygym_rows, unzip_folder
from expandr_ir.report import ReportOptions, report
from expandr_ir.retrievers.encode import encode_corpus
from expandr_ir.retrievers.nearest import open_dense
from expandr_ir.retrievers.vectors import CorpusVectors, open_vectors
from expandr_ir.store import Store, archive
from expandr_ir.store.verify import VerifyOptions, verify_store
from expandr_ir.train.align.preference_files import check_provenance, read_preferences
from expandr_ir.train.data.rows import read_rows
from expandr_ir.train.data.split import SplitOptions, split
from expandr_ir.train.run_folder import weights_manifest

MEASURES = ["nDCG@10", "AP", "R@100", "P(rel=2)@10", "Judged@10", "NumRel"]
TOPICS = {"1": Topic("1", "what do cats chase"), "2": Topic("2", "who eats cheese")}
QRELS = {"1": {"d1": 2, "d2": 0}, "2": {"d3": 1}}
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


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def texts(files: Mapping[str, str]) -> Callable[[Path], None]:
    """Writes valid files; .gz is compressed."""

    def write(folder: Path) -> None:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(text.encode(), 1, mtime=0) if name.endswith(".gz") else text.encode())

    return write


def one(name: str, text: str, read: Callable[[Path], object]) -> Format:
    """A format of a single file."""
    return Format(texts({name: text}), lambda folder: read(folder / name))


def read_topics_file(path: Path) -> None:
    topics = read_topics(path)
    write_topics_json(path.with_name("out.json"), {topic_id: topic.text for topic_id, topic in topics.items()})


def judge(path: Path) -> None:
    write_run(path.with_name("bm25.run"), RUN, "x")
    evaluate(EvaluateOptions(qrels=str(path), runs=[str(path.with_name("bm25.run"))], measures=MEASURES))


def score(path: Path) -> None:
    QRELS_FILE(path.parent)
    run = read_run(path)
    evaluate(EvaluateOptions(qrels=str(path.with_name("qrels.txt")), runs=[str(path)], measures=MEASURES))
    write_run(path.with_name("out.run"), run, "x")


def write_runs(folder: Path) -> None:
    for name in ("bm25.run", "x.run"):
        RUN.save(folder / name, tag="x", counts={"topics": 2}, inputs={"qrels": folder / "qrels.txt"})
        manifest = manifest_path(folder / name)
        content = json.loads(manifest.read_text()) | {"seconds": {"search": 1.5}, "tokens": {"in": 3, "out": 4}}
        manifest.write_text(json.dumps(content))


def compare_costs(folder: Path) -> None:
    QRELS_FILE(folder)
    write_run(folder / "base.run", RUN, "x")
    options = {
        "qrels": str(folder / "qrels.txt"),
        "baseline": str(folder / "base.run"),
        "runs": [str(folder / "x.run")],
    }
    compare(CompareOptions(**options, measures=["nDCG@10"], format="json"))


def read_expansions_file(path: Path) -> None:
    expansions = read_expansions(path, TOPICS, skip_missing=True)
    generation_costs(expansions.values())
    write_jsonl(path.with_name("out.jsonl"), expansions.rows())


def read_prompt(path: Path) -> None:
    prompt = load_prompt(str(path))
    str(prompt)
    prompt.render(TOPICS["1"], document=Document("1", "t", "x"), passages=[], **dict.fromkeys(prompt.needs, "x"))


def read_expander(path: Path) -> None:
    config = expander_config(str(path))
    config.decoding(Decoding())
    config.search_options()


def read_training(path: Path) -> None:
    verb = VERBS["train dpo"]
    parse("train dpo", verb, verb.load()[1], ["--config", str(path)])


def read_regressions(folder: Path) -> None:
    regressions = Regressions(folder)
    for name in regressions.files:
        regressions.load(name)


def split_rows(path: Path) -> None:
    split(SplitOptions(parts=["a=.5", "b=.5"], rows=[str(path)], output=str(path.with_name("out"))))


class Written:
    """An encoder whose vectors are VECTORS."""

    dim = 2

    def __init__(self) -> None:
        self.truncated, self.empty = Counter(), Counter()

    def identity(self) -> dict[str, str]:
        return {"model": "by hand"}

    def encode_documents(self, documents: Sequence[Document]) -> np.ndarray:
        return np.stack([VECTORS[IDS.index(document.doc_id)] for document in documents])


def write_beir(folder: Path) -> None:
    queries = json_lines({"_id": topic_id, "text": topic.text} for topic_id, topic in TOPICS.items())
    texts({"corpus.jsonl": json_lines(DOCUMENTS), "queries.jsonl": queries, "qrels/test.tsv": QRELS_TSV})(folder)


def write_vectors(folder: Path) -> None:
    with TemporaryDirectory() as temporary:
        write_beir(Path(temporary))
        encode_corpus(load_collection(temporary), Written(), folder, shard_documents=2)


def write_exported(folder: Path, export: Callable[[CorpusVectors, Path], None]) -> None:
    """Vectors in another format, moved up into the folder."""
    with TemporaryDirectory() as temporary:
        write_vectors(Path(temporary))
        export(open_vectors(temporary), folder / "x")
    for path in (folder / "x").iterdir():
        path.rename(folder / path.name)
    (folder / "x").rmdir()


def search_vectors(folder: Path) -> None:
    index = open_dense(folder)
    index.search({"1": np.array([0.3, 0.4], dtype=np.float32)}, hits=3)
    vectors = open_vectors(folder)
    vectors.check()
    str(vectors)


def read_collection(folder: Path) -> None:
    collection = load_collection(folder)
    collection.report()
    collection.topics()
    list(collection.documents())
    list(read_rows(folder, "test"))


def write_preferences(folder: Path) -> None:
    path = folder / "preferences.jsonl"
    texts({path.name: json_lines([PREFERENCE, PREFERENCE | {"row_id": "2"}])})(folder)
    generator = {"engine": "local", "model": "m", "revision": None, "adapter": None}
    provenance = {"generator": generator, "prompt": {"id": "passage", "sha256": "0"}, "encoder": {"model": "e"}}
    write_manifest(path, details={"provenance": provenance})


def read_preferences_folder(folder: Path) -> None:
    read_preferences(folder)
    check_provenance(folder, {"generator": {"model": "m"}, "prompt": {"sha256": "0"}})


def write_store(folder: Path) -> None:
    texts({"rows.jsonl": json_lines(STORED)})(folder)
    archive.import_store(archive.ImportOptions(str(folder / "store.sqlite"), [str(folder / "rows.jsonl")]))
    (folder / "rows.jsonl").unlink()


def use_store(folder: Path) -> None:
    """Each verb in turn, whatever the others say."""
    store, faults = str(folder / "store.sqlite"), []
    for verb, options in (
        (archive.list_store, archive.ListOptions(store)),
        (verify_store, VerifyOptions(store)),
        (verify_store, VerifyOptions(store, redact=True)),
        (archive.export_store, archive.ExportOptions(store=store, output=str(folder / "all.jsonl"))),
        (archive.export_store, archive.ExportOptions(store=store, output=str(folder / "saved.jsonl"), rescue=True)),
        (archive.show_generations, archive.ShowOptions(store, ["0", "a"])),
    ):
        try:
            str(verb(options))
        except ExpandrError as error:
            faults.append(error)
    if faults:
        raise faults[0]


def import_rows(path: Path) -> None:
    store = str(path.with_name("store.sqlite"))
    archive.import_store(archive.ImportOptions(store, [str(path)]))
    archive.list_store(archive.ListOptions(store))
    archive.export_store(archive.ExportOptions(store=store, output=str(path.with_name("out.jsonl.gz"))))


def write_results(folder: Path) -> None:
    results = [RESULT, RESULT | {"condition": "hyde", "baseline": "bm25-flat", "family": "live", "tier": "live"}]
    content = {"format": "expandr-results/1", "date": "2026-01-01T00:00:00+00:00", "versions": {"python": "3.11"}}
    texts({"results.json": json.dumps(content | {"results": results, "tested": TESTED})})(folder)


def write_reports(folder: Path) -> None:
    for form in ("csv", "md", "latex", "json"):
        report(ReportOptions([str(folder)], output=str(folder / f"out.{form}"), format=form))


def write_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "data.zip", "w") as packed:
        for name, text in (
            ("toy/corpus.jsonl", json_lines(DOCUMENTS)),
            ("toy/qrels/test.tsv", QRELS_TSV),
            ("__MACOSX/x", ""),
        ):
            packed.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)


def read_reply(path: Path) -> None:
    samples = [SampleKey(number, f"key {number}", number) for number in range(3)]
    with suppress(Fault):
        text = path.read_bytes().decode("utf-8", "replace")
        answers = read_answer(text, samples, Decoding(stop=("\n\n",)), "v", 1.0, "http://x/v1")
        request = GenerationRequest(TOPICS["1"], (Message("user", "x"),), tuple(samples), Decoding())
        generations = [answer for answer in answers if isinstance(answer, Generation)]
        with Store.open(path.with_name("s.sqlite")) as store:
            store.put(generations, [request], GeneratorId("api", "m"))


def write_adapter(folder: Path) -> None:
    config = {"r": 8, "lora_alpha": 16, "peft_type": "LORA", "base_model_name_or_path": "no-such-folder/model"}
    texts({"adapter_config.json": json.dumps(config | {"target_modules": ["q_proj"], "revision": None})})(folder)
    (folder / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    write_manifest(folder / "adapter_model.safetensors", details={"base": None})


def read_adapter(folder: Path) -> None:
    max_lora_rank(folder)
    weights_manifest(folder)


QRELS_TSV = "query-id\tcorpus-id\tscore\n1\td1\t2\n2\td3\t1\n"
QRELS_FILE = texts({"qrels.txt": "1 0 d1 2\n1 0 d2 0\n2 0 d3 1\n"})
TSV = "".join(f"{topic_id}\t{topic.text}\n" for topic_id, topic in TOPICS.items())
JSONL = json_lines({"_id": topic_id, "text": topic.text, "metadata": {}} for topic_id, topic in TOPICS.items())
PYSERINI = json.dumps({topic_id: {"title": topic.text} for topic_id, topic in TOPICS.items()})
JUDGED = [{"query-id": topic_id, "corpus-id": doc_id, "score": 1} for topic_id, doc_id in (("1", "d1"), ("2", "d3"))]
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

FORMATS: dict[str, Format] = {
    "topics.tsv": one("topics.tsv", TSV, read_topics_file),
    "topics.jsonl": one("topics.jsonl", JSONL, read_topics_file),
    "topics.json": one("topics.json", PYSERINI, read_topics_file),
    "topics.gz": one("topics.jsonl.gz", JSONL, read_topics_file),
    "qrels of TREC": one("q.txt", "1 0 d1 2\n1 0 d2 0\n2 0 d3 1\n", judge),
    "qrels of BEIR": one("q.tsv", QRELS_TSV, judge),
    "qrels of JSON lines": one("q.jsonl", json_lines(JUDGED), judge),
    "run": one("x.run", TREC_RUN, score),
    "run.gz": one("x.run.gz", TREC_RUN, score),
    "manifest": Format(write_runs, compare_costs),
    "expansions": one("e.jsonl", EXPANSIONS, read_expansions_file),
    "prompt": one("p.yaml", PROMPT, read_prompt),
    "generator": one("g.yaml", GENERATOR, lambda path: load_generator(str(path))),
    "expander": one("x.yaml", EXPANDER, read_expander),
    "encoder": one("e.yaml", ENCODER, lambda path: encoder_config(str(path))),
    "options": one("o.yaml", TRAINING, read_training),
    "regressions": Format(texts({"conditions.yaml": CONDITIONS, "toy.yaml": COLLECTION}), read_regressions),
    "downloads": one("d.yaml", DOWNLOADS, items),
    "rows": one("rows.jsonl", ROWS, split_rows),
    "preferences": Format(write_preferences, read_preferences_folder),
    "vectors": Format(write_vectors, search_vectors),
    "vectors.jsonl": Format(
        partial(write_exported, export=lambda v, to: v.to_pyserini_jsonl(to, [Document(i, "", "x") for i in IDS])),
        search_vectors,
    ),
    "vectors of FAISS": Format(partial(write_exported, export=CorpusVectors.to_pyserini_faiss), search_vectors),
    "results.json": Format(write_results, write_reports),
    "store": Format(write_store, use_store),
    "stored rows": one("rows.jsonl", json_lines(STORED), import_rows),
    "adapter": Format(write_adapter, read_adapter),
    "zip": Format(write_zip, lambda folder: unzip_folder(folder / "data.zip", folder / "toy")),
    "query2doc": one(
        "q.jsonl",
        json_lines([{"query_id": "1", "query": "a", "pseudo_doc": "b"}] * 2),
        lambda p: list(query2doc_rows(p)),
    ),
    "querygym": one("q.tsv", "1\ta b a b c\n2\tx y\n", lambda path: list(querygym_rows(path))),
    "collection": Format(write_beir, read_collection),
    "answer": one("a.json", json.dumps(ANSWER), read_reply),
}
"""By name."""
