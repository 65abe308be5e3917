"""The `expandr` command in this process, with an empty store and one home for all golden tests."""

from __future__ import annotations

import json

import pytest
from recordings import Golden

from expandr_ir.cli import main


@pytest.fixture
def golden():
    return Golden()


@pytest.fixture
def expandr(common_home, tmp_path, monkeypatch, capsys):
    """Runs `expandr ...` in an empty folder with an empty store; it must end with this exit code."""
    monkeypatch.setenv("EXPANDR_HOME", str(common_home))
    monkeypatch.setenv("EXPANDR_STORE", str(tmp_path / "store.sqlite"))
    monkeypatch.chdir(tmp_path)

    def run(*argv, code=0):
        capsys.readouterr()
        try:
            got = main([str(word) for word in argv])
        except SystemExit as stop:
            got = stop.code or 0
        printed = capsys.readouterr()
        assert got == code, printed
        return printed

    return run


@pytest.fixture
def figures(expandr):
    """Mean nDCG@10 and R@100 of a run, to 4 decimals."""

    def measure(run, *judged):
        told = expandr("evaluate", *judged, "-m", "nDCG@10", "-m", "R@100", "--format", "json", run).out
        (own,) = json.loads(told).values()
        return {name: round(value, 4) for name, value in own["means"].items()}

    return measure
