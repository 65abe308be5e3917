"""The rounds, step by step, each verb in a process of its own: done steps are passed over, broken ones go on."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from expandr_ir.config import generator_block
from expandr_ir.errors import ExpandrError, InputError, PartlyDoneError
from expandr_ir.io.files import atomic_write, exclusive, output_folder
from expandr_ir.io.manifest import read_manifest
from expandr_ir.train.rounds.config import RoundsOptions, claim_folder
from expandr_ir.train.rounds.plan import Command, Step, plan
from expandr_ir.train.rounds.report import (
    Done,
    forecast,
    read_all_done,
    read_done,
    write_report,
    write_scores,
)

logger = logging.getLogger(__name__)

LOG = "log.txt"
LINES_KEPT = 2_000
PR_SET_PDEATHSIG = 1

LAUNCHED = ("train dpo", "train retriever")
"""Verbs that the options' launcher runs."""

PARTLY = ("train synthesize", "train preferences", "train order")
"""Verbs whose exit code 7, done in part, will do."""

NO_PAIR = "queries gives a preference"
"""The words of `expandr train preferences` where no pair is left."""


@dataclass(frozen=True)
class RoundsResult:
    """The report and its folder, or a forecast, as text; exit code 7 where pairs were wanting."""

    text: str
    exit_code: int = 0

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Ended:
    """The exit code of a process, and the last lines it wrote."""

    code: int
    lines: tuple[str, ...]

    def message(self) -> str:
        """The error that a verb ended with: from its last "expandr: " on, else the last lines."""
        starts = [place for place, line in enumerate(self.lines) if line.startswith("expandr: ")]
        lines = self.lines[starts[-1] :] if starts else self.lines[-5:]
        return "\n".join(lines).removeprefix("expandr: ") or "it said nothing"


class StepFailedError(ExpandrError):
    """A step's verb failed; it carries the verb's exit code."""

    def __init__(self, step: str, folder: Path, ended: Ended) -> None:
        how = f"exit code {ended.code}" if ended.code >= 0 else f"killed by signal {-ended.code}"
        self.ended = ended
        self.exit_code = ended.code if ended.code in {2, 3, 4, 6, 7} else ExpandrError.exit_code
        remedy = f"see {folder / LOG}; the same command goes on with this step"
        if ended.code == PartlyDoneError.exit_code:
            remedy += "; with --skip-missing in another --output, what has no expansion is left out"
        super().__init__(f"{step} failed ({how}): {ended.message()}", remedy=remedy)


def rounds(options: RoundsOptions) -> RoundsResult:
    """Does what is not done yet, and reports; with `dry_run`, forecasts what there is to do.

    Raises:
        InputError: options that do not fit, or a folder that was begun with others.
        StepFailedError: a verb failed; the same command goes on with its step.
        OSError: the disk is full; what was done is kept.
    """
    output = output_folder(options.output)
    steps = plan(options)
    if options.dry_run:
        claim_folder(output, options)
        return RoundsResult(forecast(steps, read_all_done(steps), options))
    stopped = None
    with exclusive(output / ".lock", lambda: logger.warning("another process works in %s: waiting for it", output)):
        claim_folder(output, options)
        done = read_all_done(steps)
        for step in steps:
            if step.name not in done:
                logger.warning("%s ...", step.name)
                try:
                    done[step.name] = _perform(step, options, output.absolute() / step.name)
                except StepFailedError as error:
                    if step.kind != "preferences" or not any(NO_PAIR in line for line in error.ended.lines):
                        raise
                    stopped = f"round {step.round} gave no usable pair: {error.ended.message()}"
                    break
                logger.warning("%s: %.0f s", step.name, done[step.name].seconds)
                if step.kind == "measure":
                    write_report(output, steps, done, options, None)
            if stopped := stop_reason(step, steps, done, options):
                break
        report = write_report(output, steps, done, options, stopped)
    if stopped:
        logger.warning("stopped: %s", stopped)
    wants_pairs = stopped is not None and "usable pair" in stopped
    if wants_pairs:
        logger.warning("the models of the round before are the last good ones")
    text = f"{report.read_text(encoding='utf-8')}{output}"
    return RoundsResult(text, PartlyDoneError.exit_code if wants_pairs else 0)


