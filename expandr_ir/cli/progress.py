"""Progress on stderr, when that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def _bar(*columns: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *(TextColumn(column) for column in columns),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


@contextmanager
def counting(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar of things counted; yields what to call with how many are done."""
    with _bar() as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def generating() -> Iterator[Callable[[int, int, int, int], None]]:
    """A bar of samples with tokens a second and failures; yields `expand`'s progress hook."""
    started = time.monotonic()
    with _bar("{task.fields[rate]}", "{task.fields[failures]}") as bar:
        task = bar.add_task("samples", total=None, rate="", failures="")

        def show(done: int, total: int, tokens_out: int, failed: int) -> None:
            rate = tokens_out / max(time.monotonic() - started, 1e-3)
            failures = f"[red]{failed} failed[/red]" if failed else ""
            bar.update(task, completed=done, total=total, rate=f"{rate:,.0f} tokens/s", failures=failures)

        yield show
