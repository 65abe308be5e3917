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
from functools import partial
from pathlib import Path

import yaml

from expandr_ir.blocks import parse_mapping
from expandr_ir.config import generator_block
from expandr_ir.errors import ExpandrError, InputError, PartlyDoneError
from expandr_ir.io.files import exclusive, output_folder, write_text
from expandr_ir.train.rounds.config import RoundsOptions, claim_folder
from expandr_ir.train.rounds.plan import Command, Step, plan
from expandr_ir.train.rounds.report import Done, forecast, read_all_done, read_done, write_report, write_scores

logger = logging.getLogger(__name__)

LOG = "log.txt"
LINES_KEPT = 2_000
PR_SET_PDEATHSIG = 1

LAUNCHED = ("train dpo", "train retriever")
"""Verbs that the options' launcher runs."""

NO_PAIR = "queries gives a preference"
"""The words of `expandr train preferences` where no pair is left."""


@dataclass(frozen=True)
class RoundsResult:
    """The report and its folder, or a forecast, as text; exit code 7 where pairs were wanting."""

    text: str
    exit_code: int = 0

    def __str__(self) -> str:
        return self.text


class StepFailedError(ExpandrError):
    """A step's command failed: with the lines from its last "expandr: " on as message, else its last lines."""

    def __init__(self, folder: Path, code: int, lines: Sequence[str]) -> None:
        starts = [place for place, line in enumerate(lines) if line.startswith("expandr: ")]
        last = lines[starts[-1] :] if starts else lines[-5:]
        self.message = "\n".join(last).removeprefix("expandr: ") or "it said nothing"
        self.exit_code = code if code in {2, 3, 4, 6, 7} else ExpandrError.exit_code
        how = f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
        remedy = f"see {folder / LOG}; the same command goes on with this step"
        if code == PartlyDoneError.exit_code:
            remedy += "; with --skip-missing in another --output, what has no expansion is left out"
        super().__init__(f"{folder.parent.name}/{folder.name} failed ({how}): {self.message}", remedy=remedy)


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
    stopped, exit_code = None, 0
    with exclusive(output / ".lock", lambda: logger.warning("another process works in %s: waiting for it", output)):
        claim_folder(output, options)
        done = read_all_done(steps)
        for step in steps:
            if step.name not in done:
                logger.warning("%s ...", step.name)
                try:
                    done[step.name] = _perform(step, options)
                except StepFailedError as error:
                    if step.kind != "preferences" or NO_PAIR not in error.message:
                        raise
                    stopped = f"round {step.round} gave no usable pair: {error.message}"
                else:
                    logger.warning("%s: %.0f s", step.name, done[step.name].seconds)
                    if step.kind == "measure":
                        write_report(output, steps, done, options, None)
            if stopped := stopped or stop_reason(step, steps, done, options):
                break
        report = write_report(output, steps, done, options, stopped)
    if stopped:
        logger.warning("stopped: %s", stopped)
        if step.kind == "preferences":
            logger.warning("the models of the round before are the last good ones")
            exit_code = PartlyDoneError.exit_code
    return RoundsResult(f"{report}{output}", exit_code)


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
    options = parse_mapping(block.read_bytes(), str(block)) if isinstance(block, Path) else dict(block)
    for key in ("revision", "package", "adapter", "adapter_revision", "notes"):
        options.pop(key, None)
    options["model"] = name if options["engine"] == "api" else folder
    write_text(target, yaml.safe_dump(options, sort_keys=False, allow_unicode=True))


def _perform(step: Step, options: RoundsOptions) -> Done:
    """Runs the commands that are not complete; writes the file that is the rounds' own."""
    step.folder.mkdir(parents=True, exist_ok=True)
    for command in step.commands:
        if command.manifest():
            continue
        _run(_words(command, step.folder, options.launcher), step.folder, command)
        if not command.manifest():
            raise InputError(
                f"{command.verb} wrote no {command.output} with its manifest",
                expected="an output where the rounds look for it",
                remedy=f"no `output` in the options of {step.kind}",
            )
    if step.result and step.kind == "merge":
        model = {name: step.models[name] for name in ("folder", "name")}
        if options.after_merge:
            _run([word.format(**model) for word in options.after_merge], step.folder)
        write_generator(step.models["base"], step.result, **model)
    elif step.result:
        write_scores(step, step.result, options.dev_split, options.measure)
    done = read_done(step)
    assert done
    return done


def _words(command: Command, folder: Path, launcher: Sequence[str]) -> list[str]:
    """The words that run a command, after writing its options into the step's folder."""
    options = folder / f"{command.verb.replace(' ', '-')}-{command.output.name}.yaml"
    write_text(options, yaml.safe_dump(dict(command.options), sort_keys=False, allow_unicode=True))
    front = launcher if launcher and command.verb in LAUNCHED else [sys.executable, "-m", "expandr_ir"]
    return [*front, *command.verb.split(), *command.arguments, "--config", str(options)]


def _run(argv: Sequence[str], folder: Path, command: Command | None = None) -> None:
    code, lines = run_child(argv, folder)
    if code != 0 and not (command and command.accepts(code)):
        raise StepFailedError(folder, code, lines)


def run_child(argv: Sequence[str], folder: Path) -> tuple[int, list[str]]:
    """The exit code and last lines of a command, which go to stderr and into the step's log, too.

    Its memory, JVM and torch end with it. On Linux the child is killed when this process dies, however that comes
    about: two processes never write to one step.
    """
    lines: deque[str] = deque(maxlen=LINES_KEPT)
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        preexec_fn=partial(_die_with, os.getpid()),  # noqa: PLW1509 - no threads are running here
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
        write_text(folder / LOG, "\n".join(["$ " + " ".join(argv), *lines, ""]))
    except OSError:
        if child.returncode == 0:
            raise  # otherwise the child's own failure is reported, perhaps of the same full disk
    return child.returncode, list(lines)


def _die_with(parent: int) -> None:
    """In the child: asks Linux for a kill when the parent dies; leaves at once where it has died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