def stop_reason(step: Step, steps: Sequence[Step], done: Mapping[str, Done], options: RoundsOptions) -> str | None:
    """The reason why no step follows this one, which is done; None where one does."""
    figures = done[step.name].figures
    if step.kind == "preferences" and figures["pairs"] < options.min_pairs:
        return (
            f"round {step.round} gave too few usable pairs: {figures['pairs']} of {figures['queries']} queries "
            f"(min_pairs {options.min_pairs}); dropped {figures['dropped']}"
        )
    if step.kind != "measure" or step.round == options.rounds:
        return None
    measured = [other for other in steps if other.kind == "measure" and other.round <= step.round]
    values = [done[other.name].figures["dev"][options.watch] for other in measured]
    since = step.round - values.index(max(values))
    if since < options.patience:
        return None
    listed = ", ".join(f"{value:.4f}" for value in values)
    return f"dev {options.watch} ({options.measure}) did not get better for {since} rounds: {listed}"


def write_generator(base: str, target: Path, *, folder: str, name: str) -> None:
    """Writes the block of another generator with a merged model in its own's place; a server is asked for `name`."""
    block = generator_block(base)
    options = yaml.safe_load(block.read_text(encoding="utf-8")) if isinstance(block, Path) else dict(block)
    for key in ("revision", "adapter", "adapter_revision", "notes"):
        options.pop(key, None)
    options["model"] = name if options["engine"] == "api" else folder
    with atomic_write(target) as stream:
        yaml.safe_dump(options, stream, sort_keys=False, allow_unicode=True)


def _perform(step: Step, options: RoundsOptions, folder: Path) -> Done:
    folder.mkdir(parents=True, exist_ok=True)
    for command in step.commands:
        if _is_complete(command):
            continue
        ended = run_child(_argv(command, folder, options.launcher), folder)
        may_be_partial = command.verb in PARTLY or (command.verb == "expand" and options.skip_missing)
        if ended.code != 0 and not (may_be_partial and ended.code == PartlyDoneError.exit_code):
            raise StepFailedError(step.name, folder, ended)
        if not _is_complete(command):
            raise InputError(
                f"{command.verb} wrote no {command.output} with its manifest",
                expected="an output where the rounds look for it",
                remedy=f"no `output` in the options of {step.kind}",
            )
    if step.kind == "merge":
        model = {name: step.models[name] for name in ("folder", "name")}
        if options.after_merge:
            ended = run_child([word.format(**model) for word in options.after_merge], folder)
            if ended.code != 0:
                raise StepFailedError(step.name, folder, ended)
        write_generator(step.models["base"], folder / "generator.yaml", **model)
    if step.kind == "measure":
        write_scores(step, options.dev_split, options.measure)
    done = read_done(step)
    assert done
    return done


def _is_complete(command: Command) -> bool:
    manifest = read_manifest(command.output)
    return command.output.exists() and manifest is not None and manifest.describes(command.output)


def _argv(command: Command, folder: Path, launcher: Sequence[str]) -> list[str]:
    """The words that run a command, after writing its options into the step's folder."""
    options = folder / f"{command.verb.replace(' ', '-')}-{command.output.name}.yaml"
    with atomic_write(options) as stream:
        yaml.safe_dump(dict(command.options), stream, sort_keys=False, allow_unicode=True)
    front = launcher if launcher and command.verb in LAUNCHED else [sys.executable, "-m", "expandr_ir"]
    return [*front, *command.verb.split(), *command.arguments, "--config", str(options)]


def run_child(argv: Sequence[str], folder: Path) -> Ended:
    """Runs a command to its end, passes its lines on to stderr, and keeps them in the step's log.

    Its memory, JVM and torch end with it. On Linux the child is killed when this process dies, however that comes
    about: two processes never write to one step.
    """
    lines: deque[str] = deque(maxlen=LINES_KEPT)
    ours = os.getpid()
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        preexec_fn=lambda: _die_with(ours),  # noqa: PLW1509 - no threads are running here
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                lines.append(line.rstrip("\n"))
                sys.stderr.write(line)
                sys.stderr.flush()
        except BaseException:
            child.terminate()
            raise
    try:
        with atomic_write(folder / LOG) as stream:
            stream.writelines(f"{line}\n" for line in ("$ " + " ".join(argv), *lines))
    except OSError:
        if child.returncode == 0:
            raise  # otherwise the child's own failure is reported, perhaps of the same full disk
    return Ended(child.returncode, tuple(lines))


def _die_with(parent: int) -> None:
    """In the child: asks Linux for a kill when the parent dies; leaves at once where it has died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
