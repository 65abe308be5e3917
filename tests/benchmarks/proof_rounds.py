"""Does aligning an expander to the retriever raise its rewards, and what is retrieved? SciFact, by one command.

    python tests/benchmarks/proof_rounds.py --data DIR --seeds 0 1 2 --output DIR [--record]

A small expander is trained from nothing on SciFact's documents and half of its train topics. From each seed two rounds
start on four fifths of the other half: preferences, DPO, expansions, training of the retriever (MiniLM). The last fifth
chooses the checkpoints. The 300 test topics are searched at the end, with the expanders and retrievers before, after
the first and after the second round, and each topic's mean over the seeds is tested against the one before. What is
there already is not made again, so the command goes on where it was broken off. It ends with tables in Markdown, in
OUTPUT/table.md too, draws heldout-reward.svg and retrieved.svg, and holds its figures against those of
regressions/training/proofs/rounds-scifact.yaml, which has the recipe.

DIR of --data has beir/scifact and expansions/scifact/query2doc-zs.gpt-4.1.jsonl.gz.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from proofs import (
    MEASURES,
    averaged,
    differences,
    finish,
    link_world,
    load_proof,
    means_table,
    proof_parser,
    proof_path,
    run_verb,
    search,
    tested_table,
    write_plot,
)
from small_expander import Recipe, train_small

from expandr_ir.cleaning import clean
from expandr_ir.collections import load_collection
from expandr_ir.encoders import load_encoder
from expandr_ir.evaluate import Scores
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import read_jsonl, write_text
from expandr_ir.records import ExpandedTopic, Qrels
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.corpus import CorpusOptions, CorpusSearch, add_corpus_ranks
from expandr_ir.train.align.rewards import RewardOptions, sum_rewards
from expandr_ir.train.align.scoring import SimilarityOptions, add_similarities
from expandr_ir.train.data.rows import TrainingRow, read_rows
from expandr_ir.train.data.split import part_of
from expandr_ir.train.rounds.config import laid_over

ANSWERS = "expansions/scifact/query2doc-zs.gpt-4.1.jsonl.gz"
SAMPLES = 4
"""Expansions of a test topic whose rewards are averaged; the first of them is searched with."""

RETRIEVERS = ("sparse", "dense", "hybrid")
TRAINED = ("trained dense", "trained hybrid")
HOW = {
    "sparse": "BM25", "dense": "MiniLM", "hybrid": "BM25 + MiniLM",
    "trained dense": "trained MiniLM", "trained hybrid": "BM25 + trained MiniLM",
}  # fmt: skip
REWARDS = ("similarity", "margin", "retriever", "self", "BM25 RR", "MiniLM RR")


class Proof:
    """Everything that the tables stand on, made where it is not there yet.

    The seeds are those of sampling, DPO and retriever; the small expander that all start from has its own.
    """

    def __init__(self, data: Path, output: Path, recipe: dict, seeds: Sequence[int]) -> None:
        self.data, self.output, self.recipe, self.seeds = data.absolute(), output.absolute(), recipe, seeds
        self.world, self.encoder = self.output / "world", recipe["encoder"]
        self.states = ["before", *(f"round {number + 1}" for number in range(recipe["rounds"]["rounds"]))]

    def make(self) -> None:
        """Trains what is missing, and lets each expander write for the test topics."""
        link_world(self.world, self.data / "beir" / "scifact")
        train_small(str(self.world), Recipe(**self.recipe["small_expander"]), self.output / "small")
        self._write_splits(load_collection(self.world).qrels("train"))
        for seed in self.seeds:
            self._verb("train", "rounds", options=self._rounds(seed))
            for state in self.states:
                generator = self.output / f"expander-{seed}.yaml"
                if state != "before":
                    generator = self._model(seed, state, "merge", "generator.yaml")
                options = {"collection": str(self.world), "split": "test", "generator": str(generator)}
                options |= {"samples": SAMPLES, "store": str(self.output / "store.sqlite")}
                self._verb("expand", options=options | {"output": str(self._expansions(seed, state))})

    def _write_splits(self, train: Qrels) -> None:
        """The splits "rounds" and "dev" of the topics that the small expander did not learn."""
        lines = {"rounds": ["query-id\tcorpus-id\tscore\n"], "dev": ["query-id\tcorpus-id\tscore\n"]}
        for row in read_rows(str(self.output / "small" / "rows" / "kept.jsonl")):
            part = part_of(row.query, {"rounds": 0.8, "dev": 0.2}, 0)
            lines[part] += [f"{row.row_id}\t{doc}\t{grade}\n" for doc, grade in train[row.row_id].items()]
        for part, rows in lines.items():
            write_text(self.world / "qrels" / f"{part}.tsv", "".join(rows))

    def _rounds(self, seed: int) -> dict:
        """Options of a seed's rounds: every random part of them has the seed."""
        generator = yaml.safe_load((self.output / "small" / "generator.yaml").read_text(encoding="utf-8"))
        generator["decoding"] = self.recipe["decoding"] | {"seed": seed}
        path = self.output / f"expander-{seed}.yaml"
        write_text(path, yaml.safe_dump(generator))
        fixed = {
            "collection": str(self.world),
            "train_split": "rounds",
            "generator": str(path),
            "encoder": self.encoder,
            "output": str(self._folder(seed)),
            "store": str(self.output / "store.sqlite"),
            "preferences": {"seed": seed},
            "dpo": {"dpo": {"seed": seed}, "heldout": {"decoding": self.recipe["decoding"]}},
            "retriever": {"training": {"seed": seed}},
        }
        return laid_over(self.recipe["rounds"], fixed)

    def _folder(self, seed: int) -> Path:
        return self.output / f"rounds-{seed}"

    def _model(self, seed: int, state: str, kind: str, name: str) -> Path:
        """What a step of a round made."""
        return next(self._folder(seed).glob(f"{state.replace(' ', '-')}/*-{kind}/{name}"))

    def _expansions(self, seed: int, state: str) -> Path:
        return self.output / "expansions" / f"{state.replace(' ', '-')}.{seed}.jsonl"

    def _verb(self, *words: str, options: Mapping) -> None:
        run_verb(self.output, *words, options=options)

    @cached_property
    def collection(self):
        return load_collection(self.world)

    @cached_property
    def topics(self):
        return self.collection.topics("test")

    @cached_property
    def answers(self):
        return read_expansions(self.data / ANSWERS, self.topics)

    def written(self, seed: int, state: str) -> dict[str, ExpandedTopic]:
        """The test topics with all their expansions."""
        return read_expansions(self._expansions(seed, state), self.topics)

    def _search(self, name: str, how: str, topics: Mapping, encoder: str | None = None, **options) -> Scores:
        path = self.output / "runs" / f"{name}.{how}.run".replace(" ", "-")
        retriever = how.removeprefix("trained ")
        options |= {} if retriever == "sparse" else {"encoder": encoder or self.encoder}
        return search(path, self.collection, topics, retriever=retriever, **options)

    @cached_property
    def retrieved(self) -> dict[tuple[str, str], list[Scores]]:
        """Scores by state and search, one for each seed; of what no seed changes, one."""
        scores = {("topics alone", "sparse"): [self._search("alone", "sparse", self.topics)]}
        scores["RM3", "sparse"] = [self._search("rm3", "sparse", self.topics, rm3=True)]
        for how in ("dense", "hybrid"):
            scores["topics alone", how] = [self._search("alone", how, self.topics)]
        for how in RETRIEVERS:
            scores["gpt-4.1", how] = [self._search("gpt-4.1", how, self.answers)]
        for seed in self.seeds:
            for state in self.states:
                name, written = f"{state}.{seed}", self.written(seed, state)
                first = {key: replace(topic, expansions=topic.expansions[:1]) for key, topic in written.items()}
                for how in RETRIEVERS:
                    scores.setdefault((state, how), []).append(self._search(name, how, first))
                for how in TRAINED if state != "before" else ():
                    encoder = str(self._model(seed, state, "retriever", f"retriever-{state.split()[-1]}"))
                    for key, topics, run in (
                        (state, first, name),
                        (f"topics alone, {state}", self.topics, f"{name}.alone"),
                    ):
                        scores.setdefault((key, how), []).append(self._search(run, how, topics, encoder))
        return scores

    @cached_property
    def rewards(self) -> dict[str, list[Scores]]:
        """The mean rewards of each topic's expansions by state, one for each seed.

        Rewards by rank compare the expansions of all states with each other; an empty expansion has 0. The answer that
        `self` compares with is gpt-4.1's passage: the small expander cannot read a document.
        """
        scores: dict[str, list[Scores]] = {state: [] for state in self.states}
        for seed in self.seeds:
            texts = {
                state: {
                    key: [clean(expansion.text, self.topics[key].text).text for expansion in topic.expansions]
                    for key, topic in self.written(seed, state).items()
                }
                for state in self.states
            }
            candidates = {
                key: list(dict.fromkeys(text for state in self.states for text in texts[state][key] if text))
                for key in self.topics
            }
            values = self._rewards(candidates)
            for state in self.states:
                per_topic = {
                    name: {
                        key: statistics.fmean(values[key].get(text, {}).get(name, 0.0) for text in of_topic)
                        for key, of_topic in texts[state].items()
                    }
                    for name in REWARDS
                }
                means = {name: statistics.fmean(of_topics.values()) for name, of_topics in per_topic.items()}
                scores[state].append(Scores(means, per_topic, (), (), ()))
        return scores

    def _rewards(self, candidates: Mapping[str, Sequence[str]]) -> dict[str, dict[str, dict[str, float]]]:
        """Each reward of each candidate, by topic and text."""
        documents = {document.doc_id: f"{document.title} {document.text}" for document in self.collection.documents()}
        qrels, table = self.collection.qrels("test"), []
        for key, texts in candidates.items():
            positives = tuple(documents[doc_id] for doc_id, grade in qrels[key].items() if grade > 0)
            row = TrainingRow(key, self.topics[key].text, positives, ())
            table.append(Candidates(row, list(texts), answer=self.answers[key].expansions[0].text))
        cache, options = self.output / "rewards", SimilarityOptions(positives="nearest")
        add_similarities(table, load_encoder(self.encoder), cache, options, with_query=True)
        weights = dict.fromkeys(("margin", "retriever", "self"), 1.0)
        rewards = [
            {"similarity": row.evidence.positive, **sum_rewards(row.evidence, weights, RewardOptions())[1]}
            for row in table
        ]
        for how, name in (("sparse", "BM25 RR"), ("dense", "MiniLM RR")):
            searched = CorpusOptions(collection=str(self.world), split="test", retriever=how, encoder=self.encoder)
            add_corpus_ranks(table, CorpusSearch(searched), cache)
            for of_row, row in zip(rewards, table, strict=True):
                of_row[name] = sum_rewards(row.evidence, {"corpus": 1.0}, RewardOptions())[0]
        return {
            row.row.row_id: {
                text: {name: float(of_row[name][place]) for name in REWARDS} for place, text in enumerate(row.texts)
            }
            for of_row, row in zip(rewards, table, strict=True)
        }

    def table(self) -> str:
        """The tables in Markdown."""
        topics = len(self.collection.qrels("test"))
        columns = {
            name: {state: [seed.means[name] for seed in seeds] for state, seeds in self.rewards.items()}
            for name in REWARDS
        }
        over_seeds = {state: averaged(seeds) for state, seeds in self.rewards.items()}
        pairs = {
            (name, state, "before"): differences(over_seeds["before"], over_seeds[state], name)
            for name in REWARDS
            for state in self.states[1:]
        }
        parts = [f"Means over {len(self.seeds)} seeds (standard deviation), {topics} test topics."]
        parts += ["### Rewards of the expansions", means_table("expansions", columns)]
        parts.append(tested_table(("reward", "expansions"), pairs))
        over_seeds = {key: averaged(seeds) for key, seeds in self.retrieved.items()}
        tests = []
        for measure in MEASURES:
            columns = {}
            for (state, how), seeds in self.retrieved.items():
                columns.setdefault(HOW[how], {})[state] = [seed.means[measure] for seed in seeds]
            parts += [f"### {measure}", means_table("expansions", columns)]
            pairs = {
                (name, state, base): differences(
                    over_seeds[base, how.removeprefix("trained ")], over_seeds[state, how], measure
                )
                for how, name in HOW.items()
                for state in [*self.states, "gpt-4.1"]
                for base in ("before", "topics alone")
                if (state, how) in over_seeds and state != base and (state, base) != ("gpt-4.1", "before")
            }
            tests += [f"### Tests of {measure}", tested_table(("search", "expansions"), pairs)]
        return "\n\n".join(parts + tests) + "\n"

    def plots(self) -> None:
        """Draws the held-out reward of every evaluation of DPO, and what is retrieved with each state's expansions."""
        rewards = {
            f"{state}, seed {seed}": [
                (point["step"], point["eval_heldout_reward"])
                for _, point in read_jsonl(self._model(seed, state, "dpo", "run/curves.jsonl"))
                if "eval_heldout_reward" in point
            ]
            for state in self.states[1:]
            for seed in self.seeds
        }
        write_plot(self.output / "heldout-reward.svg", rewards, "steps of DPO", "held-out reward")
        retrieved = {
            name: [
                (number, statistics.fmean(seed.means["nDCG@10"] for seed in self.retrieved[state, how]))
                for number, state in enumerate(self.states)
                if (state, how) in self.retrieved
            ]
            for how, name in HOW.items()
        }
        write_plot(self.output / "retrieved.svg", retrieved, "rounds", "nDCG@10 with expansions")

    def figures(self) -> dict[str, float]:
        """The means over the seeds, as they are recorded."""
        values = {(state, name): (seeds, name) for state, seeds in self.rewards.items() for name in REWARDS}
        for (state, how), seeds in self.retrieved.items():
            values |= {(state, HOW[how], measure): (seeds, measure) for measure in MEASURES}
        return {
            ", ".join(key): statistics.fmean(seed.means[name] for seed in seeds)
            for key, (seeds, name) in values.items()
        }


def main() -> int:
    arguments = proof_parser(__doc__.splitlines()[0], proof_path("rounds-scifact")).parse_args()
    file = load_proof(arguments.proof)
    proof = Proof(arguments.data, arguments.output, file.recipe, arguments.seeds)
    proof.make()
    proof.plots()
    return finish(arguments, file, proof.table(), proof.figures())


if __name__ == "__main__":
    sys.exit(main())
