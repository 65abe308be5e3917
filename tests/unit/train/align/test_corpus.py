"""Ranks in the whole collection: by hand, smoothed, kept, and the same after a run that broke off."""

import math
from dataclasses import replace

import numpy as np
import pytest

from expandr_ir.errors import InputError
from expandr_ir.io.files import write_jsonl
from expandr_ir.records import Hits
from expandr_ir.retrievers import BM25
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.corpus import CorpusOptions, CorpusSearch, add_corpus_ranks, positions_of
from expandr_ir.train.data.rows import TrainingRow

RANKINGS = {"a": ["d0", "d1", "d2"], "b": ["d2", "x", "d1"], "c": ["x", "y"], "": ["d2", "y"], "own": ["t0", "d1", "x"]}


@pytest.fixture
def searches(monkeypatch):
    """BM25 that ranks by the candidate's text alone and can die; the list of its searches."""
    done = []

    def search(self, topics):
        if len(done) == search.die_after:
            raise KeyboardInterrupt
        done.append(topics)
        rankings = {name: RANKINGS[one.expansions[0].text] for name, one in topics.items()}
        return {name: Hits(ids, [float(-n) for n in range(len(ids))]) for name, ids in rankings.items()}

    search.die_after = None
    monkeypatch.setattr(BM25, "search", search)
    monkeypatch.setattr(BM25, "details", lambda self: {"k1": 0.9, "b": 0.4})
    done.append(search)
    return done


@pytest.fixture
def collection(tmp_path):
    folder = tmp_path / "collection"
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", [{"_id": "d0", "text": "x"}])
    write_jsonl(folder / "queries.jsonl", ({"_id": f"t{n}", "text": f"query {n}"} for n in range(5)))
    judged = "".join(f"t{n}\td1\t2\nt{n}\td2\t1\nt{n}\td0\t0\n" for n in range(5))
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return CorpusOptions(collection=str(folder), batch_queries=2)


def entries_of(rows):
    """Candidates of the topics t0, t1, ..."""
    return [Candidates(TrainingRow(f"t{n}", f"t{n}", ("p",), ()), list(texts)) for n, texts in enumerate(rows)]


def ranked(options, work, rows=("ab", "a", "bca", "c", "ac")):
    """The ranks of d1 and d2 under each candidate, a letter each, of each row."""
    entries = entries_of(rows)
    add_corpus_ranks(entries, CorpusSearch(options), work)
    assert all(entry.evidence.grades.tolist() == [2.0, 1.0] for entry in entries)
    assert all(entry.evidence.alone is None for entry in entries)
    return [entry.evidence.corpus.tolist() for entry in entries]


def test_ranks_by_hand(collection, searches, tmp_path):
    by_text = {"a": [2, 3], "b": [3, 1], "c": [0, 0]}
    expected = [[by_text[text] for text in texts] for texts in ("ab", "a", "bca", "c", "ac")]
    assert ranked(collection, tmp_path / "work") == expected
    assert len(searches) == 1 + 3  # five rows, two a batch


def test_a_search_that_broke_off_goes_on(collection, searches, tmp_path):
    whole = ranked(collection, tmp_path / "whole")
    search = searches[0]
    search.die_after = len(searches) + 2
    with pytest.raises(KeyboardInterrupt):
        ranked(collection, tmp_path / "broken")
    search.die_after = None
    before = len(searches)
    assert ranked(collection, tmp_path / "broken") == whole
    assert ranked(collection, tmp_path / "broken") == whole
    assert len(searches) == before + 1
    assert [path.suffix for path in (tmp_path / "broken").iterdir()] == [".npz"]


def test_rows_that_the_collection_does_not_know(collection, tmp_path):
    with pytest.raises(InputError, match=r"(?s)query 't5' has no relevant document in .*, split train.*--corpus.split"):
        ranked(collection, tmp_path, "abcabc")


def test_in_memory_all_are_searched_at_once_with_the_query_alone(collection, searches):
    entries = entries_of(["ab", ["", "c"]])
    add_corpus_ranks(entries, CorpusSearch(collection), with_alone=True)
    assert [entry.evidence.corpus.tolist() for entry in entries] == [[[2, 3], [3, 1]], [[0, 1], [0, 0]]]
    assert [entry.evidence.alone.tolist() for entry in entries] == [[0, 1], [0, 1]]  # as an empty candidate
    assert len(searches) == 1 + 1


@pytest.mark.parametrize(("own", "ranks"), [("auto", [2, 0]), ("remove", [1, 0]), ("keep", [2, 0])])
def test_a_topic_among_its_own_hits(collection, searches, own, ranks):
    entries = entries_of([["own"]])
    add_corpus_ranks(entries, CorpusSearch(replace(collection, own_document=own)))
    assert entries[0].evidence.corpus.tolist() == [ranks]


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def test_smoothed_ranks_by_hand():
    """Scores 4, 3, 2 have the spread 2: with smoothing .5 a difference of 1 is 1."""
    hits = Hits(["a", "b", "c"], [4.0, 3.0, 2.0])
    assert positions_of(hits, "abcx") == [1, 2, 3, 0]
    first, second = 1 + sigmoid(-1) + sigmoid(-2), 1 + sigmoid(1) + sigmoid(-1)
    third = 1 + sigmoid(2) + sigmoid(1)
    np.testing.assert_allclose(positions_of(hits, "abcx", 0.5), [first, second, third, 0])
    np.testing.assert_allclose(positions_of(hits, "abc", 1e-4), [1, 2, 3])
    assert positions_of(Hits(["a", "b", "c"], [1.0, 1.0, 1.0]), "ab", 0.5) == [2, 2]  # three that tie
    assert positions_of(Hits(["a"], [1.0]), "ab", 0.5) == [1, 0]


def test_smoothed_ranks_tell_a_margin_but_not_a_scale():
    near, far, large = (Hits(["a", "b", "c"], list(scores)) for scores in ([9, 8, 0], [9, 3, 0], [90, 30, 0]))
    assert positions_of(near, "a") == positions_of(far, "a")
    assert positions_of(near, "a", 0.2) > positions_of(far, "a", 0.2) == positions_of(large, "a", 0.2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"smoothing": -1.0}, "smoothing is -1.0"),
        ({"batch_queries": 0}, "batch_queries is 0"),
        ({"retriever": "dense"}, "--encoder all-MiniLM-L6-v2"),
        ({"retriever": "hybrid", "encoder": "e", "aggregation": "mean"}, "one for each part"),
    ],
)
def test_options_that_cannot_be(given, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        CorpusOptions(collection="c", **given)
