"""Does alignment turn a small LLM that harms a search into one that helps? SciFact and four other sets, one command.

    python tests/benchmarks/proof_align.py --data DIR --seeds 0 1 2 --output DIR
        [--states NAME ...] [--sets [NAME ...]] [--retrievers sparse dense hybrid] [--record]

SciFact's train topics are cut into three parts: "sft" is learnt with the openings of its positives, "dpo" gives
preferences, whose candidates serve all rewards, and "heldout" chooses how often the topic is repeated for BM25. Each
state writes for the held-out topics, SciFact's test topics and the sets that nothing was trained on; each topic's mean
over the seeds is tested against the topic alone and against the LLM as it comes. What is there already is not made
again: the command goes on where it was broken off, and `--states`, `--sets` and `--retrievers` make a part of it. It
ends with tables in Markdown, in OUTPUT/table.md too, draws repeats.svg and gains.svg, and holds its figures against
those of regressions/training/proofs/align-smollm2.yaml, which has the recipe.

DIR of --data has the recipe's collections, and expansions/SET/METHOD.LLM.jsonl.gz for the LLMs that stand beside it.
"""

from __future__ import annotations

import statistics
import sys
from argparse import Namespace
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from align_states import HELDOUT, PLAIN, TEST, States
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
    write_plot,
)

from expandr_ir.collections import load_collection
from expandr_ir.encoders import load_encoder
from expandr_ir.evaluate import Scores
from expandr_ir.io.expansions import Expansions, read_expansions
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.corpus import CorpusOptions, CorpusSearch, add_corpus_ranks
from expandr_ir.train.align.rewards import RewardOptions, sum_rewards
from expandr_ir.train.align.scoring import SimilarityOptions, add_similarities
from expandr_ir.train.data.rows import TrainingRow, document_texts

ALONE = "topics alone"
SEARCHES = {"sparse": "BM25", "dense": "MiniLM", "hybrid": "BM25 + MiniLM"}
CHOSEN = "BM25, chosen repeats"
SHOWN_TOPICS = 3
"""Topics that gained and lost most, whose texts are shown."""


