"""The `expandr` command in this process, with one cache for the whole session: each collection is indexed once."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

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
def expandr(shared_home, tmp_path, monkeypatch, capsys):
    """Runs `expandr ...` in an empty folder with a store of its own; a code of None lets any come."""
    monkeypatch.setenv("EXPANDR_HOME", str(shared_home))
    monkeypatch.setenv("EXPANDR_STORE", str(tmp_path / "store.sqlite"))
    monkeypatch.chdir(tmp_path)

    def run(*argv, code=0):
        capsys.readouterr()
        try:
            got = main([str(word) for word in argv])
        except SystemExit as stop:
            got = stop.code
        done = Done(got, *capsys.readouterr())
        if code is not None:
            assert got == code, done
        assert "Traceback" not in done.err
        return done

    return run
