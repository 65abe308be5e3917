"""Progress of long work: a bar on a terminal or in a notebook, otherwise a line now and then."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

LINE_EVERY_S = 30.0
QUIET = "EXPANDR_QUIET"


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Shows the progress of `total` things (None: unknown), such as "documents encoded".

    Yields `advance(n=1, note="")`, to be called after each step. A terminal and a notebook get a bar on stderr,
    anything else a line every 30 s; with the environment variable EXPANDR_QUIET nothing is shown.
    """
    if os.environ.get(QUIET):
        yield lambda n=1, note="": None  # noqa: ARG005
    elif _is_notebook() or sys.stderr.isatty():
        with _bar(description, total) as advance:
            yield advance
    else:
        yield _lines(description, total)


@contextmanager
def _bar(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = None if _is_notebook() else Console(file=sys.stderr)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")]
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(description, total=total, note="")
        yield lambda n=1, note="": bar.update(task, advance=n, note=note)


def _lines(description: str, total: int | None) -> Callable[..., None]:
    start = shown = time.monotonic()
    done = 0

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, shown
        done += n
        now = time.monotonic()
        if now - shown < LINE_EVERY_S:
            return
        shown = now
        rate = done / (now - start)
        of = f" of {total:,}" if total is not None else ""
        left = f", {(total - done) / rate:,.0f} s left" if total is not None and rate > 0 else ""
        note = f", {note}" if note else ""
        logger.warning("%s: %s%s, %.3g a second%s%s", description, f"{done:,}", of, rate, left, note)

    return advance


def _is_notebook() -> bool:
    """Reports an IPython kernel, whose stderr is no terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"
