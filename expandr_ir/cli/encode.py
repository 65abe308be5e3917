"""`expandr encode`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.outputs import output_folder
from expandr_ir.cli.progress import counting
from expandr_ir.collection import load_collection
from expandr_ir.config import EncodeOptions
from expandr_ir.encode import SHARD_DOCUMENTS, encode_corpus

VERB = Verb(
    "encode",
    "Encode a collection's documents, or find their vectors in the cache; prints the folder.",
    """
expandr encode --collection demo --encoder all-MiniLM-L6-v2
expandr encode --collection beir/scifact --encoder contriever --output vectors/scifact
expandr encode --collection beir/scifact --encoder contriever --faiss faiss/scifact --jsonl jsonl/scifact
""",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `expandr encode`.

    Args:
        collection: a BEIR folder, irds:ID, or demo.
        encoder: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        output: folder of the vectors; None is the cache, where `expandr search` finds them.
        shard_documents: documents of a shard: what a killed process loses. A GPU is busier with more, such as 65536.
        faiss: also write Pyserini's FAISS folder (`index`, `docid`) here.
        jsonl: also write Pyserini's JSONL vectors here.
        encode: how the encoder runs.
    """

    collection: str
    encoder: str
    output: str | None = None
    shard_documents: int = SHARD_DOCUMENTS
    faiss: str | None = None
    jsonl: str | None = None
    encode: EncodeOptions = field(default_factory=EncodeOptions)


def run(argv: list[str]) -> int:
    """Encodes what is not there yet and prints where it is."""
    from expandr_ir.retrieve import SearchOptions
    from expandr_ir.retrieve.dense import open_encoder

    options = parse(VERB, Options, argv)
    folder = output_folder(options.output) if options.output else None
    collection = load_collection(options.collection)
    search = SearchOptions(retriever="dense", encoder=options.encoder, encode=options.encode)
    encoder = open_encoder(collection, search)
    with counting("documents encoded", collection.facts.documents) as on_progress:
        vectors = encode_corpus(collection, encoder, folder, options.shard_documents, on_progress)
    print(vectors.folder)
    print(f"{len(vectors):,} vectors of {vectors.dim} dimensions; " + _counted(vectors.counts))
    if options.faiss:
        vectors.to_pyserini_faiss(Path(options.faiss))
        print(options.faiss)
    if options.jsonl:
        vectors.to_pyserini_jsonl(Path(options.jsonl), collection.documents())
        print(options.jsonl)
    return 0


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())
