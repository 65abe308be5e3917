"""One verb in a process of its own: its memory, JVM and torch end with it, and it ends with this process."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from expandr_ir.files import atomic_write
from expandr_ir.train.rounds.steps import Command

LOG = "log.txt"
LINES_KEPT = 2_000
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, and the last lines it wrote."""

    code: int
    lines: tuple[str, ...]


def argv_of(command: Command, folder: Path, launcher: Sequence[str] = ()) -> list[str]:
    """The words that run a command, after writing its options into the step's folder.

    Args:
        command: the verb.
        folder: of the step.
        launcher: in place of this Python, where the command is launched.
    """
    options = folder / f"{'-'.join(command.verb)}-{command.output.name}.yaml"
    with atomic_write(options) as stream:
        yaml.safe_dump(dict(command.options), stream, sort_keys=False, allow_unicode=True)
    front = list(launcher) if launcher and command.launched else [sys.executable, "-m", "expandr_ir"]
    return [*front, *command.verb, *command.arguments, "--config", str(options)]


def run_child(argv: Sequence[str], folder: Path, show: Callable[[str], None]) -> Ended:
    """Runs a command to its end, and keeps what it said in the step's log.

    On Linux the child is killed when this process dies, however that comes about: two processes never write to one
    step.

    Args:
        argv: the words.
        folder: of the log.
        show: is given each line as it comes.

    Raises:
        OSError: the log cannot be written after a run that ended well.
    """
    lines: deque[str] = deque(maxlen=LINES_KEPT)
    ours = os.getpid()
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        preexec_fn=lambda: _die_with(ours),  # noqa: PLW1509 - no threads are running here
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                lines.append(line.rstrip("\n"))
                show(lines[-1])
        except BaseException:
            child.terminate()
            raise
    code = child.returncode
    try:
        with atomic_write(folder / LOG) as stream:
            stream.writelines(f"{line}\n" for line in ("$ " + " ".join(argv), *lines))
    except OSError:
        if code == 0:
            raise
        # the child's own failure, perhaps of the same full disk, is what is reported
    return Ended(code, tuple(lines))


def _die_with(parent: int) -> None:
    """In the child: ask Linux for a kill when the parent dies; leave at once where it has died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
