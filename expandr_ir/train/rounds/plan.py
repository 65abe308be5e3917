"""The steps of all rounds, each with the commands it runs: fixed by the options before anything is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from expandr_ir.config import drop_none, generator_config
from expandr_ir.errors import ComparisonFailedError, InputError, PartlyDoneError
from expandr_ir.generators.gguf import PACKAGE
from expandr_ir.io.manifest import Manifest, read_manifest
from expandr_ir.train.rounds.config import RoundsOptions, block_options

PARTIAL = ("train synthesize", "train preferences", "train order")
"""Verbs whose exit code 7, done in part, will do."""

GATED = ("train dpo",)
"""Verbs whose exit code 1, a model that the gate calls no better than before, will do: the rounds measure it."""


@dataclass(frozen=True)
class Command:
    """One verb with its options; it is complete when its output stands there with a manifest."""

    verb: str  # such as "train dpo"
    options: Mapping[str, Any]
    output: Path  # the file or folder that the manifest stands beside
    arguments: tuple[str, ...] = ()  # bare ones: the runs to fuse
    may_be_partial: bool = False

    def manifest(self) -> Manifest | None:
        """The manifest of a complete output; None where the command is still to run."""
        manifest = read_manifest(self.output) if self.output.exists() else None
        if manifest and self.verb == "expand" and not self.may_be_partial:
            return None if manifest.counts["failed"] + manifest.counts["refused"] else manifest
        return manifest

    def accepts(self, code: int) -> bool:
        """Reports whether an exit code other than 0 will do; uncaught exceptions have 1, too, and leave no manifest."""
        if code == ComparisonFailedError.exit_code:
            return self.verb in GATED and self.manifest() is not None
        return self.may_be_partial and code == PartlyDoneError.exit_code


@dataclass(frozen=True)
class Step:
    """A step of a round; round 0 goes before all."""

    folder: Path
    kind: str  # such as "dpo"
    round: int
    commands: tuple[Command, ...]
    models: Mapping[str, str] = field(default_factory=dict)  # of "merge" before and after, of "measure" the measured
    runs: Mapping[str, Path] = field(default_factory=dict)  # of "measure", by figure

    @property
    def name(self) -> str:
        """The folder below the output, such as "round-1/02-dpo"."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def output(self) -> str:
        """The output of the first command."""
        return str(self.commands[0].options["output"])

    @property
    def result(self) -> Path | None:
        """The file that the rounds themselves write once all commands are done."""
        name = {"merge": "generator.yaml", "measure": "scores.json"}.get(self.kind)
        return self.folder / name if name else None


def plan(options: RoundsOptions) -> list[Step]:
    """All steps, in their order."""
    return list(_Planner(options).steps())


