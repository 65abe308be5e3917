"""Reports of regressions and comparisons: text, Markdown, LaTeX, CSV, and one self-contained page.

The room imports io, collections, evaluate and `regress.results`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from expandr_ir.errors import InputError
from expandr_ir.io.files import output_file, output_folder, write_text
from expandr_ir.regress.results import NAME
from expandr_ir.report import formats
from expandr_ir.report.comparison import FORMATS, render, render_scores
from expandr_ir.report.evidence import PER_TOPIC, gather, study_of_comparison
from expandr_ir.report.page import page_of
from expandr_ir.report.study import Study, as_recorded

__all__ = ["FORMATS", "ReportOptions", "page_of", "render", "render_scores", "report", "study_of_comparison"]

SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json"}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportOptions:
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


def report(options: ReportOptions) -> str:
    """Writes the report of a folder of regressions, logs its remarks, and returns the files' names and sizes.

    Raises:
        MissingResourceError: there is no results.json.
        InputError: an option that makes no sense, a results.json of another format, or a file that cannot be read.
    """
    run_dirs, data = options.run_dirs, Path(options.data).expanduser() if options.data else None
    if len(run_dirs) != 1:
        found = f"{len(run_dirs)} folders are named" if run_dirs else "no folder is named"
        raise InputError(found, expected="one", remedy="expandr report RUN_DIR --output report.html")
    if data is not None and not data.is_dir():
        raise InputError(f"--data {options.data} is no folder", expected="a folder of collections")
    if options.per_topic < 0:
        raise InputError(f"--per-topic {options.per_topic}", expected="0 or more")
    run_dir, suffix = Path(run_dirs[0]).expanduser(), Path(options.output).suffix
    form = options.format or SUFFIXES.get(suffix, "html")
    in_folder = form == "md" and suffix != ".md"
    output = (
        output_folder(options.output) if in_folder else output_file(options.output, [str(run_dir), str(run_dir / NAME)])
    )
    study = gather(run_dir, data, options.collection)
    for remark in study.remarks():
        logger.warning(remark)
    if in_folder:
        texts = {output / name: text for name, text in formats.pages_of(study).items()}
    else:
        texts = {output: _text(form, study, output, options.per_topic)}
    for path, text in texts.items():
        write_text(path, text)
    return "\n".join(f"{path}: {path.stat().st_size:,} bytes" for path in texts)


def _text(form: str, study: Study, output: Path, per_topic: int) -> str:
    if form == "html":
        return page_of(study, per_topic=per_topic)
    if form == "md":
        before = output.read_text(encoding="utf-8") if output.is_file() else ""
        return formats.fill_markers(before, study, str(output)) or formats.one_page(study)
    return {"latex": formats.latex_of, "csv": formats.csv_of, "json": as_recorded}[form](study)