class Proof:
    """Everything that the tables stand on, made where it is not there yet."""

    def __init__(self, arguments: Namespace, recipe: dict[str, Any]) -> None:
        self.data, self.output = arguments.data.absolute(), arguments.output.absolute()
        self.recipe, self.seeds, self.retrievers = recipe, arguments.seeds, arguments.retrievers
        self.made = States(self.data, self.output, recipe)
        self.states = arguments.states or [PLAIN, *recipe["states"]]
        self.sets = list(self.made.sets) if arguments.sets is None else [HELDOUT, *arguments.sets]
        self.made.make(self.states, self.sets, self.seeds)

    @cached_property
    def heldout(self) -> dict[str, dict[int, float]]:
        """nDCG@10 of BM25 on the held-out topics, by state and repeats of the topic."""
        scores: dict[str, dict[int, float]] = {}
        for state in self.states:
            for repeats in self.recipe["repeats"]:
                options = {"retriever": "sparse", "repeats": repeats}
                seeds = [self._searched(HELDOUT, seed, state, options).means["nDCG@10"] for seed in self.seeds]
                scores.setdefault(state, {})[repeats] = statistics.fmean(seeds)
        return scores

    def _searched(self, name: str, seed: int, state: str, options: Mapping[str, Any]) -> Scores:
        return self._search(name, f"{state}.{seed}", self.made.written(seed, state, name), options)

    def _search(self, name: str, run: str, topics: Mapping[str, Any], options: Mapping[str, Any]) -> Scores:
        collection, split = self.made.sets[name]
        file = ".".join([run, *(str(value) for value in options.values()), "run"]).replace(" ", "-")
        if options["retriever"] != "sparse":
            options = {**options, "encoder": self.recipe["encoder"]}
        return search(self.output / "runs" / name / file, load_collection(collection), topics, split, **options)

    def searches(self, state: str | None = None) -> dict[str, dict[str, Any]]:
        """Options of the searches by name; of a state BM25 also with the chosen repeats, which hybrid searches have."""
        searches = {name: {"retriever": how} for how, name in SEARCHES.items() if how in self.retrievers}
        if state is not None and "sparse" in self.retrievers:
            repeats = max(self.heldout[state], key=lambda number: self.heldout[state][number])
            searches[CHOSEN] = {"retriever": "sparse", "repeats": repeats}
            if "hybrid" in self.retrievers:
                searches[SEARCHES["hybrid"]]["repeats"] = repeats
        return searches

    @cached_property
    def retrieved(self) -> dict[tuple[str, str, str], list[Scores]]:
        """Scores by set, texts and search, one for each seed; of what no seed changes, one."""
        scores: dict[tuple[str, str, str], list[Scores]] = {}
        for name in self.sets:
            collection, split = self.made.sets[name]
            topics = load_collection(collection).topics(split)
            fixed = {ALONE: topics} | {
                llm: read_expansions(self.data / "expansions" / name / f"{method}.jsonl.gz", topics)
                for llm, method in self.recipe["answers"].get(name, {}).items()
            }
            for texts, expanded in fixed.items():
                for how, options in self.searches().items():
                    scores[name, texts, how] = [self._search(name, texts, expanded, options)]
            if "sparse" in self.retrievers:
                options = {"retriever": "sparse", "rm3": True}
                scores[name, "RM3", SEARCHES["sparse"]] = [self._search(name, "rm3", topics, options)]
            for state in self.states:
                for how, options in self.searches(state).items():
                    scores[name, state, how] = [self._searched(name, seed, state, options) for seed in self.seeds]
        return scores

    @cached_property
    def texts(self) -> dict[tuple[str, str], dict[str, list[float]]]:
        """What the texts of a set and state are like, one number for each seed; see `describe`."""
        described: dict[tuple[str, str], dict[str, list[float]]] = {}
        for name in self.sets:
            for state in self.states:
                for seed in self.seeds:
                    figures = describe(self.made.written(seed, state, name), self.recipe["decoding"]["max_new_tokens"])
                    if name == TEST:
                        figures |= self._rewards(self.made.written(seed, state, name))
                    for figure, value in figures.items():
                        described.setdefault((name, state), {}).setdefault(figure, []).append(value)
        return described

    def _rewards(self, written: Expansions) -> dict[str, float]:
        """The mean similarity of a text to its topic's nearest positive, and the mean gain of a search with it."""
        collection, table = load_collection(self.made.world), []
        qrels = collection.qrels("test")
        documents = document_texts(collection, {doc_id for key in written for doc_id in qrels[key]})
        for key, topic in written.items():
            positives = tuple(documents[doc_id] for doc_id, grade in qrels[key].items() if grade > 0)
            if texts := [expansion.text for expansion in topic.expansions if expansion.text]:
                table.append(Candidates(TrainingRow(key, topic.topic.text, positives, ()), texts))
        settings = self.recipe["rewards"]["search"]
        corpus = CorpusOptions(**settings["corpus"] | {"collection": str(self.made.world), "split": "test"})
        add_similarities(table, self._encoder, self.output / "rewards", SimilarityOptions(positives="nearest"))
        add_corpus_ranks(table, CorpusSearch(corpus), self.output / "rewards", with_alone=True)
        gains = [
            sum_rewards(entry.evidence, settings["rewards"], RewardOptions(**settings["reward"]))[0].mean()
            for entry in table
        ]
        similarities = [entry.evidence.positive.mean() for entry in table]
        return {"similarity": statistics.fmean(similarities), "gain of a search": statistics.fmean(gains)}

    @cached_property
    def _encoder(self) -> Any:
        return load_encoder(self.recipe["encoder"])

    def table(self) -> str:
        """The tables in Markdown."""
        columns = {
            str(n): {state: [values[n]] for state, values in self.heldout.items()} for n in self.recipe["repeats"]
        }
        parts = [f"Means over {len(self.seeds)} seeds (standard deviation)."]
        parts += ["### nDCG@10 of BM25 on held-out train topics, by repeats", means_table("texts", columns)]
        for (name, measure), columns in self._columns().items():
            parts += [f"### {name}, {measure}", means_table("texts", columns)]
            pairs = {
                (how, state, base): differences(averaged(self.retrieved[name, base, like]), after, measure)
                for how, values in columns.items()
                for state in values
                if state in self.states
                for base, like in ((ALONE, SEARCHES["sparse"] if how == CHOSEN else how), (PLAIN, how))
                if base != state and (name, base, like) in self.retrieved
                for after in [averaged(self.retrieved[name, state, how])]
            }
            parts.append(tested_table(("search", "texts"), pairs))
        for name in self.sets:
            figures = {state: self.texts[name, state] for state in self.states}
            columns = {
                figure: {state: values[figure] for state, values in figures.items()}
                for figure in figures[self.states[0]]
            }
            parts += [f"### Texts, {name}", means_table("texts", columns)]
        return "\n\n".join([*parts, *self._examples()]) + "\n"

    def _columns(self) -> dict[tuple[str, str], dict[str, dict[str, list[float]]]]:
        """Means by set and measure, search, texts."""
        columns: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
        for (name, texts, how), seeds in self.retrieved.items():
            for measure in MEASURES:
                values = [seed.means[measure] for seed in seeds]
                columns.setdefault((name, measure), {}).setdefault(how, {})[texts] = values
        return columns

    def _gains(self, state: str) -> dict[str, float]:
        """nDCG@10 that each of SciFact's test topics gains by a state's texts, BM25 with the chosen repeats."""
        before, after = (
            averaged(self.retrieved[TEST, texts, how]).per_topic["nDCG@10"]
            for texts, how in ((ALONE, SEARCHES["sparse"]), (state, CHOSEN))
        )
        return {key: after[key] - before[key] for key in before}

    def _examples(self) -> list[str]:
        """The topics that gained and lost most by the last state, with a text of it and one of the first state."""
        if TEST not in self.sets or "sparse" not in self.retrievers:
            return []
        state, seed = self.states[-1], self.seeds[0]
        gains = self._gains(state)
        order = sorted(gains, key=lambda key: (-gains[key], key))
        first, last = (self.made.written(seed, name, TEST) for name in (self.states[0], state))
        rows = [
            [first[key].topic.text, f"{gains[key]:+.3f}", *(texts[key].expansions[0].text for texts in (first, last))]
            for key in order[:SHOWN_TOPICS] + order[-SHOWN_TOPICS:]
        ]
        return [f"### Topics helped and hurt, {state}", markdown(("topic", "gain", self.states[0], state), rows, 4)]

    def plots(self) -> None:
        """Draws nDCG@10 of the held-out topics by repeats, and the gains of SciFact's test topics in their order."""
        write_plot(
            self.output / "repeats.svg",
            {state: list(values.items()) for state, values in self.heldout.items()},
            "repeats of the topic",
            "nDCG@10 of BM25, held-out topics",
        )
        if TEST in self.sets and "sparse" in self.retrievers:
            gains = {state: sorted(self._gains(state).values()) for state in self.states}
            write_plot(
                self.output / "gains.svg",
                {state: list(enumerate(values, start=1)) for state, values in gains.items()},
                "SciFact's test topics, by gain",
                "nDCG@10 gained over BM25",
            )

    def figures(self) -> dict[str, float]:
        """The means over the seeds, as they are recorded."""
        figures = {
            f"{name}, {texts}, {how}, {measure}": statistics.fmean(seed.means[measure] for seed in seeds)
            for (name, texts, how), seeds in self.retrieved.items()
            for measure in MEASURES
        }
        figures |= {
            f"{name}, {state}, {figure}": statistics.fmean(values)
            for (name, state), described in self.texts.items()
            for figure, values in described.items()
        }
        return figures


