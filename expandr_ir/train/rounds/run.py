"""The rounds, step by step: what is done is passed over, and what was broken off goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from expandr_ir.config import generator_block
from expandr_ir.errors import ExpandrError, InputError, PartlyDoneError
from expandr_ir.files import atomic_write, exclusive
from expandr_ir.train.rounds.child import LOG, Ended, argv_of, run_child
from expandr_ir.train.rounds.config import RoundsOptions
from expandr_ir.train.rounds.figures import dev_scores, figures_of, is_complete, tokens_of
from expandr_ir.train.rounds.plan import plan
from expandr_ir.train.rounds.report import best_round, write_report
from expandr_ir.train.rounds.state import Done, State
from expandr_ir.train.rounds.steps import Step

Runner: TypeAlias = Callable[[Sequence[str], Path, Callable[[str], None]], Ended]

NO_PAIR = "queries gives a preference"
"""How `expandr train preferences` says that no pair is left."""


class StepFailedError(ExpandrError):
    """A step's verb failed; it carries the verb's exit code."""

    def __init__(self, step: Step, folder: Path, ended: Ended) -> None:
        how = f"exit code {ended.code}" if ended.code >= 0 else f"killed by signal {-ended.code}"
        self.lines = ended.lines
        self.exit_code = ended.code if ended.code in {2, 3, 4, 6, 7} else ExpandrError.exit_code
        remedy = f"see {folder / LOG}; the same command goes on with this step"
        if ended.code == PartlyDoneError.exit_code:
            remedy += "; with --skip-missing in another --output, what has no expansion is left out"
        super().__init__(f"{step.name} failed ({how}): {said(ended.lines)}", remedy=remedy)


@dataclass(frozen=True)
class Outcome:
    """How the rounds ended.

    Args:
        stopped: why before their number was reached; None where it was.
        partly: whether that was for want of pairs.
        report: rounds.md.
        best: the best round by the watched figure, with its models; None where nothing was measured.
    """

    stopped: str | None
    partly: bool
    report: Path
    best: Mapping[str, Any] | None


def run_rounds(
    options: RoundsOptions,
    output: Path,
    show: Callable[[str], None],
    *,
    run: Runner = run_child,
    measure: Callable[[Step, str, str], dict[str, float]] = dev_scores,
) -> Outcome:
    """Does what is not done yet, and reports.

    Args:
        options: of the rounds.
        output: their folder.
        show: is given what happens, line by line.
        run: runs one command in a process of its own.
        measure: the dev scores of a "measure" step.

    Raises:
        InputError: options that do not fit, or a folder that was begun with others.
        StepFailedError: a verb failed; the same command goes on with its step.
        OSError: the disk is full; what was done is kept.
    """
    steps = plan(options, output)
    with exclusive(output / ".lock", lambda: show("another process works in this folder: waiting for it")):
        state = State.open(output, asdict(options))
        state.claim()
        for step in steps if state.stopped is None else ():
            if step.name not in state.done:
                show(f"{step.name} ...")
                try:
                    state.finish(step.name, _perform(step, options, output, show, run, measure))
                except StepFailedError as error:
                    if step.kind != "preferences" or not any(NO_PAIR in line for line in error.lines):
                        raise
                    state.stop(f"round {step.round} gave no usable pair: {said(error.lines)}")
                    break
                show(f"{step.name}: {state.done[step.name].seconds:.0f} s")
                if step.kind == "measure":
                    write_report(output, steps, state)
            if reason := stop_reason(step, steps, state, options):
                state.stop(reason)
                break
        report = write_report(output, steps, state)
    no_pairs = state.stopped is not None and "usable pair" in state.stopped
    return Outcome(state.stopped, no_pairs, report, best_round(steps, state))


def stop_reason(step: Step, steps: Sequence[Step], state: State, options: RoundsOptions) -> str | None:
    """Why there is no step after this one, which is done; None where there is.

    Args:
        step: the last one that is done.
        steps: all of them.
        state: with its figures.
        options: patience, fewest pairs and the watched figure.
    """
    figures = state.done[step.name].figures
    if step.kind == "preferences" and figures["pairs"] < options.min_pairs:
        return (
            f"round {step.round} gave too few usable pairs: {figures['pairs']} of {figures['queries']} queries "
            f"(min_pairs {options.min_pairs}); dropped {figures['dropped']}"
        )
    if step.kind != "measure" or step.round == options.rounds:
        return None
    until = [one for one in steps if one.kind == "measure" and one.round <= step.round]
    values = [state.done[one.name].figures["dev"][options.watch] for one in until]
    best = max(range(len(values)), key=values.__getitem__)
    if step.round - best >= options.patience:
        return (
            f"dev {options.watch} ({options.measure}) did not get better for {step.round - best} rounds: "
            + ", ".join(f"{value:.4f}" for value in values)
        )
    return None


def write_generator(base: str, target: Path, *, folder: str, name: str) -> None:
    """Writes the block of a generator that is another one with a merged model in place of its own.

    Args:
        base: the other one.
        target: the YAML file.
        folder: the merged model; a server is asked for `name` instead.
        name: the merged model's.
    """
    block = generator_block(base)
    own = yaml.safe_load(block.read_text(encoding="utf-8")) if isinstance(block, Path) else dict(block)
    gone = {"revision", "adapter", "adapter_revision", "notes"}
    kept = {key: value for key, value in own.items() if key not in gone}
    with atomic_write(target) as stream:
        model = name if own["engine"] == "api" else folder
        yaml.safe_dump(kept | {"model": model}, stream, sort_keys=False, allow_unicode=True)


def said(lines: Sequence[str]) -> str:
    """The error that a verb ended with: from its last "expandr: " on, else the last lines."""
    starts = [place for place, line in enumerate(lines) if line.startswith("expandr: ")]
    told = lines[starts[-1] :] if starts else lines[-5:]
    return "\n".join(told).removeprefix("expandr: ") or "it said nothing"


def _perform(
    step: Step,
    options: RoundsOptions,
    output: Path,
    show: Callable[[str], None],
    run: Runner,
    measure: Callable[[Step, str, str], dict[str, float]],
) -> Done:
    folder = output.absolute() / step.name
    folder.mkdir(parents=True, exist_ok=True)
    since = time.monotonic()
    for command in step.commands:
        if is_complete(command):
            continue
        ended = run(argv_of(command, folder, options.launcher), folder, show)
        if ended.code != 0 and not (command.partly and ended.code == PartlyDoneError.exit_code):
            raise StepFailedError(step, folder, ended)
        if not is_complete(command):
            raise InputError(
                f"{' '.join(command.verb)} wrote no {command.output} with its manifest",
                expected="an output where the rounds look for it",
                remedy=f"no `output` in the options of {step.kind}",
            )
    figures = figures_of(step)
    if step.kind == "merge":
        _exchange(step, folder, options, show, run)
    if step.kind == "measure":
        figures["dev"] = measure(step, options.dev_split, options.measure)
    seconds = round(time.monotonic() - since, 3)
    return Done(seconds, tokens_of(step), figures, datetime.now(UTC).isoformat(timespec="seconds"))


def _exchange(step: Step, folder: Path, options: RoundsOptions, show: Callable[[str], None], run: Runner) -> None:
    """Writes the generator of a merged model, and has its server load it where it is one."""
    models = step.models
    if options.after_merge:
        words = [word.format(folder=models["folder"], name=models["name"]) for word in options.after_merge]
        ended = run(words, folder, show)
        if ended.code != 0:
            raise StepFailedError(step, folder, ended)
    write_generator(models["base"], Path(models["generator"]), folder=models["folder"], name=models["name"])
