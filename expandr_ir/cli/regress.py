"""`expandr regress`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.outputs import output_folder
from expandr_ir.cli.progress import counting
from expandr_ir.errors import ComparisonFailedError
from expandr_ir.files import home

Names: TypeAlias = list[str]
"""Under a name of its own: `list` is an option below."""

VERB = Verb(
    "regress",
    "Published and recorded figures: run what gives them, and say which still hold.",
    """
expandr regress --collection demo
expandr regress --collection scifact --data beir --expansions expansions
expandr regress --list --collection scifact
expandr regress --dry-run
expandr regress --collection scifact --condition bm25-flat --data beir --commands
""",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `expandr regress`.

    Args:
        collection: names of collections; all where none is named (repeat the flag for several).
        condition: names of conditions, or patterns such as "mugi.*".
        tier: exact, near, live, training or published.
        data: folders with collections in BEIR's layout: DATA/scifact, or DATA/beir/scifact.
        expansions: folders with recorded expansions: EXPANSIONS/scifact/mugi.gpt-4.1.jsonl, plain or .gz.
        source: where collections come from: folders of --data, ir_datasets, or Pyserini's prebuilt indexes.
        output: folder of runs and results.json; None is `regressions` under EXPANDR_HOME.
        list: print collections and conditions with their known figures, and stop.
        dry_run: print what would be done, and stop.
        commands: print the commands that give each run, Pyserini's own too where there are some, and stop.
        jobs: BM25 searches at once, inside Java; None takes all cores.
        format: text or json.
    """

    collection: Names = field(default_factory=Names)
    condition: Names = field(default_factory=Names)
    tier: Names = field(default_factory=Names)
    data: Names = field(default_factory=Names)
    expansions: Names = field(default_factory=Names)
    source: Literal["folder", "irds", "pyserini"] = "folder"
    output: str | None = None
    list: bool = False
    dry_run: bool = False
    commands: bool = False
    jobs: int | None = None
    format: Literal["text", "json"] = "text"


def run(argv: list[str]) -> int:
    """Prints the verdicts; 1 where a figure does not hold."""
    from expandr_ir.regress import render
    from expandr_ir.regress.loading import Regressions
    from expandr_ir.regress.places import Places
    from expandr_ir.regress.plan import Selection, plan, select
    from expandr_ir.regress.run import check_folder, regress
    from expandr_ir.regress.work import Worker

    options = parse(VERB, Options, argv)
    folder = output_folder(options.output or str(home() / "regressions"))
    regressions = Regressions()
    chosen = select(regressions, Selection(options.collection, options.condition, options.tier))
    places = Places(_folders(options.data), _folders(options.expansions), options.source)
    steps = plan(chosen, places)
    if options.list or options.dry_run or options.commands:
        shown = render.known if options.list else render.planned if options.dry_run else render.commands
        print(shown(steps, folder, options.format), end="")
        return 0
    check_folder(folder)
    started = time.perf_counter()
    told = render.Teller(sys.stdout, sys.stderr, as_text=options.format == "text")
    worker = Worker(folder, places, options.jobs, counting, told.step)
    results = regress(steps, worker, regressions, told.result)
    told.summary(results, folder, time.perf_counter() - started)
    return ComparisonFailedError.exit_code if results.counts()["FAIL"] else 0


def _folders(names: Names) -> list[Path]:
    return [Path(name).expanduser() for name in names]
