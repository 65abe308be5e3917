"""Documents per second, paired in one run: this package, `python -m pyserini.encode`'s encoder, sentence-transformers.

    python tests/benchmarks/bench_encode.py FOLDER-WITH-corpus.jsonl[.gz] [--documents 512] [--rounds 3]

Every encoder sees the same documents in the same order, at the same longest length. Rounds alternate, so that whatever
else the machine does falls on all of them; the best round of each counts. The cosines are against float32.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np

from expandr_ir.config import EncodeOptions
from expandr_ir.encoders import encoder_config, load_encoder
from expandr_ir.files import read_jsonl
from expandr_ir.jvm import import_pyserini
from expandr_ir.records import Document
from expandr_ir.weights import model_folder


def documents_of(folder: Path, count: int) -> list[Document]:
    path = next(path for path in (folder / "corpus.jsonl", folder / "corpus.jsonl.gz") if path.is_file())
    rows = itertools.islice(read_jsonl(path), count)
    return [Document(str(row["_id"]), row.get("title", ""), row["text"]) for _, row in rows]


def contestants(name: str, device: str, documents: list[Document]):
    """Each contestant's name and its encoding of all documents."""
    from sentence_transformers import SentenceTransformer

    config = encoder_config(name)
    folder, length = str(model_folder(config)), config.max_length
    ours = load_encoder(config, options=EncodeOptions(devices=[device]))
    exact = load_encoder(config, options=EncodeOptions(devices=[device], precision="float32"))
    theirs = import_pyserini("pyserini.encode").AutoDocumentEncoder(
        folder, device=device, pooling=config.pooling, l2_norm=config.normalize
    )
    plain = SentenceTransformer(folder, device=device)
    plain.max_seq_length = length
    titles, texts = [doc.title for doc in documents], [doc.text for doc in documents]
    whole = [f"{title} {text}" for title, text in zip(titles, texts, strict=True)]

    def pyserini() -> np.ndarray:
        starts = range(0, len(texts), 64)  # the batch size of pyserini.encode
        parts = [theirs.encode(texts[at : at + 64], titles=titles[at : at + 64], max_length=length) for at in starts]
        return np.concatenate(parts)

    return {
        f"expandr_ir, {str(ours.precision).removeprefix('torch.')}": lambda: ours.encode_documents(documents),
        "expandr_ir, float32": lambda: exact.encode_documents(documents),
        "pyserini.encode": pyserini,
        "sentence-transformers, float32": lambda: plain.encode(whole, normalize_embeddings=bool(config.normalize)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    documents = documents_of(arguments.folder, arguments.documents)
    runs = contestants(arguments.encoder, arguments.device, documents)
    seconds = dict.fromkeys(runs, np.inf)
    cpu_seconds = dict.fromkeys(runs, np.inf)
    vectors = {}
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            vectors[name] = run()
            seconds[name] = min(seconds[name], time.perf_counter() - wall)
            cpu_seconds[name] = min(cpu_seconds[name], time.process_time() - cpu)
    reference = vectors["sentence-transformers, float32"]
    print(f"{len(documents)} documents, {arguments.encoder}, {arguments.device}, best of {arguments.rounds}")
    print(f"{'':32}{'docs/s':>8}{'docs/cpu-s':>12}{'ours is':>10}{'min cosine':>12}")
    first = next(iter(runs))
    for name in runs:
        norms = np.linalg.norm(vectors[name], axis=1) * np.linalg.norm(reference, axis=1)
        cosine = ((vectors[name] * reference).sum(axis=1) / norms).min()
        faster = f"{seconds[name] / seconds[first]:.2f} x"
        rates = f"{len(documents) / seconds[name]:8.1f}{len(documents) / cpu_seconds[name]:12.1f}"
        print(f"{name:32}{rates}{faster:>10}{cosine:12.6f}")


if __name__ == "__main__":
    main()