def describe(written: Expansions, max_new_tokens: int) -> dict[str, float]:
    """The mean words of texts, and the shares that are cut off, repeat themselves, or say the topic again."""
    texts = [(topic.topic.text.casefold(), expansion) for topic in written.values() for expansion in topic.expansions]
    return {
        "words": statistics.fmean(len(expansion.text.split()) for _, expansion in texts),
        "cut off": statistics.fmean(expansion.tokens_out == max_new_tokens for _, expansion in texts),
        "repetition": statistics.fmean("repetition" in expansion.reasons for _, expansion in texts),
        "echo": statistics.fmean(
            "echo" in expansion.reasons or topic.rstrip(".") in expansion.text.casefold() for topic, expansion in texts
        ),
    }


def main() -> int:
    parser = proof_parser(__doc__.splitlines()[0], proof_path("align-smollm2"))
    parser.add_argument("--states", nargs="+", help="plain and those of the recipe; all by default")
    parser.add_argument("--sets", nargs="*", help="besides the held-out topics; all by default")
    parser.add_argument("--retrievers", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    arguments = parser.parse_args()
    file = load_proof(arguments.proof)
    proof = Proof(arguments, file.recipe)
    proof.plots()
    return finish(arguments, file, proof.table(), proof.figures())


if __name__ == "__main__":
    sys.exit(main())
