"""Queries without an LLM."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.records import Document
from expandr_ir.train.data.extractive import ExtractiveOptions, Extractor, perturb

PLAIN = ExtractiveOptions(dropout=0.0, reorder=0.0)


def extractor(counts=(), documents=0, options=PLAIN, seed=1):
    """An extractor that has counted words in so many documents."""
    made = Extractor([], options, seed)
    made.counts, made.documents = Counter(counts), documents
    return made


def test_idf_by_hand():
    known = Extractor([Document("a", "Rye", "rye bread"), Document("b", "", "bread oven")], PLAIN, 1)
    assert known.documents == 2
    assert known.counts == {"rye": 1, "bread": 2, "oven": 1}
    assert known.idf("bread") == pytest.approx(math.log(3 / 2.5))
    assert known.idf("unknown") == pytest.approx(math.log(3 / 0.5))


def test_common_and_rare_words_tell_nothing_where_there_are_enough_documents():
    options = ExtractiveOptions(common_share=0.1, min_documents=2)
    many = extractor({"the": 60, "rye": 10, "CA581203": 1, "oats": 2}, 100, options)
    assert [word for word in ("the", "rye", "CA581203", "oats", "never") if many.tells(word)] == ["rye", "oats"]
    assert extractor({"the": 19}, 19, options).tells("the")


def test_key_phrases_by_hand():
    counts = Counter({"the": 90, "of": 80, "wing": 9, "flutter": 3, "slender": 4, "analysis": 10})
    known = extractor(counts, 100, ExtractiveOptions(phrase_words=2))
    document = Document("d", "", "the flutter of slender wing, the analysis. Flutter of the wing")
    # runs: flutter | slender wing | analysis | Flutter | wing; tf: flutter 2, wing 2, slender 1, analysis 1
    weight = {word: known.idf(word) for word in counts}
    assert 2 * weight["flutter"] > weight["slender"] + 0  # so that the order below is by hand, not by luck
    pair = weight["slender"] + 2 * weight["wing"]
    assert pair > 2 * weight["flutter"] > weight["analysis"]
    assert known.key_phrases(document) == [["slender", "wing"], ["flutter"], ["analysis"]]
    assert extractor(counts, 100, ExtractiveOptions(phrase_words=1)).key_phrases(document)[0] == ["flutter"]


def test_kinds_alternate_and_title_is_passed_over_where_there_is_none():
    known = extractor()
    with_title = Document("d", "A title of five words", "One sentence stands here alone.")
    kinds = [kind for kind, _ in known.queries(with_title, 6)]
    assert sorted(kinds[:3]) == ["phrases", "sentence", "title"]
    assert kinds[:3] == kinds[3:]
    texts = dict(known.queries(with_title, 3))
    assert texts["title"] == "A title of five words"
    assert texts["sentence"] == "One sentence stands here alone"
    without = Document("d", "", "One sentence stands here alone.")
    assert {kind for kind, _ in known.queries(without, 4)} == {"phrases", "sentence"}
    assert list(known.queries(Document("d", "", ""), 2)) == []


def test_a_query_depends_on_seed_and_document_alone():
    documents = [
        Document(f"d{n}", "Some words in a title", f"Text number {n} speaks of many things.") for n in range(8)
    ]
    options = ExtractiveOptions(dropout=0.3)

    def queries(documents, seed):
        return {d.doc_id: list(extractor(options=options, seed=seed).queries(d, 2)) for d in documents}

    assert queries(documents, 5) == queries(reversed(documents), 5) != queries(documents, 6)


def test_sentences_are_cut_to_a_stretch():
    long = " ".join(f"w{place}" for place in range(40))
    options = ExtractiveOptions(kinds=["sentence"], sentence_words=5, dropout=0.0, reorder=0.0)
    ((_, text),) = extractor(options=options).queries(Document("d", "", long), 1)
    first = int(text.split()[0][1:])
    assert text.split() == [f"w{place}" for place in range(first, first + 5)]


@settings(deadline=None)
@given(
    st.lists(st.text("abc", min_size=1), min_size=1, max_size=20), st.floats(0, 0.99), st.floats(0, 5), st.integers()
)
def test_perturbed_words_are_some_of_the_words(given_words, dropout, reorder, seed):
    numbered = [f"{word}{place}" for place, word in enumerate(given_words)]
    found = perturb(numbered, dropout, reorder, random.Random(seed))
    assert 1 <= len(found) == len(set(found))
    assert set(found) <= set(numbered)
    kept = [word for word in numbered if word in found]
    assert all(abs(kept.index(word) - place) <= math.ceil(reorder) for place, word in enumerate(found))
    assert perturb(numbered, 0.0, 0.0, random.Random(seed)) == numbered


def test_dropout_is_the_share_that_is_lost():
    kept = [len(perturb(["w"] * 10, 0.3, 0, random.Random(seed))) for seed in range(400)]
    assert 6.7 < sum(kept) / len(kept) < 7.3


@pytest.mark.parametrize(
    "more", [{"kinds": []}, {"dropout": 1.0}, {"phrases": 0}, {"common_share": 0}, {"reorder": -1}]
)
def test_options_that_make_no_sense(more):
    with pytest.raises(InputError):
        ExtractiveOptions(**more)
