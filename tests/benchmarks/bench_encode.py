"""Documents per second, paired in one run: this package, `python -m pyserini.encode`'s encoder, sentence-transformers.

    python tests/benchmarks/bench_encode.py FOLDER-WITH-corpus.jsonl[.gz] [--documents 512] [--rounds 3]

Every encoder sees the same documents, 128 at a time, at the same longest length, and takes its turns before the next
128: whatever else the machine does falls on all of them. The best turn counts. The cosines are against float32.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from turns import take_turns

from expandr_ir.collections import load_collection
from expandr_ir.config import EncodeOptions
from expandr_ir.encoders import encoder_config, load_encoder
from expandr_ir.encoders.weights import model_folder
from expandr_ir.jvm import import_pyserini


def contestants(name: str, device: str):
    """Each contestant's name and how it encodes documents."""
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

    def pyserini(documents):
        batches = [documents[start : start + 64] for start in range(0, len(documents), 64)]  # its own batch size
        parts = [
            theirs.encode([doc.text for doc in batch], titles=[doc.title for doc in batch], max_length=length)
            for batch in batches
        ]
        return np.concatenate(parts)

    def sentence_transformers(documents):
        texts = [f"{doc.title} {doc.text}" for doc in documents]
        return plain.encode(texts, normalize_embeddings=bool(config.normalize))

    return {
        f"expandr_ir, {str(ours.precision).removeprefix('torch.')}": ours.encode_documents,
        "expandr_ir, float32": exact.encode_documents,
        "pyserini.encode": pyserini,
        "sentence-transformers, float32": sentence_transformers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    documents = list(itertools.islice(load_collection(arguments.folder).documents(), arguments.documents))
    runs = contestants(arguments.encoder, arguments.device)
    for run in runs.values():
        run(documents[:8])  # what is set up once
    seconds = dict.fromkeys(runs, 0.0)
    vectors = {name: [] for name in runs}
    for start in range(0, len(documents), 128):
        best, _, results = take_turns(runs, arguments.rounds, documents[start : start + 128])
        for name in runs:
            seconds[name] += best[name]
            vectors[name].append(results[name])
    reference = np.concatenate(vectors["sentence-transformers, float32"])
    print(f"{len(documents)} documents, {arguments.encoder}, {arguments.device}, best of {arguments.rounds}")
    print(f"{'':32}{'docs/s':>8}{'ours is':>10}{'min cosine':>12}")
    first = next(iter(runs))
    for name, total in seconds.items():
        encoded = np.concatenate(vectors[name])
        norms = np.linalg.norm(encoded, axis=1) * np.linalg.norm(reference, axis=1)
        faster, cosines = f"{total / seconds[first]:.2f} x", (encoded * reference).sum(axis=1) / norms
        print(f"{name:32}{len(documents) / total:8.1f}{faster:>10}{cosines.min():12.6f}")


if __name__ == "__main__":
    main()
