"""The steps of all rounds, each with the commands it runs: fixed by the options before anything is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expandr_ir.config import generator_config
from expandr_ir.errors import InputError
from expandr_ir.train.rounds.config import Block, RoundsOptions, block_options


@dataclass(frozen=True)
class Command:
    """One verb with its options; it is complete when its output stands there with a manifest."""

    verb: str  # such as "train dpo"
    options: Mapping[str, Any]
    output: Path
    arguments: tuple[str, ...] = ()  # bare ones: the runs to fuse


@dataclass(frozen=True)
class Step:
    """A step of a round, named as its folder below the output, such as "round-1/02-dpo"; round 0 goes before all."""

    name: str
    kind: str  # such as "dpo"
    round: int
    commands: tuple[Command, ...]
    models: Mapping[str, str] = field(default_factory=dict)  # of "merge" before and after, of "measure" the measured
    runs: Mapping[str, Path] = field(default_factory=dict)  # of "measure", by figure
    result: Path | None = None  # of "merge" and "measure", written by the rounds themselves once all commands are done


def plan(options: RoundsOptions) -> list[Step]:
    """All steps, in their order."""
    return list(_Planner(options).steps())


class _Planner:
    """Makes the steps, and knows the last models as it goes on."""

    def __init__(self, options: RoundsOptions) -> None:
        config = generator_config(options.generator)
        self.options, self.output = options, Path(options.output).expanduser().absolute()
        self.round = self.number = 0
        self.collection = options.collection or ""
        self.generator, self.engine, self.encoder = options.generator, config.engine, options.encoder
        self.model = options.model or config.model
        self.sparse_alone: Path | None = None
        self.store_and_prompt = {"store": options.store, "prompt": options.prompt}
        if "expander" in options.phases:
            self._check_exchangeable()

    def _check_exchangeable(self) -> None:
        if self.engine == "api" and not self.options.after_merge:
            raise InputError(
                f"the generator {self.generator} is a server, which cannot load the model of the next round",
                expected="engine local or vllm, or a command that puts a merged model behind the server",
                remedy="after_merge: [./restart.sh, '{folder}', '{name}']",
            )
        if self.engine == "api" and not self.options.model:
            raise InputError("the weights behind the server are not named", expected="what DPO trains: --model")
        if self.engine in {"echo", "replay"}:
            raise InputError(f"the engine {self.engine} has no weights to align", expected="engine local, vllm or api")

    def steps(self) -> Iterator[Step]:
        if self.options.corpus:
            yield self._synthesize(self.options.corpus)
        yield self._measure()
        for number in range(1, self.options.rounds + 1):
            self.round, self.number = number, 0
            for phase in self.options.phases:
                yield from self._expander() if phase == "expander" else self._retriever()
            yield self._measure()

    def _synthesize(self, corpus: str) -> Step:
        folder = self._folder("synthesize")
        queries = folder / "collection" / "queries.jsonl"
        self.collection = str(queries.parent)
        fixed = {"corpus": corpus, "output": self.collection, "store": self.options.store}
        return self._step(folder, _command("train synthesize", self.options.synthesize, fixed, queries))

    def _expander(self) -> Iterator[Step]:
        """The LLM learns what the last retriever prefers of its texts."""
        options = self.options
        folder = self._folder("preferences")
        pairs = folder / "preferences" / "preferences.jsonl"
        fixed: dict[str, Any] = {"rows": [self.collection], "split": options.train_split, "output": str(pairs.parent)}
        fixed |= {"generator": self.generator, "encoder": self.encoder, **self.store_and_prompt}
        yield self._step(folder, _command("train preferences", options.preferences, fixed, pairs))

        folder = self._folder("dpo")
        run, settings = folder / "run", block_options(options.dpo, {})
        is_whole = "lora" in settings and settings["lora"] is None
        fixed = {"model": self.model, "preferences": str(pairs.parent), "output": str(run), "prompt": options.prompt}
        fixed["heldout"] = {"rows": self.collection, "split": options.dev_split, "encoder": self.encoder}
        fixed |= {"other_llm": True} if self.engine == "api" else {}
        weights = run / ("model.safetensors" if is_whole else "adapter_model.safetensors")
        yield self._step(folder, _command("train dpo", options.dpo, fixed, weights))

        folder = self._folder("merge")
        name = f"expander-{self.round}"
        merged = run if is_whole else folder / name
        fixed = {"adapter": str(run), "output": str(merged)}
        merge = _command("train merge", options.merge, fixed, merged / "model.safetensors")
        models = {"base": self.generator, "folder": str(merged), "name": name}
        yield self._step(folder, *([] if is_whole else [merge]), models=models, result=folder / "generator.yaml")
        self.generator, self.model = str(folder / "generator.yaml"), str(merged)

    def _retriever(self) -> Iterator[Step]:
        """The retriever learns to read the last expander's texts."""
        options = self.options
        folder = self._folder("expand")
        expansions = folder / "train.jsonl"
        yield self._step(folder, self._expand(options.train_split, expansions))

        folder = self._folder("mine")
        rows = folder / "rows.jsonl"
        fixed: dict[str, Any] = {"collection": self.collection, "split": options.train_split}
        fixed |= {"encoder": self.encoder, "output": str(rows)}
        yield self._step(folder, _command("train mine", options.mine, fixed, rows))

        if options.listwise is not None:
            folder = self._folder("order")
            fixed = {"rows": str(rows), "generator": self.generator, "store": options.store}
            rows = folder / "rows.jsonl"
            fixed["output"] = str(rows)
            yield self._step(folder, _command("train order", options.listwise, fixed, rows))

        folder = self._folder("retriever")
        trained = folder / f"retriever-{self.round}"
        data = {"rows": str(rows), "expansions": str(expansions)}
        data |= {"without_expansion": "alone"} if options.skip_missing else {}
        fixed = {"encoder": self.encoder, "data": data, "output": str(trained)}
        fixed |= {} if "dev" in options.retriever else {"dev": {"share": 0.1}}
        yield self._step(folder, _command("train retriever", options.retriever, fixed, trained))
        self.encoder = str(trained)

    def _measure(self) -> Step:
        """Dev, searched by each retriever with and without expansions; BM25 alone is searched once for all rounds."""
        folder = self._folder("measure")
        expansions = folder / "dev.jsonl"
        commands = [self._expand(self.options.dev_split, expansions)]
        runs: dict[str, Path] = {"sparse": self.sparse_alone} if self.sparse_alone else {}
        for figure in ("sparse", "sparse+expansions", "dense", "dense+expansions"):
            if figure not in runs:
                runs[figure] = folder / f"{figure}.run"
                retriever, is_expanded = figure.split("+")[0], "+" in figure
                fixed: dict[str, Any] = {"collection": self.collection, "split": self.options.dev_split}
                fixed |= {"retriever": retriever, "output": str(runs[figure])}
                fixed |= {"encoder": self.encoder} if retriever == "dense" else {}
                fixed |= {"expansions": str(expansions)} if is_expanded else {}
                fixed |= {"skip_missing": True} if is_expanded and self.options.skip_missing else {}
                commands.append(_command("search", self.options.search, fixed, runs[figure]))
        self.sparse_alone = runs["sparse"]
        for expanded in ("", "+expansions"):
            run = runs[f"hybrid{expanded}"] = folder / f"hybrid{expanded}.run"
            parts = (str(runs[f"sparse{expanded}"]), str(runs[f"dense{expanded}"]))
            commands.append(Command("fuse", {"output": str(run)}, run, parts))
        models = {"generator": self.generator, "encoder": self.encoder, "collection": self.collection}
        return self._step(folder, *commands, models=models, runs=runs, result=folder / "scores.json")

    def _expand(self, split: str, output: Path) -> Command:
        options = self.options
        fixed: dict[str, Any] = {"collection": self.collection, "split": split, "generator": self.generator}
        fixed |= {"samples": options.samples, "output": str(output), **self.store_and_prompt}
        return _command("expand", options.expand, fixed, output)

    def _folder(self, kind: str) -> Path:
        self.number += 1
        return self.output / f"round-{self.round}" / f"{self.number:02d}-{kind}"

    def _step(self, folder: Path, *commands: Command, **more: Any) -> Step:
        kind = folder.name.partition("-")[2]
        return Step(f"{folder.parent.name}/{folder.name}", kind, self.round, commands, **more)


def _command(verb: str, block: Block | None, fixed: dict[str, Any], output: Path) -> Command:
    """The command with its block's options under those that are fixed here; what is None is left out."""
    fixed = {name: value for name, value in fixed.items() if value is not None}
    return Command(verb, block_options(block, fixed), output)
