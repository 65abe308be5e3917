"""`expandr regress`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_file, output_folder
from expandr_ir.cli.progress import counting
from expandr_ir.cli.sources import say
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ComparisonFailedError, InputError, MissingResourceError
from expandr_ir.files import atomic_write, home

if TYPE_CHECKING:
    from expandr_ir.regress.loading import Regressions
    from expandr_ir.regress.places import Places
    from expandr_ir.regress.plan import Step
    from expandr_ir.regress.spec import Condition, Spec

COMMAND = "command.json"
"""What --resume reads: the options of the last command of a folder."""

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
        download: fetch the data and recorded expansions that are published and not here, into `downloads` under
            EXPANDR_HOME, where they are found from then on.
        output: folder of runs and results.json; None is `regressions` under EXPANDR_HOME.
        list: print collections and conditions with their known figures, and stop.
        dry_run: print what would be done, and stop.
        commands: print the commands that give each run, Pyserini's own too where there are some, and stop.
        generator: the LLM of the tier `live`: a name of conf/generators, a YAML file, or engine:model; without one,
            that tier is skipped.
        seed: of that LLM's samples.
        record: also add the measured values, with versions, to this file of yours.
        promote: merge such a file into the regressions, and stop.
        regressions: a folder of regressions in place of the package's own.
        resume: go on with the last command of --output, with the options that it had.
        jobs: BM25 searches at once, inside Java; None takes all cores.
        format: text or json.
    """

    collection: Names = field(default_factory=Names)
    condition: Names = field(default_factory=Names)
    tier: Names = field(default_factory=Names)
    data: Names = field(default_factory=Names)
    expansions: Names = field(default_factory=Names)
    source: Literal["folder", "irds", "pyserini"] = "folder"
    download: bool = False
    output: str | None = None
    list: bool = False
    dry_run: bool = False
    commands: bool = False
    generator: GeneratorConfig | None = None
    seed: int = 0
    record: str | None = None
    promote: str | None = None
    regressions: str | None = None
    resume: bool = False
    jobs: int | None = None
    format: Literal["text", "json"] = "text"


def run(argv: Names) -> int:
    """Prints the verdicts; 1 where a figure does not hold."""
    from expandr_ir.regress import render
    from expandr_ir.regress.loading import Regressions
    from expandr_ir.regress.record import promote

    options = parse(VERB, Options, argv)
    folder = output_folder(options.output or str(home() / "regressions"))
    if options.resume:
        options = _resumed(options, folder)
    regressions = Regressions(Path(options.regressions) if options.regressions else None)
    if options.promote:
        for name, path in promote(Path(options.promote), regressions).items():
            print(f"{name}: {path}")
        return 0
    steps = _steps(options, regressions)
    if options.list or options.dry_run or options.commands:
        shown = render.known if options.list else render.planned if options.dry_run else render.commands
        print(shown(steps, folder, options.format), end="")
        return 0
    return _regress(options, regressions, steps, folder)


def _steps(options: Options, regressions: Regressions) -> Sequence[Step]:
    from expandr_ir.regress.plan import Selection, plan, select

    chosen = select(regressions, Selection(options.collection, options.condition, options.tier))
    if options.download:
        _download(chosen, _places(options))
    return plan(chosen, _places(options), with_generator=options.generator is not None)


def _regress(options: Options, regressions: Regressions, steps: Sequence[Step], folder: Path) -> int:
    from expandr_ir.regress import render
    from expandr_ir.regress.live import Writer
    from expandr_ir.regress.record import record
    from expandr_ir.regress.run import check_folder, regress
    from expandr_ir.regress.work import Worker

    started = time.perf_counter()
    check_folder(folder)
    with atomic_write(folder / COMMAND) as stream:
        json.dump(resolved(options), stream, indent=1)
    told = render.Teller(sys.stdout, sys.stderr, as_text=options.format == "text")
    writer = Writer(options.generator, options.seed) if options.generator else None
    worker = Worker(folder, _places(options), options.jobs, writer, counting, told.step)
    results = regress(steps, worker, regressions, told.result)
    told.summary(results, folder, time.perf_counter() - started)
    if options.record:
        record(output_file(options.record), results, writer.identity if writer else None, options.seed)
    return ComparisonFailedError.exit_code if results.counts()["FAIL"] else 0


def _download(chosen: Sequence[tuple[Spec, Sequence[Condition]]], places: Places) -> None:
    from expandr_ir.regress import download
    from expandr_ir.regress.needed import downloads_folder, needed

    files = {item.file: name for name, item in download.items().items()}
    for name in needed(chosen, places, files):
        say(f"downloading {name}")
        download.fetch([name], target=downloads_folder())


def _places(options: Options) -> Places:
    """The folders that were named, and what was downloaded before."""
    from expandr_ir.regress.needed import downloads_folder
    from expandr_ir.regress.places import Places

    data, expansions = ([Path(name).expanduser() for name in names] for names in (options.data, options.expansions))
    downloads = downloads_folder()
    return Places([*data, downloads], [*expansions, downloads / "expansions"], options.source)


def _resumed(options: Options, folder: Path) -> Options:
    """The options of the folder's last command, with this one's output, jobs and format.

    Raises:
        MissingResourceError: there was none.
        InputError: options that the last command had already are given anew.
    """
    path = folder / COMMAND
    if not path.is_file():
        raise MissingResourceError(
            f"{folder} has nothing to resume", expected="the --output of an earlier expandr regress"
        )
    kept: dict[str, Any] = {"output": options.output, "jobs": options.jobs, "format": options.format}
    if replace(Options(**kept), resume=True) != options:
        raise InputError(
            "--resume takes all other options from the earlier command",
            expected="--resume with --output, --jobs and --format alone",
            remedy="leave --resume out: what is there already is not searched again anyway",
        )
    return replace(parse(VERB, Options, ["--config", str(path)]), **kept)
