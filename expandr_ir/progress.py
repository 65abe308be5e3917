"""Progress of long work: a bar on a terminal or in a notebook, otherwise a line now and then."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

logger = logging.getLogger(__name__)

LINE_EVERY_S = 30.0
QUIET = "EXPANDR_QUIET"

Watch: TypeAlias = Callable[[str, int, int | None], object]
"""Called with a description, the things done and their total, if known."""
_watch: ContextVar[Watch | None] = ContextVar("_watch", default=None)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Shows the progress of `total` things (None: unknown), such as "documents encoded".

    Yields `advance(n=1, note="")`, to be called after each step. A terminal and a notebook get a bar on stderr,
    anything else a line every 30 s; with --quiet or the environment variable EXPANDR_QUIET nothing is shown.
    """
    with _shown(description, total) as advance:
        if (watch := _watch.get()) is None:
            yield advance
        else:
            yield _watched(watch, advance, description, total)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Tells `watch` of all progress within the block, in this thread."""
    before = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(before)


def _watched(watch: Watch, advance: Callable[..., None], description: str, total: int | None) -> Callable[..., None]:
    done = 0

    def step(n: int = 1, note: str = "") -> None:
        nonlocal done
        done += n
        watch(description, done, total)
        advance(n, note)

    watch(description, done, total)
    return step


@contextmanager
def _shown(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    if is_quiet():
        yield lambda n=1, note="": None  # noqa: ARG005
    elif shows_bars():
        with _bar(description, total) as advance:
            yield advance
    else:
        with _lines(description, total) as advance:
            yield advance


@contextmanager
def quiet(is_on: bool) -> Iterator[None]:
    """Shows no progress within the block, nor the bars of other libraries, if `is_on`."""
    names = (QUIET, "TQDM_DISABLE") if is_on else ()
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value is not None else {})


def is_quiet() -> bool:
    """Reports that no progress is shown."""
    return bool(os.environ.get(QUIET))


def shows_bars() -> bool:
    """Reports a terminal or a notebook that is to show progress."""
    return not is_quiet() and (_is_notebook() or sys.stderr.isatty())


@contextmanager
def _bar(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = None if _is_notebook() else Console(file=sys.stderr)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")]
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(description, total=total, note="")
        yield lambda n=1, note="": bar.update(task, advance=n, note=note)


@contextmanager
def _lines(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Shows a line every `LINE_EVERY_S` seconds, from a thread of its own: a slow step is no reason for silence."""
    start, ended = time.monotonic(), threading.Event()
    done, note = 0, ""

    def advance(n: int = 1, text: str = "") -> None:
        nonlocal done, note
        done, note = done + n, text

    def show() -> None:
        while not ended.wait(LINE_EVERY_S):
            logger.warning("%s: %s", description, _line(done, total, time.monotonic() - start, note))

    lines = threading.Thread(target=show, daemon=True)
    lines.start()
    try:
        yield lambda n=1, note="": advance(n, note)
    finally:
        ended.set()
        lines.join()


def _line(done: int, total: int | None, seconds: float, note: str) -> str:
    """Such as "20 of 100, 0.5 a second, 160 s left, 3 failed"."""
    rate = done / seconds
    of = f" of {total:,}" if total is not None else ""
    left = f", {(total - done) / rate:,.0f} s left" if total is not None and done else ""
    return f"{done:,}{of}, {rate:.3g} a second{left}" + (f", {note}" if note else "")


def _is_notebook() -> bool:
    """Reports an IPython kernel, whose stderr is no terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"
