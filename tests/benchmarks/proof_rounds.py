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

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from proofs import averaged, finish, load_proof, mean_cell, proof_parser, proof_path, tested_table, write_plot
from small_expander import Recipe, train_small

from expandr_ir.cleaning import clean
from expandr_ir.collections import load_collection
from expandr_ir.encoders import load_encoder
from expandr_ir.evaluate import Scores, score_run
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import atomic_write
from expandr_ir.io.runs import read_run, write_run
from expandr_ir.records import ExpandedTopic, Qrels
from expandr_ir.retrievers import SearchOptions, load_retriever
from expandr_ir.retrievers.dense import Dense
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.rewards import RewardOptions, sum_rewards
from expandr_ir.train.align.scoring import CorpusOptions, SimilarityOptions, add_corpus_ranks, add_similarities
from expandr_ir.train.data.rows import TrainingRow, read_rows
from expandr_ir.train.data.split import part_of
from expandr_ir.train.rounds.config import laid_over

ANSWERS = "expansions/scifact/query2doc-zs.gpt-4.1.jsonl.gz"
MEASURES = ("nDCG@10", "R@100")
SAMPLES = 4
"""Expansions of a test topic whose rewards are averaged; the first of them is searched with."""

RETRIEVERS = ("sparse", "dense", "hybrid")
HOW = {
    "sparse": "BM25", "dense": "MiniLM", "hybrid": "BM25 + MiniLM",
    "trained dense": "trained MiniLM", "trained hybrid": "BM25 + trained MiniLM",
}  # fmt: skip
REWARDS = ("similarity", "margin", "retriever", "self", "BM25 RR", "MiniLM RR")


