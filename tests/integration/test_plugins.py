"""A package that adds a method, an engine, two aggregations, an encoder and a reward, each used by its name."""

from __future__ import annotations

import json
import sys

import pytest

from expandr_ir.demo import topics

CODE = '''
from collections import Counter
from dataclasses import replace

import numpy as np

from expandr_ir.expanders import Expander
from expandr_ir.generators.fakes import EchoGenerator
from expandr_ir.records import GeneratorId


class Twice(Expander):
    """Writes about its own first text."""

    def expand_topics(self, topics):
        first = self.generate(self.prompt, topics, samples=1)
        return self.generate(self.prompt_of("again"), topics, earlier={"first": first})


class Shout(EchoGenerator):
    """Echoes in capitals."""

    def __init__(self, config):
        self.id = GeneratorId("shout", config.model)

    def generate(self, requests):
        return (replace(generation, text=generation.text.upper()) for generation in super().generate(requests))


def backwards(given):
    """dN ... d1 q."""
    return " ".join([*reversed(given.texts), given.topic])


def largest(topic, expansions, options):
    """The larger of f(q) and all f(di), number by number."""
    return np.maximum(topic, expansions.max(axis=0))


def cubed(positive):
    """The third power of the similarity."""
    return positive**3


class Letters:
    """A text's letters, counted."""

    def __init__(self, config):
        self.config, self.dim = replace(config, query_prefix="", document_prefix=""), 26
        self.truncated, self.empty = Counter(), Counter()

    def encode_queries(self, texts):
        counts = [[text.lower().count(chr(97 + letter)) for letter in range(26)] for text in texts]
        return np.array(counts, dtype=np.float32).reshape(-1, 26)

    def encode_documents(self, documents):
        return self.encode_queries([d if isinstance(d, str) else f"{d.title} {d.text}" for d in documents])

    encode_expansions = encode_queries

    def identity(self):
        return {"model": "letters 1"}

    def close(self):
        pass
'''
POINTS = """
[expandr_ir.expanders]
twice = my_ideas:Twice
[expandr_ir.generators]
shout = my_ideas:Shout
[expandr_ir.aggregations.sparse]
backwards = my_ideas:backwards
[expandr_ir.aggregations.dense]
largest = my_ideas:largest
[expandr_ir.rewards]
cubed = my_ideas:cubed
[expandr_ir.encoders]
letters = my_ideas:Letters
"""
EXPANDER = """
generator: "shout:any"
method: twice
prompt: topic
prompts: {again: again.yaml}
sparse_aggregation: backwards
"""
PROMPT = 'id: again\nversion: 1\nsource: me\nuser: "after {first}"\ncontext: {first: the first text}\n'


@pytest.fixture
def package(workplace, monkeypatch):
    """The package as pip would have installed it: a module, and a dist-info with its entry points."""
    site = workplace / "site"
    info = site / "my_ideas-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "my_ideas.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-ideas\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(site))
    (workplace / "mine.yaml").write_text(EXPANDER)
    (workplace / "again.yaml").write_text(PROMPT)
    yield workplace
    sys.modules.pop("my_ideas", None)


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.java
def test_everything_by_name(expandr, package):
    given = ["run", "--collection", "demo", "--expander", "mine.yaml", "--limit", "3", "--output", "m.run"]
    assert "further calls, not counted 1" in " ".join(expandr(*given, "--dry-run").out.split())
    expandr(*given)
    first, *others = read_jsonl(package / "m.run.expansions.jsonl")
    text = first["topic_text"].upper()
    assert first["text"] == f"AFTER {text} (SAMPLE 0) (SAMPLE 0)"
    assert first["generator"] == {"engine": "shout", "model": "any"}
    assert first["tokens_in"] == len(text.split()) + len(f"AFTER {text} (SAMPLE 0)".split())  # of both calls
    manifest = json.loads((package / "m.run.manifest.json").read_text())
    assert manifest["tokens"]["in"] == sum(row["tokens_in"] for row in (first, *others))

    search = ["search", "--collection", "demo", "--expansions", "m.run.expansions.jsonl", "--skip-missing", "--output"]
    expandr(*search, "s.run", "--aggregation", "backwards")
    columns = [[line.split()[:5] for line in (package / name).read_text().splitlines()] for name in ("m.run", "s.run")]
    assert columns[0] == columns[1]
    expandr(*search, "d.run", "--retriever", "dense", "--encoder", "letters", "--aggregation", "largest")
    assert len((package / "d.run").read_text().splitlines()) > 3 * 100
    assert "Try: backwards" in expandr(*search, "x.run", "--aggregation", "backward", code=2).err
    assert "Try: largest" in expandr(
        *search, "x.run", "--retriever", "dense", "--encoder", "letters", "--aggregation", "largets", code=2
    ).err  # fmt: skip


def test_a_reward_and_an_encoder_choose_preferences(expandr, package):
    rows = [{"id": i, "query": topic.text, "positive": "fleas jump"} for i, topic in list(topics().items())[:4]]
    (package / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [{"topic_id": row["id"], "texts": ["fleas", "dogs", "fleas jump"]} for row in rows]
    (package / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    expandr(
        *("train", "preferences", "--rows", "rows.jsonl", "--generator", "replay:texts.jsonl", "--samples", "3"),
        *("--temperatures", "1.0", "--threshold", "none", "--encoder", "letters", "--rewards", '{"cubed": 1}'),
        *("--output", "out"),
    )
    chosen = read_jsonl(package / "out" / "preferences.jsonl")
    assert len(chosen) == 4
    # letters in common 9, 5, 1 of norms 3 sqrt(5), 3 x 2: cosines 1, .745, 1/6
    assert {row["chosen"][0]["content"] for row in chosen} == {"fleas jump"}
    assert {row["rejected"][0]["content"] for row in chosen} == {"dogs"}
    assert chosen[0]["rejected_scores"]["rewards"]["cubed"] == pytest.approx(6**-3, abs=1e-6)
