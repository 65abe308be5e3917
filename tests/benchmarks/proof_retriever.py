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
from pathlib import Path

import yaml
from proofs import averaged, finish, load_proof, mean_cell, proof_parser, proof_path, tested_table

from expandr_ir.collections import load_collection
from expandr_ir.evaluate import Scores, score_run
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import atomic_write
from expandr_ir.io.runs import read_run, write_run
from expandr_ir.retrievers import SearchOptions, load_retriever, plain
from expandr_ir.train.data.rows import read_rows
from expandr_ir.train.retriever.data import retriever_rows
from expandr_ir.train.retriever.options import DevOptions, ObjectiveOptions, RetrieverOptions, RowOptions
from expandr_ir.train.rounds.config import laid_over

MEASURES = ("nDCG@10", "R@100")
HOW = {"alone": "none", "mean": "mean"}
ROWS = "train/scifact_train_bm25neg.jsonl.gz"
TRAIN_EXPANSIONS = "expansions/scifact-train/passage.llm-2026.jsonl.gz"
TEST_EXPANSIONS = "expansions/scifact/query2doc-zs.gpt-4.1.jsonl.gz"


class Proof:
    """Everything that the tables stand on, made where it is not there yet."""

    def __init__(self, data: Path, output: Path, recipe: dict, seeds: list[int], variants: list[str]) -> None:
        self.data, self.output, self.recipe, self.seeds, self.variants = data, output, recipe, seeds, variants
        self.collection = load_collection(data / "beir" / "scifact")
        self.topics = self.collection.topics("test")
        self.qrels = self.collection.qrels("test")
        self.expanded = read_expansions(data / TEST_EXPANSIONS, self.topics)

    def options(self, variant: str, seed: int) -> RetrieverOptions:
        """The training of a variant with a seed."""
        merged = laid_over(self.recipe["common"], self.recipe["variants"][variant])
        own = {name: value for name, value in merged.items() if name not in {"data", "objective", "dev", "training"}}
        return RetrieverOptions(
            data=RowOptions(rows=str(self.data / ROWS), expansions=str(self.data / TRAIN_EXPANSIONS), **merged["data"]),
            objective=ObjectiveOptions(**merged["objective"]),
            dev=DevOptions(**merged["dev"]),
            training=merged["training"] | {"seed": seed},
            output=str(self.output / "models" / f"{variant}-{seed}"),
            **own,
        )

    def train(self, variant: str, seed: int) -> Path:
        """The folder of the trained encoder."""
        from expandr_ir.train.retriever.train import train_retriever

        options, began = self.options(variant, seed), time.perf_counter()
        folder = Path(options.output)
        is_there = folder.exists()
        trained = train_retriever(options)
        if not is_there:
            print(f"{folder.name}: trained in {time.perf_counter() - began:.0f} s, {trained.counts}", flush=True)
        return folder

    def run(self, name: str, encoder: str, how: str):
        """The run of the test topics, searched where it is not there yet."""
        path = self.output / "runs" / f"{name}.{how}.run"
        if not path.is_file():
            config = self.output / "models" / f"{name}.yaml"
            with atomic_write(config) as stream:
                yaml.safe_dump({"model": encoder, **self.recipe["evaluate"]}, stream)
            topics = plain(self.topics.values()) if how == "alone" else self.expanded
            options = SearchOptions(retriever="dense", encoder=str(config), aggregation=HOW[how], hits=100)
            began = time.perf_counter()
            write_run(path, load_retriever(self.collection, options).search(topics), f"{name}-{how}")
            print(f"{path.name}: {time.perf_counter() - began:.0f} s", flush=True)
        return read_run(path)

    def make(self) -> None:
        """Trains and searches all that is missing."""
        for how in HOW:
            self.run("untrained", self.untrained(), how)
        for seed in self.seeds:  # a whole row of variants before the next seed, so that a part of it is of use
            for variant in self.variants:
                folder = self.train(variant, seed)
                for how in HOW:
                    self.run(folder.name, str(folder), how)

    def untrained(self) -> str:
        """The model that training begins with."""
        from expandr_ir.encoders import encoder_config

        return encoder_config(self.recipe["common"]["encoder"]).model

    def scores(self, variant: str, how: str) -> list[Scores]:
        """What each seed scores; one entry for the untrained encoder."""
        names = ["untrained"] if variant == "untrained" else [f"{variant}-{seed}" for seed in self.seeds]
        return [score_run(read_run(self.output / "runs" / f"{name}.{how}.run"), self.qrels, MEASURES) for name in names]

    def table(self) -> str:
        """The tables in Markdown."""
        scores = {(name, how): self.scores(name, how) for name in ("untrained", *self.variants) for how in HOW}
        over_seeds = {key: averaged(own) for key, own in scores.items()}
        parts = [
            f"Means over {len(self.seeds)} seeds (standard deviation over the seeds), {len(self.qrels)} test topics."
        ]
        parts.append(_means(scores))
        for measure in MEASURES:
            rows = {
                _searched(how): {
                    (base, name): (over_seeds[base, how], over_seeds[name, how])
                    for base in ("untrained", *self.variants[:1])
                    for name in self.variants
                    if name != base
                }
                for how in HOW
            }
            parts += [
                f"### Tests of {measure}",
                tested_table(("search", "trained on"), rows, dict.fromkeys(rows, measure)),
            ]
        parts.append(self._split(over_seeds))
        return "\n\n".join(parts) + "\n"

    def figures(self) -> dict[str, float]:
        """The means over the seeds, as they are recorded."""
        return {
            f"{name}, {how}, {measure}": statistics.fmean(one.means[measure] for one in self.scores(name, how))
            for name in ("untrained", *self.variants)
            for how in HOW
            for measure in MEASURES
        }

    def _split(self, over_seeds: dict[tuple[str, str], Scores]) -> str:
        """The variants, split by how much of an expansion stands in a relevant document."""
        documents = {one.doc_id: f"{one.title} {one.text}" for one in self.collection.documents()}
        shared = {
            topic_id: max(
                _shared(self.expanded[topic_id].expansions[0].text, documents[doc_id])
                for doc_id, grade in self.qrels[topic_id].items()
                if grade > 0
            )
            for topic_id in self.topics
        }
        train = self._train_shared()
        median = statistics.median(shared.values())
        about = (
            "The share of an expansion's word trigrams that stand in a relevant document (the most of them). "
            f"Test expansions: median {median:.3f}. Train expansions: median {statistics.median(train):.3f}; "
            f"{sum(value > 0.1 for value in train)} of {len(train)} share more than a tenth."
        )
        base, *others = self.variants
        lines = [
            "### By what the expansion has of its relevant document",
            "",
            about,
            "",
            f"| topics | n | trained on | nDCG@10, {_searched('mean')} | to {base} |",
            "|---|---:|---|---:|---:|",
        ]
        halves = {
            "at or below the median": [key for key, value in shared.items() if value <= median],
            "above": [key for key, value in shared.items() if value > median],
        }
        for half, keys in halves.items():
            means = {
                name: statistics.fmean(over_seeds[name, "mean"].per_topic["nDCG@10"][key] for key in keys)
                for name in (self.variants if keys else ())
            }
            for name, mean in means.items():
                gain = f"{mean - means[base]:+.4f}" if name in others else ""
                lines.append(f"| {half} | {len(keys)} | {name} | {mean:.4f} | {gain} |")
        return "\n".join(lines)

    def _train_shared(self) -> list[float]:
        options = RowOptions(
            str(self.data / ROWS), expansions=str(self.data / TRAIN_EXPANSIONS), without_expansion="drop"
        )
        rows, _ = retriever_rows(read_rows(options.rows), options)
        return [max(_shared(row.expansions[0], text) for text in row.row.positives) for row in rows]


