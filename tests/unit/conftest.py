"""The demo collection for the adapters of other frameworks, and the examples of docs/adapters.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import expandr_ir as ex
from expandr_ir.demo import expansions_path

PAGE = Path(__file__).parents[2] / "docs/adapters.md"


@pytest.fixture(scope="session")
def demo_bm25():
    """BM25 over the demo, five documents a query, by the aggregation `append`."""
    return ex.BM25(ex.load_collection("demo"), hits=5, aggregation="append")


@pytest.fixture
def demo_expander(demo_bm25, tmp_path):
    """Serves the two recorded texts of each of the demo's topics, from the store; it knows no other query."""
    generator, options = f"replay:{expansions_path()}", ex.ExpandOptions(samples=2)
    with ex.load_expander(generator=generator, store=tmp_path / "s.sqlite", options=options) as expander:
        expander.expand(demo_bm25.collection.topics())
        yield expander


@pytest.fixture
def run_example(tmp_path, monkeypatch):
    """Runs the first example of the page and the one below a heading, and returns their names."""
    names = {}

    def run(heading):
        monkeypatch.setenv("EXPANDR_STORE", str(tmp_path / "store.sqlite"))
        first, *sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
        (section,) = (section for section in sections if section.startswith(f"{heading}\n"))
        for text in (first, section):
            (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
            exec(compile(code, str(PAGE), "exec"), names)
        return names

    yield run
    names["expander"].close()
