"""The formats that users hand over: how valid files of each are written, and what the verbs do with them."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import examples
import numpy as np
from fuzz import Format

from expandr_ir.cli.evaluate import CompareOptions, EvaluateOptions, compare, evaluate
from expandr_ir.cli.parser import parse
from expandr_ir.cli.table import VERBS
from expandr_ir.collections import load_collection
from expandr_ir.encoders import encoder_config
from expandr_ir.errors import ExpandrError
from expandr_ir.expanders.config import expander_config
from expandr_ir.generators import load_generator
from expandr_ir.generators.completions import Fault, read_answer
from expandr_ir.generators.vllm import max_lora_rank
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import write_jsonl
from expandr_ir.io.manifest import generation_costs, manifest_path, write_manifest
from expandr_ir.io.runs import read_run, write_run
from expandr_ir.io.topics import read_topics, write_topics_json
from expandr_ir.prompts import load_prompt
from expandr_ir.records import (
    Decoding,
    Document,
    ExpandedTopic,
    Expansion,
    Generation,
    GenerationRequest,
    GeneratorId,
    Message,
    SampleKey,
)
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.regress.downloads import items, query2doc_rows, querygym_rows, unzip_folder
from expandr_ir.report import ReportOptions, report
from expandr_ir.retrievers import BM25
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


def texts(files: Mapping[str, str]) -> Callable[[Path], None]:
    """Writes valid files; .gz is compressed."""

    def write(folder: Path) -> None:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(text.encode(), 1, mtime=0) if name.endswith(".gz") else text.encode())

    return write


def one(name: str, text: str, read: Callable[[Path], object]) -> Format:
    """A format of a single file."""
    return Format(texts({name: text}), lambda folder: read(folder / name))


def read_topics_file(path: Path) -> None:
    topics = read_topics(path)
    write_topics_json(path.with_name("out.json"), {topic_id: topic.text for topic_id, topic in topics.items()})


def judge(path: Path) -> None:
    write_run(path.with_name("bm25.run"), examples.RUN, "x")
    evaluate(EvaluateOptions(qrels=str(path), runs=[str(path.with_name("bm25.run"))], measures=MEASURES))


def score(path: Path) -> None:
    QRELS_FILE(path.parent)
    run = read_run(path)
    evaluate(EvaluateOptions(qrels=str(path.with_name("qrels.txt")), runs=[str(path)], measures=MEASURES))
    write_run(path.with_name("out.run"), run, "x")


def search(path: Path) -> None:
    """BM25 in Java, of each topic alone and as its own expansion."""
    topics = read_topics(path)
    index = Path(os.environ["EXPANDR_HOME"]) / "beir"
    if not index.is_dir():
        write_beir(index)
    bm25 = BM25(collection=load_collection(index))
    bm25.search(topics)
    bm25.search({name: ExpandedTopic(topic, (Expansion(0, topic.text),)) for name, topic in topics.items()})


def write_runs(folder: Path) -> None:
    for name in ("bm25.run", "x.run"):
        examples.RUN.save(folder / name, tag="x", counts={"topics": 2}, inputs={"qrels": folder / "qrels.txt"})
        manifest = manifest_path(folder / name)
        content = json.loads(manifest.read_text()) | {"seconds": {"search": 1.5}, "tokens": {"in": 3, "out": 4}}
        manifest.write_text(json.dumps(content))


def compare_costs(folder: Path) -> None:
    QRELS_FILE(folder)
    write_run(folder / "base.run", examples.RUN, "x")
    options = {
        "qrels": str(folder / "qrels.txt"),
        "baseline": str(folder / "base.run"),
        "runs": [str(folder / "x.run")],
    }
    compare(CompareOptions(**options, measures=["nDCG@10"], format="json"))


def read_expansions_file(path: Path) -> None:
    expansions = read_expansions(path, examples.TOPICS, skip_missing=True)
    generation_costs(expansions.values())
    write_jsonl(path.with_name("out.jsonl"), expansions.rows())


def read_prompt(path: Path) -> None:
    prompt = load_prompt(str(path))
    str(prompt)
    prompt.render(
        examples.TOPICS["1"], document=Document("1", "t", "x"), passages=[], **dict.fromkeys(prompt.needs, "x")
    )


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
        return np.stack([examples.VECTORS[examples.IDS.index(document.doc_id)] for document in documents])


def write_beir(folder: Path) -> None:
    queries = examples.json_lines({"_id": topic_id, "text": topic.text} for topic_id, topic in examples.TOPICS.items())
    texts(
        {
            "corpus.jsonl": examples.json_lines(examples.DOCUMENTS),
            "queries.jsonl": queries,
            "qrels/test.tsv": examples.QRELS_TSV,
        }
    )(folder)


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
    texts({path.name: examples.json_lines([examples.PREFERENCE, examples.PREFERENCE | {"row_id": "2"}])})(folder)
    generator = {"engine": "local", "model": "m", "revision": None, "adapter": None}
    provenance = {"generator": generator, "prompt": {"id": "passage", "sha256": "0"}, "encoder": {"model": "e"}}
    write_manifest(path, details={"provenance": provenance})


def read_preferences_folder(folder: Path) -> None:
    read_preferences(folder)
    check_provenance(folder, {"generator": {"model": "m"}, "prompt": {"sha256": "0"}})


def write_store(folder: Path) -> None:
    texts({"rows.jsonl": examples.json_lines(examples.STORED)})(folder)
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
    results = [
        examples.RESULT,
        examples.RESULT | {"condition": "hyde", "baseline": "bm25-flat", "family": "live", "tier": "live"},
    ]
    content = {"format": "expandr-results/1", "date": "2026-01-01T00:00:00+00:00", "versions": {"python": "3.11"}}
    texts({"results.json": json.dumps(content | {"results": results, "tested": examples.TESTED})})(folder)


def write_reports(folder: Path) -> None:
    for form in ("csv", "md", "latex", "json"):
        report(ReportOptions([str(folder)], output=str(folder / f"out.{form}"), format=form))


def write_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "data.zip", "w") as packed:
        for name, text in (
            ("toy/corpus.jsonl", examples.json_lines(examples.DOCUMENTS)),
            ("toy/qrels/test.tsv", examples.QRELS_TSV),
            ("__MACOSX/x", ""),
        ):
            packed.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)


def read_reply(path: Path) -> None:
    samples = [SampleKey(number, f"key {number}", number) for number in range(3)]
    with suppress(Fault):
        text = path.read_bytes().decode("utf-8", "replace")
        answers = read_answer(text, samples, Decoding(stop=("\n\n",)), "v", "http://x/v1")
        request = GenerationRequest(examples.TOPICS["1"], (Message("user", "x"),), tuple(samples), Decoding())
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


QRELS_FILE = texts({"qrels.txt": examples.QRELS_TREC})

FORMATS: dict[str, Format] = {
    "topics.tsv": one("topics.tsv", examples.TSV, read_topics_file),
    "topics.jsonl": one("topics.jsonl", examples.JSONL, read_topics_file),
    "topics.json": one("topics.json", examples.PYSERINI, read_topics_file),
    "topics.gz": one("topics.jsonl.gz", examples.JSONL, read_topics_file),
    "topics that are searched": one("topics.jsonl", examples.JSONL, search),
    "qrels of TREC": one("q.txt", examples.QRELS_TREC, judge),
    "qrels of BEIR": one("q.tsv", examples.QRELS_TSV, judge),
    "qrels of JSON lines": one("q.jsonl", examples.json_lines(examples.JUDGED), judge),
    "run": one("x.run", examples.TREC_RUN, score),
    "run.gz": one("x.run.gz", examples.TREC_RUN, score),
    "manifest": Format(write_runs, compare_costs),
    "expansions": one("e.jsonl", examples.EXPANSIONS, read_expansions_file),
    "prompt": one("p.yaml", examples.PROMPT, read_prompt),
    "generator": one("g.yaml", examples.GENERATOR, lambda path: load_generator(str(path))),
    "expander": one("x.yaml", examples.EXPANDER, read_expander),
    "encoder": one("e.yaml", examples.ENCODER, lambda path: encoder_config(str(path))),
    "options": one("o.yaml", examples.TRAINING, read_training),
    "regressions": Format(
        texts({"conditions.yaml": examples.CONDITIONS, "toy.yaml": examples.COLLECTION}), read_regressions
    ),
    "downloads": one("d.yaml", examples.DOWNLOADS, items),
    "rows": one("rows.jsonl", examples.ROWS, split_rows),
    "preferences": Format(write_preferences, read_preferences_folder),
    "vectors": Format(write_vectors, search_vectors),
    "vectors.jsonl": Format(
        partial(
            write_exported, export=lambda v, to: v.to_pyserini_jsonl(to, [Document(i, "", "x") for i in examples.IDS])
        ),
        search_vectors,
    ),
    "vectors of FAISS": Format(partial(write_exported, export=CorpusVectors.to_pyserini_faiss), search_vectors),
    "results.json": Format(write_results, write_reports),
    "store": Format(write_store, use_store),
    "stored rows": one("rows.jsonl", examples.json_lines(examples.STORED), import_rows),
    "adapter": Format(write_adapter, read_adapter),
    "zip": Format(write_zip, lambda folder: unzip_folder(folder / "data.zip", folder / "toy")),
    "query2doc": one(
        "q.jsonl",
        examples.json_lines([{"query_id": "1", "query": "a", "pseudo_doc": "b"}] * 2),
        lambda p: list(query2doc_rows(p)),
    ),
    "querygym": one("q.tsv", "1\ta b a b c\n2\tx y\n", lambda path: list(querygym_rows(path))),
    "collection": Format(write_beir, read_collection),
    "answer": one("a.json", json.dumps(examples.ANSWER), read_reply),
}
"""By name."""
