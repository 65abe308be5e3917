"""The states of an LLM that a proof compares: trained where they are not there yet, with what they write for topics."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from proofs import link_world, run_verb

from expandr_ir.collections import load_collection
from expandr_ir.config import conf_path
from expandr_ir.expanders import ExpandOptions, load_expander
from expandr_ir.io.expansions import Expansions, read_expansions
from expandr_ir.io.files import write_jsonl, write_text
from expandr_ir.io.manifest import manifest_path
from expandr_ir.records import Document
from expandr_ir.train.data.rows import read_rows, row_json
from expandr_ir.train.rounds.config import laid_over

PLAIN, HELDOUT, TEST = "plain", "heldout", "scifact"


class States:
    """Every state's model and texts, one of each for a seed.

    Args:
        data: the folder of the collections.
        output: where everything is made.
        recipe: of the proof.
    """

    def __init__(self, data: Path, output: Path, recipe: Mapping[str, Any]) -> None:
        self.output, self.recipe = output, recipe
        self.source, self.world, self._rows = data / recipe["collection"], output / "world", output / "rows"
        self.sets = {HELDOUT: (self.world, HELDOUT), TEST: (self.world, "test")}
        self.sets |= {name: (data / folder, split) for name, (folder, split) in recipe["transfer"].items()}
        self._prompt, self._store = output / "prompt.yaml", str(output / "store.sqlite")

    def make(self, states: Sequence[str], sets: Sequence[str], seeds: Sequence[int]) -> None:
        """Cuts the train topics, trains the states that are missing, and lets each write for the sets."""
        self._cut_rows()
        for seed in seeds:
            for state in states:
                self._train(seed, state)
                for name in sets:
                    self._expand(seed, state, name)

    def _cut_rows(self) -> None:
        """The parts of the train topics; those that are held out are a split of the collection."""
        write_text(self._prompt, yaml.safe_dump(self.recipe["prompt"], sort_keys=False))
        link_world(self.world, self.source)
        if not (self._rows / "heldout.jsonl").is_file():
            options = {"rows": [str(self.source)], "output": str(self._rows)}
            self._verb("train", "split", *self.recipe["parts"], options=options)
        collection = load_collection(self.world)
        qrels, lines = collection.qrels("train"), ["query-id\tcorpus-id\tscore\n"]
        for row in read_rows(self._rows / "heldout.jsonl"):
            lines += [f"{row.row_id}\t{doc_id}\t{grade}\n" for doc_id, grade in qrels[row.row_id].items()]
        write_text(self.world / "qrels" / f"{HELDOUT}.tsv", "".join(lines))
        words = self.recipe["opening_words"]
        openings = {f"{document.title} {document.text}".strip(): document for document in collection.documents()}
        rows = [
            replace(row, positives=tuple(opening(openings[text], words) for text in row.positives))
            for row in read_rows(self._rows / "sft.jsonl")
        ]
        write_jsonl(self._rows / "openings.jsonl", map(row_json, rows))

    def _train(self, seed: int, state: str) -> None:
        """Trains a state, and before it the one that it starts from; writes its generator's file."""
        decoding = {"decoding": self.recipe["decoding"] | {"seed": seed}}
        if state == PLAIN:
            block = yaml.safe_load(conf_path("generators", self.recipe["generator"]).read_text(encoding="utf-8"))
            write_text(self._generator(seed, state), yaml.safe_dump(block | self.recipe["local"] | decoding))
            return
        settings, folder = self.recipe["states"][state], self._folder(seed, state)
        base, verb, run, merged = settings["base"], settings["verb"], folder / "run", folder / "merged"
        self._train(seed, base)
        if not (merged / "model.safetensors").is_file():
            options = {
                "model": self.recipe["generator"] if base == PLAIN else str(self._folder(seed, base) / "merged"),
                "prompt": str(self._prompt),
                "lora": self.recipe["lora"],
                "dev_share": 0.0,
                verb: self.recipe[verb] | {"seed": seed},
            }
            if verb == "sft":
                options["rows"] = str(self._rows / "openings.jsonl")
            elif verb == "grpo":
                options |= {"rows": str(self._rows / "dpo.jsonl"), "store": self._store}
                options |= self._rewards(settings["rewards"])
            else:
                options["preferences"] = str(self._prefer(seed, base, settings["rewards"]))
            self._verb("train", verb, options=options | {"output": str(run)})
            self._verb("train", "merge", options={"adapter": str(run), "output": str(merged)})
        block = {"engine": "local", "model": str(merged)}
        write_text(self._generator(seed, state), yaml.safe_dump(block | self.recipe["local"] | decoding))

    def _prefer(self, seed: int, state: str, rewards: str) -> Path:
        """The preferences among a state's candidates by these rewards; all rewards see the same candidates."""
        folder = self._folder(seed, state) / f"preferences-{rewards}"
        if not manifest_path(folder / "preferences.jsonl").is_file():
            options = {
                "rows": [str(self._rows / "dpo.jsonl")],
                "generator": str(self._generator(seed, state)),
                "prompt": str(self._prompt),
                "store": self._store,
                "output": str(folder),
                "seed": seed,
            }
            options |= self.recipe["candidates"] | self._rewards(rewards)
            self._verb("train", "preferences", options=options)
        return folder

    def _rewards(self, name: str) -> dict[str, Any]:
        """Options of rewards, with what they read."""
        fixed = {"encoder": self.recipe["encoder"], "corpus": {"collection": str(self.world)}}
        return laid_over(self.recipe["rewards"][name], fixed)

    def _folder(self, seed: int, state: str) -> Path:
        return self.output / f"seed-{seed}" / re.sub(r"\W+", "-", state)

    def _generator(self, seed: int, state: str) -> Path:
        return self._folder(seed, state) / "generator.yaml"

    def _verb(self, *words: str, options: Mapping[str, Any]) -> None:
        run_verb(self.output, *words, options=options)

    def _expand(self, seed: int, state: str, name: str) -> None:
        """The texts of a state for the topics of a set."""
        path = self._expansions(seed, state, name)
        if path.is_file():
            return
        collection, split = self.sets[name]
        began = time.perf_counter()
        options = ExpandOptions(prompt=str(self._prompt), store=self._store, **self.recipe["expand"])
        with load_expander(generator=str(self._generator(seed, state)), options=options) as expander:
            expander.expand(load_collection(collection).topics(split)).save(path)
        print(f"expand {path.name}: {time.perf_counter() - began:.0f} s", flush=True)

    def _expansions(self, seed: int, state: str, name: str) -> Path:
        return self._folder(seed, state) / f"{name}.jsonl"

    def written(self, seed: int, state: str, name: str) -> Expansions:
        """The texts that a state wrote for a set, with its topics."""
        collection, split = self.sets[name]
        return read_expansions(self._expansions(seed, state, name), load_collection(collection).topics(split))


def opening(document: Document, words: int) -> str:
    """The title, and as many whole sentences after it as there is room for."""
    parts = [document.title.rstrip(".") + "."]
    for sentence in re.split(r"(?<=[.!?])\s+", document.text):
        if len(" ".join([*parts, sentence]).split()) > words:
            break
        parts.append(sentence)
    return " ".join(parts)