def _searched(how: str) -> str:
    return "topics alone" if how == "alone" else "mean of topic and expansion"


def _means(scores: dict[tuple[str, str], list[Scores]]) -> str:
    columns = [(how, measure) for how in HOW for measure in MEASURES]
    lines = ["| trained on | " + " | ".join(f"{measure}, {_searched(how)}" for how, measure in columns) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for name in dict.fromkeys(name for name, _ in scores):
        cells = [mean_cell([one.means[measure] for one in scores[name, how]]) for how, measure in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shared(expansion: str, document: str) -> float:
    """The share of the expansion's word trigrams that the document has too."""
    own, other = (
        {tuple(words[at : at + 3]) for at in range(len(words) - 2)}
        for words in (text.lower().split() for text in (expansion, document))
    )
    return len(own & other) / len(own) if own else 0.0


def main() -> int:
    parser = proof_parser(__doc__.splitlines()[0], proof_path("retriever-scifact"))
    parser.add_argument("--variants", nargs="+")
    parser.add_argument("--table-only", action="store_true", help="of what is there, without training or searching")
    arguments = parser.parse_args()
    file = load_proof(arguments.proof)
    variants = arguments.variants or list(file.recipe["variants"])
    proof = Proof(arguments.data, arguments.output, file.recipe, arguments.seeds, variants)
    if not arguments.table_only:
        proof.make()
    return finish(arguments, file, proof.table(), proof.figures())


if __name__ == "__main__":
    sys.exit(main())
