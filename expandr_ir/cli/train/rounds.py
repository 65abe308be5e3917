"""`expandr train rounds`."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.outputs import output_folder
from expandr_ir.cli.sources import say
from expandr_ir.errors import PartlyDoneError
from expandr_ir.train.rounds.config import RoundsOptions
from expandr_ir.train.rounds.estimate import Estimate, estimates
from expandr_ir.train.rounds.plan import plan
from expandr_ir.train.rounds.run import run_rounds
from expandr_ir.train.rounds.state import State

VERB = Verb(
    "train rounds",
    "Align the expander and train the retriever in turns, every step resumable, every round measured on dev.",
    """
expandr train rounds --config rounds-reinforced-ir --corpus corpus.jsonl --output rounds --dry-run
expandr train rounds --config rounds-expandr --collection beir/scifact --output rounds
expandr train rounds --config rounds-small --corpus beir/scifact --output rounds --rounds 3
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(RoundsOptions):
    """Options of `expandr train rounds`.

    Args:
        output: folder of all rounds; what is done there is passed over.
        dry_run: show the steps, and about how many tokens and seconds each would take, and stop.
    """

    output: str
    dry_run: bool = False


def run(argv: list[str]) -> int:
    """Does what is not done yet and prints the report; 7 where a round gave no usable pair."""
    options = parse(VERB, Options, argv)
    folder = output_folder(options.output)
    rounds = RoundsOptions(**{name: getattr(options, name) for name in RoundsOptions.__dataclass_fields__})
    if options.dry_run:
        steps = plan(rounds, folder)
        _show(estimates(steps, rounds, State.open(folder, asdict(rounds))))
        return 0
    outcome = run_rounds(rounds, folder, lambda line: print(line, file=sys.stderr, flush=True))
    print(outcome.report.read_text(encoding="utf-8"), end="")
    if outcome.stopped:
        say(f"stopped: {outcome.stopped}")
    if outcome.partly:
        say("the models of the round before are the last good ones")
    print(Path(folder))
    return PartlyDoneError.exit_code if outcome.partly else 0


def _show(found: list[Estimate]) -> None:
    print(f"{'step':<32} {'new tokens, at most':>20} {'seconds, about':>15}")
    for one in found:
        tokens = "?" if one.new_tokens is None else f"{one.new_tokens:,}"
        seconds = "?" if one.seconds is None else f"{one.seconds:,.0f}"
        print(f"{one.step.name:<32} {tokens:>20} {seconds:>15}{'  done' if one.is_done else ''}")
    due = [one for one in found if not one.is_done]
    known = [one.seconds for one in due if one.seconds is not None]
    written = sum(one.new_tokens or 0 for one in due)
    print(f"{'still to do':<32} {written:>20,} {sum(known):>15,.0f}")
    if len(known) < len(due):
        say(
            f"the time of {len(due) - len(known)} steps is not known: nothing of their kind was measured in this folder"
        )
    say("estimates: tokens are counted at the longest possible samples, seconds are those of earlier steps")
