"""The `expandr` command, in this process and in others, with one cache: a session indexes each collection once."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import expandr_ir
from expandr_ir.cli import main


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def workplace(shared_home, tmp_path, monkeypatch):
    """An empty folder to work in, with a store of its own."""
    monkeypatch.setenv("EXPANDR_HOME", str(shared_home))
    monkeypatch.setenv("EXPANDR_STORE", str(tmp_path / "store.sqlite"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def expandr(workplace, capsys):
    """Runs `expandr ...`, which must end with this exit code, or one of these."""

    def run(*argv, code=0):
        capsys.readouterr()
        try:
            got = main([str(word) for word in argv])
        except SystemExit as stop:
            got = stop.code
        done = Done(got, *capsys.readouterr())
        assert got in (code if isinstance(code, tuple) else (code,)), done
        assert "Traceback" not in done.err
        return done

    return run


@pytest.fixture
def start(workplace):
    """Starts `expandr ...` as a process of its own, in the same folder with the same store."""
    started = []
    code = "import sys; from expandr_ir.cli import main; sys.exit(main())"
    package = str(Path(expandr_ir.__file__).parents[1])

    def run(*argv, **options):
        search = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, argv)],
            env={**os.environ, "PYTHONPATH": search},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()
