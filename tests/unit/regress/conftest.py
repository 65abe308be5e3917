"""A folder of regressions that tests can break."""

from __future__ import annotations

import pytest

CONDITIONS = """\
tiers: {exact: 0, near: 0.002, live: 0.02, training: 0.02, published: 0}
metrics:
  nDCG@10: {precision: 4, trec_eval: "-c -m ndcg_cut.10"}
  R@100: {precision: 4, trec_eval: "-c -m recall.100"}
sources:
  pyserini: "Pyserini 2.3.0"
conditions:
  bm25-flat:
    about: BM25
    family: bm25
    tier: exact
    search: {fields: flat, k1: 0.9, b: 0.4}
  minilm:
    about: MiniLM
    family: dense
    tier: near
    baseline: bm25-flat
    search: {retriever: dense, encoder: all-MiniLM-L6-v2}
  frozen:
    name: "{method}.{llm}"
    vary: {method: [a, b], llm: [x, y]}
    about: what {method} by {llm} wrote
    family: frozen
    tier: exact
    expansions: "{method}.{llm}.jsonl"
    topics_field: searched
  hyde: {about: HyDE, family: live, tier: live, expander: hyde}
  other: {about: not ours, family: published, tier: published}
sets:
  plain: [bm25-flat, minilm]
"""

TOY = """\
title: Toy
folder: toy
split: test
expansions: toy
statistics:
  flat: {documents: 3}
statistics_source: counted
metrics: [nDCG@10, R@100]
sets: [plain]
conditions: [hyde]
values:
  - source: pyserini
    rows:
      bm25-flat: [0.5, 1]
  - source: "a paper, Table 1"
    metrics: [R@100]
    tolerance: 0.01
    rows:
      a.x: [0.9]
published:
  - source: "another paper"
    rows:
      other: [0.7, null]
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with one collection, `toy`, in the group `group`."""
    root = tmp_path / "regressions"
    (root / "group").mkdir(parents=True)
    (root / "conditions.yaml").write_text(CONDITIONS)
    (root / "group" / "toy.yaml").write_text(TOY)
    return root


@pytest.fixture
def change(folder):
    """Replaces a text in a file of the folder; returns the number of the line where it stands now."""

    def edit(name, old, new):
        path = folder / name
        text = path.read_text()
        assert text.count(old) == 1, (old, text.count(old))
        path.write_text(text.replace(old, new))
        return text[: text.index(old)].count("\n") + 1

    return edit