class _Planner:
    """Makes the steps, and knows the last models as it goes on."""

    def __init__(self, options: RoundsOptions) -> None:
        config = generator_config(options.generator)
        self.options, self.output = options, Path(options.output).expanduser().absolute()
        self.round = self.number = 0
        self.collection = options.collection
        self.generator, self.engine, self.encoder = options.generator, config.engine, options.encoder
        self.model = options.model or (options.generator if config.model.startswith(PACKAGE) else config.model)
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
        """All steps, in their order."""
        if self.options.corpus:
            fixed = {"corpus": self.options.corpus, "store": self.options.store}
            synthesize = self._step("train synthesize", "collection", "queries.jsonl", **fixed)
            self.collection = synthesize.output
            yield synthesize
        yield self._measure()
        for number in range(1, self.options.rounds + 1):
            self.round, self.number = number, 0
            for phase in self.options.phases:
                yield from self._expander() if phase == "expander" else self._retriever()
            yield self._measure()

    def _expander(self) -> Iterator[Step]:
        """The LLM learns what the last retriever prefers of its texts."""
        options = self.options
        fixed: dict[str, Any] = {"rows": [self.collection], "split": options.train_split, "generator": self.generator}
        fixed |= {"encoder": self.encoder, **self.store_and_prompt}
        preferences = self._step("train preferences", "preferences", "preferences.jsonl", **fixed)
        yield preferences

        is_whole = block_options(options.dpo, {}).get("lora", {}) is None
        heldout = {"rows": self.collection, "split": options.dev_split, "encoder": self.encoder}
        fixed = {"model": self.model, "preferences": preferences.output, "prompt": options.prompt, "heldout": heldout}
        fixed |= {"other_llm": True} if self.engine == "api" else {}
        weights = "model.safetensors" if is_whole else "adapter_model.safetensors"
        dpo = self._step("train dpo", "run", weights, **fixed)
        yield dpo

        name = f"expander-{self.round}"
        merge = self._step("train merge", name, "model.safetensors", adapter=dpo.output)
        self.model = dpo.output if is_whole else merge.output
        models = {"base": self.generator, "folder": self.model, "name": name}
        yield replace(merge, models=models, commands=() if is_whole else merge.commands)
        self.generator = str(merge.result)

    def _retriever(self) -> Iterator[Step]:
        """The retriever learns to read the last expander's texts."""
        options = self.options
        expand = self._expand("train.jsonl", options.train_split)
        yield expand
        fixed: dict[str, Any] = {"collection": self.collection, "split": options.train_split, "encoder": self.encoder}
        rows = self._step("train mine", "rows.jsonl", **fixed)
        yield rows
        if options.listwise is not None:
            fixed = {"rows": rows.output, "generator": self.generator, "store": options.store}
            rows = self._step("train order", "rows.jsonl", **fixed)
            yield rows
        data = {"rows": rows.output, "expansions": expand.output}
        data |= {"without_expansion": "alone"} if options.skip_missing else {}
        fixed = {"encoder": self.encoder, "data": data}
        fixed |= {} if "dev" in options.retriever else {"dev": {"share": 0.1}}
        retriever = self._step("train retriever", f"retriever-{self.round}", **fixed)
        yield retriever
        self.encoder = retriever.output

    def _measure(self) -> Step:
        """Dev, searched by each retriever with and without expansions; BM25 alone is searched once for all rounds."""
        expand = self._expand("dev.jsonl", self.options.dev_split, kind="measure")
        commands, folder = list(expand.commands), expand.folder
        runs: dict[str, Path] = {"sparse": self.sparse_alone} if self.sparse_alone else {}
        for figure in ("sparse", "sparse+expansions", "dense", "dense+expansions"):
            if figure not in runs:
                retriever, _, expanded = figure.partition("+")
                fixed: dict[str, Any] = {"collection": self.collection, "split": self.options.dev_split}
                fixed |= {"retriever": retriever, "encoder": self.encoder if retriever == "dense" else None}
                fixed |= {"expansions": expand.output} if expanded else {}
                fixed |= {"skip_missing": True} if expanded and self.options.skip_missing else {}
                runs[figure] = folder / f"{figure}.run"
                commands.append(self._command("search", runs[figure], **fixed))
        self.sparse_alone = runs["sparse"]
        for expanded in ("", "+expansions"):
            run = runs[f"hybrid{expanded}"] = folder / f"hybrid{expanded}.run"
            parts = (str(runs[f"sparse{expanded}"]), str(runs[f"dense{expanded}"]))
            commands.append(Command("fuse", {"output": str(run)}, run, parts))
        models = {"generator": self.generator, "encoder": self.encoder, "collection": str(self.collection)}
        return replace(expand, commands=tuple(commands), models=models, runs=runs)

    def _expand(self, output: str, split: str, kind: str = "expand") -> Step:
        fixed: dict[str, Any] = {"collection": self.collection, "split": split, "generator": self.generator}
        fixed |= {"samples": self.options.samples, **self.store_and_prompt}
        return self._step("expand", output, kind=kind, **fixed)

    def _step(self, verb: str, output: str, file: str = "", *, kind: str | None = None, **fixed: Any) -> Step:
        """The next step of the round, of one command, whose manifest stands beside the file of its output folder."""
        kind = kind or verb.removeprefix("train ")
        self.number += 1
        folder = self.output / f"round-{self.round}" / f"{self.number:02d}-{kind}"
        return Step(folder, kind, self.round, (self._command(verb, folder / output, file, **fixed),))

    def _command(self, verb: str, output: Path, file: str = "", **fixed: Any) -> Command:
        """The command with its block's options under those that are fixed here; what is None is left out."""
        block = getattr(self.options, verb.removeprefix("train ").replace("order", "listwise"))
        options = block_options(block, drop_none(fixed) | {"output": str(output)})
        is_partial = verb in PARTIAL or (verb == "expand" and self.options.skip_missing)
        return Command(verb, options, output / file, may_be_partial=is_partial)
