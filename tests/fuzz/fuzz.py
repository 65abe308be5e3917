"""Reads mutated files of every format: python tests/fuzz/fuzz.py [FORMAT ...] [--inputs N] [--seed N] [--only N].

An input may be read or refused by an ExpandrError. Another exception, a signal, an error that a terminal cannot show,
and more time or memory than the bounds below are failures: each is printed once, with its smallest input.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from random import Random, randrange

from mutations import Files, mutate

from expandr_ir.errors import ExpandrError

CPU_S, MEMORY_BYTES = 5.0, 1 << 30
"""Of one input; what the reader's packages take when they are loaded is not counted."""
MINIMIZING_S, MINIMIZING_READS = 60.0, 100
SHOWN_BYTES = 600
SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None  # in memory: databases wait for no disk
FORK = get_context("fork")
A_TIME = b"2026-01-01T00:00:00+00:00"
_TIME = re.compile(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Format:
    """Valid folders of files of a format, written by `write`, and what a verb does with such a folder."""

    write: Callable[[Path], object]
    read: Callable[[Path], object]
    wall_s: float = 60.0  # that one input may take


@dataclass
class Failure:
    """The first input that failed in one way, and how many did."""

    number: int
    trace: str
    count: int = 1


def files_below(folder: Path) -> Files:
    """The content of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lay_out(files: Files, folder: Path) -> Path:
    """A new folder with these files in place of an old one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def attempt(form: Format, files: Files, folder: Path) -> tuple[str, str] | None:
    """How the reader fails on the files: the kind, by which failures are told apart, and the trace."""
    lay_out(files, folder)
    signal.setitimer(signal.ITIMER_PROF, CPU_S)  # the signals end the process, whatever C or Java code it is in
    signal.setitimer(signal.ITIMER_REAL, form.wall_s)
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            form.read(folder)
    except ExpandrError as error:
        return ("an error with control characters", repr(str(error))) if _HIDDEN.search(str(error)) else None
    except (Exception, SystemExit) as error:  # noqa: BLE001
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "expandr_ir" in f.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside"
        last = traceback.format_exc(limit=-4)[-1500:]
        return f"{type(error).__name__} in {place}", last.encode("utf-8", "backslashreplace").decode()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def limit_memory() -> None:
    """Lets this process take MEMORY_BYTES more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        bound = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def read_all(form: Format, inputs: Iterable[tuple[int, Files]], valid: Files, work: Path, log: Path) -> None:
    """Reads the valid files, which must pass, then the inputs; the log has a line for each beginning and failure."""
    with log.open("a", buffering=1) as stream:
        if failure := attempt(form, valid, work):
            stream.write(json.dumps(["invalid example", *failure]) + "\n")
            return
        limit_memory()
        for number, files in inputs:
            stream.write(f"{number}\n")
            if failure := attempt(form, files, work):
                stream.write(json.dumps([number, *failure]) + "\n")
    os._exit(0)  # Java and thread pools end with it


def run_format(name: str, form: Format, numbers: Iterable[int], seed: int) -> tuple[int, dict[str, Failure], Files]:
    """The inputs that were read, the failures by kind, and the valid files."""
    waiting = list(numbers)
    failures: dict[str, Failure] = {}
    total = len(waiting)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as temporary:
        folder = Path(temporary)
        os.environ["EXPANDR_HOME"] = str(folder / "home")
        valid = written(form, folder / "valid")
        while waiting:
            log = folder / "log"
            log.unlink(missing_ok=True)
            inputs = ((number, input_of(name, valid, seed, number)) for number in waiting)
            process = FORK.Process(target=read_all, args=(form, inputs, valid, folder / "input", log))
            process.start()
            process.join()
            begun = 0
            for line in log.read_text().splitlines():
                if line.startswith("["):
                    number, kind, trace = json.loads(line)
                    assert number != "invalid example", f"{name}: {kind}\n{trace}"
                    if kind in failures:
                        failures[kind].count += 1
                    else:
                        failures[kind] = Failure(number, trace)
                else:
                    begun += 1
            if process.exitcode:
                kind = ended_by(process.exitcode)
                assert process.exitcode < 0, f"{name}: {kind}, which is no reader's fault"
                failures.setdefault(kind, Failure(waiting[begun - 1], "", 0)).count += 1
            waiting = waiting[begun:]
    return total, failures, valid


def written(form: Format, folder: Path) -> Files:
    """The format's valid files, the same ones whenever they are written."""
    folder.mkdir()
    process = FORK.Process(target=form.write, args=(folder,))  # so that this process has no thread of C's
    process.start()
    process.join()
    return {name: _TIME.sub(A_TIME, content) for name, content in files_below(folder).items()}


def ended_by(code: int) -> str:
    """The exit of a process in words."""
    bounds = {signal.SIGPROF: f"more than {CPU_S:g} s of CPU time", signal.SIGALRM: "more than its time"}
    return f"exit {code}" if code > 0 else bounds.get(signal.Signals(-code), signal.Signals(-code).name)


def input_of(name: str, valid: Files, seed: int, number: int) -> Files:
    """The input of this number."""
    return mutate(Random(f"{name} {seed} {number}"), valid)


def minimize(form: Format, files: Files, valid: Files, kind: str) -> Files:
    """Smaller files that fail in the same way: whole files as they were valid, then without lines and bytes."""
    reads, end = MINIMIZING_READS, time.monotonic() + MINIMIZING_S
    with tempfile.TemporaryDirectory(dir=SCRATCH) as temporary:
        folder = Path(temporary)

        def fails(smaller: Files) -> bool:
            nonlocal reads
            reads -= 1
            if time.monotonic() > end:
                return False
            log = folder / "log"
            log.unlink(missing_ok=True)
            arguments = (form, [(0, smaller)], valid, folder / "input", log)
            process = FORK.Process(target=read_all, args=arguments)
            process.start()
            process.join()
            ends = [json.loads(line)[1] for line in log.read_text().splitlines() if line.startswith("[")]
            return kind in (ends or [ended_by(process.exitcode)] if process.exitcode else ends)

        for name in [name for name in files if name in valid and files[name] != valid[name]]:
            if fails(smaller := files | {name: valid[name]}):
                files = smaller
        for name in [name for name in files if files[name] != valid.get(name)]:
            size = len(files[name])
            while size > 1 and reads > 0:
                size //= 2
                start = 0
                while start < len(files[name]) and reads > 0:
                    content = files[name]
                    if fails(smaller := files | {name: content[:start] + content[start + size :]}):
                        files = smaller
                    else:
                        start += size
    return {name: content for name, content in files.items() if content != valid.get(name)}


def fuzz(name: str, table: str, numbers: Iterable[int], seed: int) -> tuple[str, bool]:
    """The report of a format of a table, and whether all of it passed."""
    form = import_module(table).FORMATS[name]
    start = time.monotonic()
    total, failures, valid = run_format(name, form, numbers, seed)
    failed = sum(failure.count for failure in failures.values())
    lines = [f"{name}: {total:,} inputs, {failed:,} failures ({time.monotonic() - start:.0f} s)"]
    for kind, failure in failures.items():
        smallest = minimize(form, input_of(name, valid, seed, failure.number), valid, kind)
        lines.append(
            f"  {kind}: {failure.count:,} inputs, first {failure.number} (--seed {seed} --only {failure.number})"
        )
        lines += [f"    {file}: {content[:SHOWN_BYTES]!r}" for file, content in smallest.items()]
        lines += [f"    | {line}" for line in failure.trace.splitlines()]
    return "\n".join(lines), not failures


def main() -> int:
    """Fuzzes the named formats, or all, and prints their reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", help="all where none is named")
    parser.add_argument("--table", default="formats", help="the module with FORMATS")
    parser.add_argument("--inputs", type=int, default=20_000, help="of each format")
    parser.add_argument("--seed", type=int, help="random where none is given")
    parser.add_argument("--only", type=int, help="the one input of this number")
    parser.add_argument("--jobs", type=int, default=1, help="formats at once")
    options = parser.parse_args()
    seed = randrange(1 << 32) if options.seed is None else options.seed
    numbers = range(options.inputs) if options.only is None else [options.only]
    names = options.formats or list(import_module(options.table).FORMATS)
    print(f"seed {seed}", flush=True)
    passed = True
    with ProcessPoolExecutor(options.jobs, mp_context=FORK) as pool:
        run = partial(fuzz, table=options.table, numbers=numbers, seed=seed)
        for report, is_clean in pool.map(run, names):
            print(report, flush=True)
            passed &= is_clean
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
