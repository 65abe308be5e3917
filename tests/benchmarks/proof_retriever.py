"""Does training with expansions help a retriever that searches with expansions? SciFact, small scale, by one command.

    python tests/benchmarks/proof_retriever.py --data DIR --seeds 0 1 2 --output DIR [--variants queries expandr ...]
        [--table-only] [--record]

An encoder is trained on SciFact's 809 train topics, with each of the recipe's variants and each seed, and searches the
300 test topics, alone and with the mean of topic and expansion. A tenth of the train topics is held back and chooses
the checkpoint; no test topic chooses anything. What is there already (a trained encoder, a run) is not made again, so
the command goes on where it was broken off. It ends with tables in Markdown, in OUTPUT/table.md too, and holds the
means against those of regressions/training/proofs/retriever-scifact.yaml, which has the recipe.

DIR of --data has beir/scifact, train/scifact_train_bm25neg.jsonl.gz, expansions/scifact-train/passage.llm-2026.jsonl.gz
and expansions/scifact/query2doc-zs.gpt-4.1.jsonl.gz.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import cached_property
from pathlib import Path

import yaml
from proofs import (
    MEASURES,
    averaged,
    differences,
    finish,
    load_proof,
    markdown,
    means_table,
    proof_parser,
    proof_path,
    search,
    tested_table,
)

from expandr_ir.blocks import load_block
from expandr_ir.collections import load_collection
from expandr_ir.encoders import encoder_config
from expandr_ir.evaluate import Scores
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import write_text
from expandr_ir.retrievers import plain
from expandr_ir.train.data.rows import read_rows
from expandr_ir.train.retriever.data import retriever_rows
from expandr_ir.train.retriever.options import RetrieverOptions, RowOptions
from expandr_ir.train.rounds.config import laid_over

SEARCHES = {"alone": "topics alone", "mean": "mean of topic and expansion"}
ROWS = "train/scifact_train_bm25neg.jsonl.gz"
TRAIN_EXPANSIONS = "expansions/scifact-train/passage.llm-2026.jsonl.gz"
TEST_EXPANSIONS = "expansions/scifact/query2doc-zs.gpt-4.1.jsonl.gz"


class Proof:
    """Everything that the tables stand on, made where it is not there yet."""

    def __init__(self, data: Path, output: Path, recipe: dict, seeds: list[int], variants: list[str]) -> None:
        self.output, self.recipe, self.seeds, self.variants = output, recipe, seeds, variants
        self.collection = load_collection(data / "beir" / "scifact")
        self.topics, self.qrels = self.collection.topics("test"), self.collection.qrels("test")
        self.expanded = read_expansions(data / TEST_EXPANSIONS, self.topics)
        self.rows = {"rows": str(data / ROWS), "expansions": str(data / TRAIN_EXPANSIONS)}
        self.trains = True

    def train(self, variant: str, seed: int) -> str:
        """The folder of the encoder that is trained with a variant and a seed."""
        from expandr_ir.train.retriever.train import train_retriever

        folder = self.output / "models" / f"{variant}-{seed}"
        fixed = {"data": self.rows, "training": {"seed": seed}, "output": str(folder)}
        settings = laid_over(laid_over(self.recipe["common"], self.recipe["variants"][variant]), fixed)
        write_text(folder.with_name(f"{folder.name}.options.yaml"), yaml.safe_dump(settings))
        if self.trains:
            is_there, began = folder.exists(), time.perf_counter()
            options = load_block(RetrieverOptions, folder.with_name(f"{folder.name}.options.yaml"))
            counts = train_retriever(options).counts
            if not is_there:
                print(f"{folder.name}: trained in {time.perf_counter() - began:.0f} s, {counts}", flush=True)
        return str(folder)

    def search(self, name: str, encoder: str) -> dict[str, Scores]:
        """What the test topics score, by search."""
        config = self.output / "models" / f"{name}.yaml"
        write_text(config, yaml.safe_dump({"model": encoder, **self.recipe["evaluate"]}))
        topics = {"alone": (plain(self.topics.values()), "none"), "mean": (self.expanded, "mean")}
        return {
            how: search(
                self.output / "runs" / f"{name}.{how}.run",
                self.collection,
                given,
                retriever="dense",
                encoder=str(config),
                aggregation=aggregation,
            )
            for how, (given, aggregation) in topics.items()
        }

    @cached_property
    def scores(self) -> dict[tuple[str, str], list[Scores]]:
        """Scores by variant and search, one for each seed; one for the untrained encoder."""
        by_name = {"untrained": [self.search("untrained", encoder_config(self.recipe["common"]["encoder"]).model)]}
        for seed in self.seeds:  # a whole row of variants before the next seed, so that a part of it is of use
            for variant in self.variants:
                scores = self.search(f"{variant}-{seed}", self.train(variant, seed))
                by_name.setdefault(variant, []).append(scores)
        return {(name, how): [seed[how] for seed in seeds] for name, seeds in by_name.items() for how in SEARCHES}

    def table(self) -> str:
        """The tables in Markdown."""
        states, columns = ("untrained", *self.variants), {}
        for how, title in SEARCHES.items():
            for measure in MEASURES:
                values = {name: [seed.means[measure] for seed in self.scores[name, how]] for name in states}
                columns[f"{measure}, {title}"] = values
        about = (
            f"Means over {len(self.seeds)} seeds (standard deviation over the seeds), {len(self.qrels)} test topics."
        )
        parts = [about, means_table("trained on", columns)]
        over_seeds = {key: averaged(seeds) for key, seeds in self.scores.items()}
        for measure in MEASURES:
            pairs = {
                (title, name, base): differences(over_seeds[base, how], over_seeds[name, how], measure)
                for how, title in SEARCHES.items()
                for base in states[:2]
                for name in self.variants
                if name != base
            }
            parts += [f"### Tests of {measure}", tested_table(("search", "trained on"), pairs)]
        return "\n\n".join([*parts, self._split(over_seeds)]) + "\n"

    def figures(self) -> dict[str, float]:
        """The means over the seeds, as they are recorded."""
        return {
            f"{name}, {how}, {measure}": statistics.fmean(seed.means[measure] for seed in seeds)
            for (name, how), seeds in self.scores.items()
            for measure in MEASURES
        }

    def _split(self, over_seeds: dict[tuple[str, str], Scores]) -> str:
        """The variants, split by how much of an expansion stands in a relevant document."""
        documents = {document.doc_id: f"{document.title} {document.text}" for document in self.collection.documents()}
        test = {
            topic_id: _shared(
                self.expanded[topic_id].expansions[0].text, [documents[doc_id] for doc_id, n in grades.items() if n > 0]
            )
            for topic_id, grades in self.qrels.items()
        }
        rows, _ = retriever_rows(read_rows(self.rows["rows"]), RowOptions(**self.rows, without_expansion="drop"))
        train = [_shared(row.expansions[0], row.row.positives) for row in rows]
        median, base = statistics.median(test.values()), self.variants[0]
        about = (
            "The share of an expansion's word trigrams that stand in a relevant document (the most of them). "
            f"Test expansions: median {median:.3f}. Train expansions: median {statistics.median(train):.3f}; "
            f"{sum(value > 0.1 for value in train)} of {len(train)} share more than a tenth."
        )
        cells = []
        for half in ("at or below the median", "above"):
            topics = [key for key, value in test.items() if (value > median) == (half == "above")]
            for name in self.variants if topics else ():
                scores, of_base = (over_seeds[variant, "mean"].per_topic["nDCG@10"] for variant in (name, base))
                mean = statistics.fmean(scores[key] for key in topics)
                gain = mean - statistics.fmean(of_base[key] for key in topics)
                cells.append([half, str(len(topics)), name, f"{mean:.4f}", "" if name == base else f"{gain:+.4f}"])
        head = ("topics", "n", "trained on", f"nDCG@10, {SEARCHES['mean']}", f"to {base}")
        return "\n\n".join(["### By what the expansion has of its relevant document", about, markdown(head, cells, 3)])


def _shared(expansion: str, documents: list[str] | tuple[str, ...]) -> float:
    """The share of the expansion's word trigrams that a document has too, the most of all documents."""
    trigrams = _trigrams(expansion)
    return max(len(trigrams & _trigrams(document)) / max(len(trigrams), 1) for document in documents)


def _trigrams(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return set(zip(words, words[1:], words[2:], strict=False))


def main() -> int:
    parser = proof_parser(__doc__.splitlines()[0], proof_path("retriever-scifact"))
    parser.add_argument("--variants", nargs="+")
    parser.add_argument("--table-only", action="store_true", help="of what is there, without training")
    arguments = parser.parse_args()
    file = load_proof(arguments.proof)
    variants = arguments.variants or list(file.recipe["variants"])
    proof = Proof(arguments.data, arguments.output, file.recipe, arguments.seeds, variants)
    proof.trains = not arguments.table_only
    return finish(arguments, file, proof.table(), proof.figures())


if __name__ == "__main__":
    sys.exit(main())
