"""`expandr report`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.outputs import output_file, output_folder
from expandr_ir.cli.sources import say
from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write
from expandr_ir.regress.results import NAME
from expandr_ir.report.csv import csv_of
from expandr_ir.report.evidence import gather, remarks
from expandr_ir.report.html import page_of
from expandr_ir.report.latex import latex_of
from expandr_ir.report.pertopic import PER_TOPIC
from expandr_ir.report.recorded import as_recorded
from expandr_ir.report.reproductions import fill, has_markers, one_page, pages_of
from expandr_ir.report.study import Study

FORMATS = {".html": "html", ".htm": "html", ".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json"}
"""The format that a file's name asks for."""

VERB = Verb(
    "report",
    "What a folder of regressions came to: one self-contained page, Markdown, LaTeX or CSV.",
    """
expandr report runs/regress --output report.html
expandr report runs/regress --collection scifact --output table.tex
expandr report runs/regress --format md --output docs/reproductions
expandr report runs/regress --output README.md
""",
    positional="run_dirs",
)


@dataclass(frozen=True)
class Options:
    """Options of `expandr report`.

    Args:
        run_dirs: the folder that `expandr regress` wrote; one.
        output: the file to write; of --format md, a folder (a page for each collection) or a file. A Markdown file that
            has a place for results, between `<!-- results -->` and `<!-- /results -->`, keeps what is around it.
        format: html, md, latex, csv, or json (figures and tests without any path of this machine, to be kept); None is
            what the output's name says, else html.
        collection: only this collection; may be repeated.
        data: folder to look for collections in where they are not at the recorded place.
        per_topic: most topics of a collection that the page shows in full; 0 shows none.
    """

    run_dirs: list[str]
    output: str = "report.html"
    format: Literal["html", "md", "latex", "csv", "json"] | None = None
    collection: list[str] = field(default_factory=list)
    data: str | None = None
    per_topic: int = PER_TOPIC


def run(argv: list[str]) -> int:
    """Writes the report."""
    options = parse(VERB, Options, argv)
    run_dir, data = _folders(options)
    form = options.format or FORMATS.get(Path(options.output).suffix, "html")
    if form == "md" and Path(options.output).suffix != ".md":
        folder = output_folder(options.output)
        written = {folder / name: text for name, text in pages_of(_study(run_dir, data, options)).items()}
    else:
        output = output_file(options.output, [str(run_dir), str(run_dir / NAME)])
        written = {output: _text(form, run_dir, data, options, output)}
    for path, text in written.items():
        with atomic_write(path) as stream:
            stream.write(text)
        print(f"{path}: {len(text.encode()):,} bytes", file=sys.stderr)
    return 0


def _folders(options: Options) -> tuple[Path, Path | None]:
    """The folder of runs, and the folder of collections.

    Raises:
        InputError: not one folder of runs, no such folder of collections, or fewer than 0 topics.
    """
    if len(options.run_dirs) != 1:
        found = f"{len(options.run_dirs)} folders are named" if options.run_dirs else "no folder is named"
        raise InputError(found, expected="one", remedy="expandr report RUN_DIR --output report.html")
    if options.data is not None and not Path(options.data).expanduser().is_dir():
        raise InputError(f"--data {options.data} is no folder", expected="a folder of collections")
    if options.per_topic < 0:
        raise InputError(f"--per-topic {options.per_topic}", expected="0 or more")
    return Path(options.run_dirs[0]).expanduser(), Path(options.data).expanduser() if options.data else None


def _text(form: str, run_dir: Path, data: Path | None, options: Options, output: Path) -> str:
    if form == "html":
        return page_of(run_dir, collections=options.collection, data_dir=data, per_topic=options.per_topic, say=say)
    study = _study(run_dir, data, options)
    if form == "md":
        before = output.read_text(encoding="utf-8") if output.is_file() else ""
        return fill(before, study, str(output)) if has_markers(before) else one_page(study)
    return {"latex": latex_of, "csv": csv_of, "json": as_recorded}[form](study)


def _study(run_dir: Path, data: Path | None, options: Options) -> Study:
    """The study with the tests of its runs; what could not be tested is said."""
    study, weighed = gather(run_dir, data, options.collection)
    chapters = tuple(chapter for chapter, _ in weighed)
    for line in remarks(chapters):
        say(line)
    return replace(study, chapters=chapters)