class Proof:
    """Everything that the tables stand on, made where it is not there yet.

    Args:
        data: the real collections.
        output: the proof's folder.
        recipe: of the proof's file.
        seeds: of sampling, DPO and retriever; the small expander that all start from has its own.
    """

    def __init__(self, data: Path, output: Path, recipe: dict, seeds: Sequence[int]) -> None:
        self.data, self.output, self.recipe, self.seeds = data.absolute(), output.absolute(), recipe, seeds
        self.world, self.encoder = self.output / "world", recipe["encoder"]
        self.states = ["before", *(f"round {number + 1}" for number in range(recipe["rounds"]["rounds"]))]

    def make(self) -> None:
        """Trains what is missing, and lets each expander write for the test topics."""
        self._make_world()
        train_small(str(self.world), Recipe(**self.recipe["small_expander"]), self.output / "small")
        train = load_collection(self.world).qrels("train")
        parts: dict[str, Qrels] = {"rounds": {}, "dev": {}}
        for row in read_rows(str(self.output / "small" / "rows" / "kept.jsonl")):
            part = part_of(row.query, {"rounds": 0.8, "dev": 0.2}, 0)
            parts[part][row.row_id] = train[row.row_id]
        for part, qrels in parts.items():
            self._write_qrels(part, qrels)
        for seed in self.seeds:
            self._verb("train", "rounds", options=self._rounds(seed))
            for state in self.states:
                self._expand(seed, state)

    def _make_world(self) -> None:
        """SciFact in a folder of its own, which gets the splits "rounds" and "dev", too."""
        scifact = self.data / "beir" / "scifact"
        (self.world / "qrels").mkdir(parents=True, exist_ok=True)
        for name in ("corpus.jsonl.gz", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
            (self.world / name).unlink(missing_ok=True)
            (self.world / name).symlink_to(scifact / name)

    def _write_qrels(self, split: str, qrels: Qrels) -> None:
        with atomic_write(self.world / "qrels" / f"{split}.tsv") as stream:
            stream.write("query-id\tcorpus-id\tscore\n")
            stream.writelines(f"{key}\t{doc}\t{grade}\n" for key, own in qrels.items() for doc, grade in own.items())

    def _rounds(self, seed: int) -> dict:
        """Options of a seed's rounds: every random part of them has the seed."""
        generator = yaml.safe_load((self.output / "small" / "generator.yaml").read_text(encoding="utf-8"))
        generator["decoding"] = self.recipe["decoding"] | {"seed": seed}
        path = self.output / f"expander-{seed}.yaml"
        with atomic_write(path) as stream:
            yaml.safe_dump(generator, stream)
        seeded = {
            "preferences": {"seed": seed},
            "dpo": {"dpo": {"seed": seed}, "heldout": {"decoding": self.recipe["decoding"]}},
            "retriever": {"training": {"seed": seed}},
        }
        places = {
            "collection": str(self.world),
            "train_split": "rounds",
            "generator": str(path),
            "encoder": self.encoder,
        }
        places |= {"output": str(self._folder(seed)), "store": str(self.output / "store.sqlite")}
        return laid_over(laid_over(self.recipe["rounds"], seeded), places)

    def _folder(self, seed: int) -> Path:
        return self.output / f"rounds-{seed}"

    def _model(self, seed: int, state: str, kind: str, name: str) -> Path:
        """What a step of a round made."""
        return next(self._folder(seed).glob(f"{state.replace(' ', '-')}/*-{kind}/{name}"))

    def _expand(self, seed: int, state: str) -> None:
        generator = self.output / f"expander-{seed}.yaml"
        if state != "before":
            generator = self._model(seed, state, "merge", "generator.yaml")
        options = {"collection": str(self.world), "split": "test", "generator": str(generator), "samples": SAMPLES}
        options |= {"store": str(self.output / "store.sqlite"), "output": str(self._expansions(seed, state))}
        self._verb("expand", options=options)

    def _expansions(self, seed: int, state: str) -> Path:
        return self.output / "expansions" / f"{state.replace(' ', '-')}.{seed}.jsonl"

    def _verb(self, *words: str, options: Mapping) -> None:
        """Runs a verb of the command line in a process of its own."""
        name = options["output"].removeprefix(str(self.output)).strip("/").replace("/", "-")
        path = self.output / "options" / f"{name}.yaml"
        with atomic_write(path) as stream:
            yaml.safe_dump(dict(options), stream, sort_keys=False)
        began = time.perf_counter()
        command = [sys.executable, "-m", "expandr_ir", *words, "--config", str(path)]
        with (self.output / "options" / f"{name}.log").open("a", encoding="utf-8") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log)
        print(f"{' '.join(words)} {name}: {time.perf_counter() - began:.0f} s", flush=True)

    @cached_property
    def collection(self):
        return load_collection(self.world)

    @cached_property
    def topics(self):
        return self.collection.topics("test")

    @cached_property
    def qrels(self):
        return self.collection.qrels("test")

    def written(self, seed: int, state: str) -> dict[str, ExpandedTopic]:
        """The test topics with all their expansions."""
        return read_expansions(self._expansions(seed, state), self.topics)

    def scores(self, name: str, how: str, expanded: Mapping[str, ExpandedTopic], **options) -> Scores:
        """What a search scores; it is made where its run is not there yet."""
        path = self.output / "runs" / f"{name}.{how}.run".replace(" ", "-")
        if not path.is_file():
            wanted = SearchOptions(retriever=how.rsplit(maxsplit=1)[-1], hits=100, **options)
            write_run(path, load_retriever(self.collection, wanted).search(expanded), path.stem)
        return score_run(read_run(path), self.qrels, MEASURES, name=str(path))

    @cached_property
    def retrieved(self) -> dict[tuple[str, str], list[Scores]]:
        """Scores by state and search, one for each seed; of what no seed changes, one."""
        alone, answers = self.topics, read_expansions(self.data / ANSWERS, self.topics)
        found = {("topics alone", "sparse"): [self.scores("alone", "sparse", alone)]}
        found["RM3", "sparse"] = [self.scores("rm3", "sparse", alone, rm3=True)]
        for how in ("dense", "hybrid"):
            found["topics alone", how] = [self.scores("alone", how, alone, encoder=self.encoder)]
        for how in RETRIEVERS:
            found["gpt-4.1", how] = [self.scores("gpt-4.1", how, answers, **_encoder(how, self.encoder))]
        for seed in self.seeds:
            for state in self.states:
                first = {
                    key: replace(one, expansions=one.expansions[:1]) for key, one in self.written(seed, state).items()
                }
                name = f"{state}.{seed}"
                for how in RETRIEVERS:
                    own = self.scores(name, how, first, **_encoder(how, self.encoder))
                    found.setdefault((state, how), []).append(own)
                for how in ("trained dense", "trained hybrid") if state != "before" else ():
                    encoder = str(self._model(seed, state, "retriever", f"retriever-{state.split()[-1]}"))
                    found.setdefault((state, how), []).append(self.scores(name, how, first, encoder=encoder))
                    found.setdefault((f"topics alone, {state}", how), []).append(
                        self.scores(f"{name}.alone", how, alone, encoder=encoder)
                    )
        return found

    @cached_property
    def rewards(self) -> dict[str, list[Scores]]:
        """The mean rewards of each topic's expansions by state, one for each seed.

        Rewards by rank compare the expansions of all states with each other; an empty expansion has 0. The answer that
        `self` compares with is gpt-4.1's passage: the small expander cannot read a document.
        """
        found: dict[str, list[Scores]] = {state: [] for state in self.states}
        for seed in self.seeds:
            texts = {
                state: {
                    key: [clean(one.text, self.topics[key].text).text for one in topic.expansions]
                    for key, topic in self.written(seed, state).items()
                }
                for state in self.states
            }
            values = self._rewards({
                key: list(dict.fromkeys(text for state in self.states for text in texts[state][key] if text))
                for key in self.topics
            })  # fmt: skip
            for state in self.states:
                per_topic = {
                    name: {
                        key: statistics.fmean(values[key].get(text, {}).get(name, 0.0) for text in own)
                        for key, own in texts[state].items()
                    }
                    for name in REWARDS
                }
                means = {name: statistics.fmean(own.values()) for name, own in per_topic.items()}
                found[state].append(Scores(means, per_topic, (), (), ()))
        return found

    def _rewards(self, candidates: Mapping[str, Sequence[str]]) -> dict[str, dict[str, dict[str, float]]]:
        """Each reward of each candidate, by topic and text."""
        documents = {one.doc_id: f"{one.title} {one.text}" for one in self.collection.documents()}
        answers = read_expansions(self.data / ANSWERS, self.topics)
        table = []
        for key, own in candidates.items():
            positives = tuple(documents[doc_id] for doc_id, grade in self.qrels[key].items() if grade > 0)
            row = TrainingRow(key, self.topics[key].text, positives, ())
            table.append(Candidates(row, list(own), answer=answers[key].expansions[0].text))
        cache, options = self.output / "rewards", SimilarityOptions(positives="nearest")
        add_similarities(table, load_encoder(self.encoder), cache, options, with_query=True)
        weights = dict.fromkeys(("margin", "retriever", "self"), 1.0)
        parts = [
            {"similarity": one.evidence.positive, **sum_rewards(one.evidence, weights, RewardOptions())[1]}
            for one in table
        ]
        for how, name in (("sparse", "BM25 RR"), ("dense", "MiniLM RR")):
            where = CorpusOptions(str(self.world), "test", how)
            add_corpus_ranks(table, where, cache, Dense(encoder=self.encoder))
            for own, one in zip(parts, table, strict=True):
                own[name] = sum_rewards(one.evidence, {"corpus": 1.0}, RewardOptions())[0]
        return {
            one.row.row_id: {
                text: {name: float(own[name][place]) for name in REWARDS} for place, text in enumerate(one.texts)
            }
            for own, one in zip(parts, table, strict=True)
        }

    def table(self) -> str:
        """The tables in Markdown."""
        parts = [f"Means over {len(self.seeds)} seeds (standard deviation), {len(self.qrels)} test topics."]
        columns = {
            name: {state: [one.means[name] for one in own] for state, own in self.rewards.items()} for name in REWARDS
        }
        parts += ["### Rewards of the expansions", _table(columns)]
        before = averaged(self.rewards["before"])
        pairs = {("before", state): (before, averaged(self.rewards[state])) for state in self.states[1:]}
        parts.append(
            tested_table(
                ("reward", "expansions"), dict.fromkeys(REWARDS, pairs), dict(zip(REWARDS, REWARDS, strict=True))
            )
        )
        for measure in MEASURES:
            columns = {}
            for (state, how), own in self.retrieved.items():
                columns.setdefault(HOW[how], {})[state] = [one.means[measure] for one in own]
            parts += [f"### {measure}", _table(columns)]
        over_seeds = {key: averaged(own) for key, own in self.retrieved.items()}
        for measure in MEASURES:
            rows = {}
            for how, name in HOW.items():
                plain_how = how.split()[-1]
                rows[name] = {
                    (base, state): (over_seeds[base, plain_how], over_seeds[state, how])
                    for state in [*self.states, "gpt-4.1"]
                    for base in ("before", "topics alone")
                    if (state, how) in over_seeds and state != base and (state, base) != ("gpt-4.1", "before")
                }
            parts += [
                f"### Tests of {measure}",
                tested_table(("search", "expansions"), rows, dict.fromkeys(rows, measure)),
            ]
        return "\n\n".join(parts) + "\n"

    def plots(self) -> None:
        """Draws the held-out reward of every evaluation of DPO, and what is retrieved with each state's expansions."""
        rewards = {}
        for state in self.states[1:]:
            for seed in self.seeds:
                curve = self._model(seed, state, "dpo", "run/curves.jsonl").read_text(encoding="utf-8").splitlines()
                points = [json.loads(line) for line in curve]
                rewards[f"{state}, seed {seed}"] = [
                    (point["step"], point["eval_heldout_reward"]) for point in points if "eval_heldout_reward" in point
                ]
        write_plot(self.output / "heldout-reward.svg", rewards, "steps of DPO", "held-out reward")
        found = {}
        for how in RETRIEVERS:
            means = [[one.means["nDCG@10"] for one in self.retrieved[state, how]] for state in self.states]
            found[HOW[how]] = [(at, statistics.fmean(own)) for at, own in enumerate(means)]
        for how in ("trained dense", "trained hybrid"):
            means = [[one.means["nDCG@10"] for one in self.retrieved[state, how]] for state in self.states[1:]]
            found[HOW[how]] = [(at, statistics.fmean(own)) for at, own in enumerate(means, start=1)]
        write_plot(self.output / "retrieved.svg", found, "rounds", "nDCG@10 with expansions")

    def figures(self) -> dict[str, float]:
        """The means over the seeds, as they are recorded."""
        found = {}
        for state, own in self.rewards.items():
            found |= {f"{state}, {name}": statistics.fmean(one.means[name] for one in own) for name in REWARDS}
        for (state, how), own in self.retrieved.items():
            for measure in MEASURES:
                found[f"{state}, {HOW[how]}, {measure}"] = statistics.fmean(one.means[measure] for one in own)
        return found


def _encoder(how: str, encoder: str) -> dict[str, str]:
    return {} if how == "sparse" else {"encoder": encoder}


def _table(columns: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A row for each state, a column for each name."""
    states = dict.fromkeys(state for own in columns.values() for state in own)
    lines = ["| expansions | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for state in states:
        cells = [mean_cell(own[state]) if state in own else "" for own in columns.values()]
        lines.append(f"| {state} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = proof_parser(__doc__.splitlines()[0], proof_path("rounds-scifact"))
    arguments = parser.parse_args()
    file = load_proof(arguments.proof)
    proof = Proof(arguments.data, arguments.output, file.recipe, arguments.seeds)
    proof.make()
    proof.plots()
    return finish(arguments, file, proof.table(), proof.figures())


if __name__ == "__main__":
    sys.exit(main())
