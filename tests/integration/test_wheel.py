"""The wheel, installed in an environment of its own and used from another folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.java, pytest.mark.timeout(900)]

CHECKOUT = Path(__file__).parents[2]


def run(*command, cwd=None, **environment):
    given = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "EXPANDR_STORE"}}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=given | environment, capture_output=True, text=True, check=False, timeout=850
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolation, "-w", folder, CHECKOUT)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The bin folder of an environment that has the wheel, and sees what is installed in this one."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "other_packages.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    run(*install, "--ignore-installed", wheel)
    return folder / "bin"


def test_it_holds_all_that_is_read_at_run_time(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    conf = {f"expandr_ir/{path.relative_to(CHECKOUT)}" for path in (CHECKOUT / "conf").rglob("*.yaml")}
    regressions = {f"expandr_ir/{path.relative_to(CHECKOUT)}" for path in CHECKOUT.glob("regressions/**/*.yaml")}
    demo = {f"expandr_ir/demo/{name}" for name in ("topics.jsonl", "qrels.tsv", "expansions.jsonl")}
    assert len(conf) > 50
    page = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "expandr_ir/report/templates").iterdir()}
    assert len(page) > 10
    page |= {f"expandr_ir/serve/static/page.{kind}" for kind in ("html", "css", "js")}
    assert conf | regressions | demo | page | {"expandr_ir/py.typed", "expandr_ir/CITATION.cff"} <= held
    assert not [name for name in held if name.startswith(("tests/", "docs/"))]


def test_it_works_from_another_folder(installed, tmp_path):
    where = run(installed / "python", "-c", "import expandr_ir; print(expandr_ir.__file__)", cwd=tmp_path)
    assert Path(where).is_relative_to(installed.parent)
    prompts = run(installed / "expandr", "prompts", "ls", cwd=tmp_path)
    assert len(prompts.splitlines()) == len(list((CHECKOUT / "conf" / "prompts").glob("*.yaml")))
    told = run(installed / "expandr", "demo", "--dense", "false", cwd=tmp_path, EXPANDR_HOME=str(tmp_path / "home"))
    assert told.startswith("nDCG@10")
    assert len(list((tmp_path / "runs" / "demo").glob("*.run"))) == 5  # test_cli_demo has the others
