"""The steps of all rounds, each with the commands it runs: fixed by the options before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expandr_ir.config import generator_config
from expandr_ir.errors import InputError
from expandr_ir.train.rounds.config import RoundsOptions, block_options
from expandr_ir.train.rounds.steps import Command, Kind, Step


@dataclass
class _Last:
    """The last models, as the plan goes on."""

    collection: str
    rows: str
    generator: str
    model: str
    encoder: str
    engine: str


def plan(options: RoundsOptions, output: Path) -> list[Step]:
    """All steps, in their order.

    Args:
        options: of the rounds.
        output: the folder of all of it.

    Raises:
        InputError: an unknown configuration or generator, or a generator whose model cannot be exchanged.
    """
    return list(_Planner(options, output).steps())


class _Planner:
    def __init__(self, options: RoundsOptions, output: Path) -> None:
        self._options, self._output = options, output.absolute()
        self._round = self._number = 0
        self._sparse_alone: Path | None = None

    def steps(self) -> Iterator[Step]:
        last = yield from self._start()
        yield self._measure(last)
        for number in range(1, self._options.rounds + 1):
            self._round, self._number = number, 0
            for phase in self._options.phases:
                yield from self._expander(last) if phase == "expander" else self._retriever(last)
            yield self._measure(last)

    def _start(self) -> Any:
        options = self._options
        last = _Last(options.collection or "", "", options.generator or "", "", options.encoder, "local")
        if options.corpus:
            name, folder = self._next("synthesize")
            last.collection = str(folder / "collection")
            command = self._command(
                ("train", "synthesize"),
                options.synthesize,
                {"corpus": options.corpus, "output": last.collection, **self._stored()},
                folder / "collection" / "queries.jsonl",
                partly=True,
            )
            yield Step(name, "synthesize", 0, (command,))
        last.rows = last.collection
        if options.small_expander is not None:
            name, folder = self._next("small-expander")
            made = folder / "expander-0"
            decided = {"collection": last.collection, "split": options.train_split, "output": str(made)}
            command = self._command(
                ("train", "small-expander"), options.small_expander, decided, made / "model.safetensors"
            )
            yield Step(name, "small-expander", 0, (command,))
            last.generator, last.model = str(made / "generator.yaml"), str(made)
            last.rows = str(made / "rows" / "kept.jsonl")
        elif options.generator:
            config = generator_config(options.generator)
            last.engine, last.model = config.engine, options.model or config.model
            if "expander" in options.phases:
                self._check_exchangeable(config.engine)
        return last

    def _check_exchangeable(self, engine: str) -> None:
        if engine == "api" and not self._options.after_merge:
            raise InputError(
                f"the generator {self._options.generator} is a server, which cannot load the model of the next round",
                expected="engine local or vllm, or a command that puts a merged model behind the server",
                remedy="after_merge: [./restart.sh, '{folder}', '{name}']",
            )
        if engine == "api" and not self._options.model:
            raise InputError("the weights behind the server are not named", expected="what DPO trains: --model")
        if engine in {"echo", "replay"}:
            raise InputError(f"the engine {engine} has no weights to align", expected="engine local, vllm or api")

    def _expander(self, last: _Last) -> Iterator[Step]:
        options = self._options
        name, folder = self._next("preferences")
        preferences = folder / "preferences"
        decided: dict[str, Any] = {
            "rows": [last.rows],
            "generator": last.generator,
            "encoder": last.encoder,
            "output": str(preferences),
            **self._stored(),
            **self._prompted(),
        }
        if last.rows == last.collection:
            decided["split"] = options.train_split
        command = self._command(
            ("train", "preferences"), options.preferences, decided, preferences / "preferences.jsonl", partly=True
        )
        yield Step(name, "preferences", self._round, (command,))

        name, folder = self._next("dpo")
        run = folder / "run"
        heldout = {"rows": last.collection, "split": options.dev_split, "encoder": last.encoder}
        decided = {"model": last.model, "preferences": str(preferences), "heldout": heldout, "output": str(run)}
        decided |= {"other_llm": True} if last.engine == "api" else {}
        settings = block_options(options.dpo, {})
        whole = "lora" in settings and settings["lora"] is None
        weights = run / ("model.safetensors" if whole else "adapter_model.safetensors")
        command = self._command(("train", "dpo"), options.dpo, decided | self._prompted(), weights, launched=True)
        yield Step(name, "dpo", self._round, (command,))

        name, folder = self._next("merge")
        merged = run if whole else folder / f"expander-{self._round}"
        commands: tuple[Command, ...] = ()
        if not whole:
            decided = {"adapter": str(run), "output": str(merged)}
            commands = (self._command(("train", "merge"), options.merge, decided, merged / "model.safetensors"),)
        generator = str(folder / "generator.yaml")
        yield Step(
            name,
            "merge",
            self._round,
            commands,
            {"base": last.generator, "generator": generator, "folder": str(merged), "name": f"expander-{self._round}"},
        )
        last.generator, last.model = generator, str(merged)

    def _retriever(self, last: _Last) -> Iterator[Step]:
        options = self._options
        name, folder = self._next("expand")
        expansions = folder / "train.jsonl"
        yield Step(name, "expand", self._round, (self._expand(last, options.train_split, expansions),))

        name, folder = self._next("mine")
        rows = folder / "rows.jsonl"
        decided: dict[str, Any] = {
            "collection": last.collection,
            "split": options.train_split,
            "encoder": last.encoder,
            "output": str(rows),
        }
        command = self._command(("train", "mine"), options.mine, decided, rows)
        yield Step(name, "mine", self._round, (command,))

        if options.listwise is not None:
            name, folder = self._next("order")
            ordered = folder / "rows.jsonl"
            decided = {"rows": str(rows), "generator": last.generator, "output": str(ordered), **self._stored()}
            command = self._command(("train", "order"), options.listwise, decided, ordered, partly=True)
            yield Step(name, "order", self._round, (command,))
            rows = ordered

        name, folder = self._next("retriever")
        trained = folder / f"retriever-{self._round}"
        decided = {
            "encoder": last.encoder,
            "data": {"rows": str(rows), "expansions": str(expansions)},
            "output": str(trained),
        }
        if options.skip_missing:
            decided["data"]["without_expansion"] = "alone"
        if "dev" not in options.retriever:
            decided["dev"] = {"share": 0.1}
        command = self._command(("train", "retriever"), options.retriever, decided, trained, launched=True)
        yield Step(name, "retriever", self._round, (command,))
        last.encoder = str(trained)

    def _measure(self, last: _Last) -> Step:
        """Dev, searched by each retriever with and without expansions; BM25 alone stays what it was."""
        name, folder = self._next("measure")
        expansions = folder / "dev.jsonl"
        commands = [self._expand(last, self._options.dev_split, expansions)]
        runs: dict[str, Path] = {}
        for retriever in ("sparse", "dense"):
            for expanded in ("", "+expansions"):
                if retriever == "sparse" and not expanded and self._sparse_alone:
                    runs["sparse"] = self._sparse_alone
                    continue
                run = folder / f"{retriever}{expanded}.run"
                decided = {
                    "collection": last.collection,
                    "split": self._options.dev_split,
                    "retriever": retriever,
                    "encoder": last.encoder if retriever == "dense" else None,
                    "expansions": str(expansions) if expanded else None,
                    "skip_missing": True if expanded and self._options.skip_missing else None,
                    "output": str(run),
                }
                commands.append(self._command(("search",), self._options.search, decided, run))
                runs[f"{retriever}{expanded}"] = run
        self._sparse_alone = runs["sparse"]
        for expanded in ("", "+expansions"):
            run = folder / f"hybrid{expanded}.run"
            parts = (str(runs[f"sparse{expanded}"]), str(runs[f"dense{expanded}"]))
            commands.append(Command(("fuse",), {"output": str(run)}, run, parts))
            runs[f"hybrid{expanded}"] = run
        models = {"generator": last.generator, "encoder": last.encoder, "collection": last.collection}
        return Step(name, "measure", self._round, tuple(commands), models, runs)

    def _expand(self, last: _Last, split: str, output: Path) -> Command:
        decided = {
            "collection": last.collection,
            "split": split,
            "generator": last.generator,
            "samples": self._options.samples,
            "output": str(output),
        }
        return self._command(
            ("expand",),
            self._options.expand,
            decided | self._stored() | self._prompted(),
            output,
            partly=self._options.skip_missing,
        )

    def _next(self, kind: Kind) -> tuple[str, Path]:
        self._number += 1
        name = f"round-{self._round}/{self._number:02d}-{kind}"
        return name, self._output / name

    def _stored(self) -> dict[str, str]:
        return {"store": self._options.store} if self._options.store else {}

    def _prompted(self) -> dict[str, str]:
        return {"prompt": self._options.prompt} if self._options.prompt else {}

    @staticmethod
    def _command(
        verb: tuple[str, ...],
        block: Any,
        decided: dict[str, Any],
        output: Path,
        *,
        launched: bool = False,
        partly: bool = False,
    ) -> Command:
        given = {name: value for name, value in decided.items() if value is not None}
        return Command(verb, block_options(block, given), output, launched=launched, partly=partly)
