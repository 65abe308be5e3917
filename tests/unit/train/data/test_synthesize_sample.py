"""Which documents queries are made of."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.records import Document
from expandr_ir.train.data import documents as corpus
from expandr_ir.train.data.documents import documents_at, draw, lowest_hashes


class Corpus:
    """A collection of these documents that counts how many were read."""

    def __init__(self, documents):
        self._documents, self.read = documents, 0

    def documents(self):
        for document in self._documents:
            self.read += 1
            yield document


def survey(documents, min_words, seed):
    return corpus.survey_corpus(Corpus(documents), min_words, seed)


def document(number, length):
    return Document(f"d{number}", "", " ".join(f"w{number}x{place}" for place in range(length)))


def test_short_documents_and_twins_are_left_out():
    documents = [document(0, 5), document(1, 20), Document("twin", "", document(1, 20).text.upper()), document(2, 9)]
    found = survey(documents, min_words=9, seed=1)
    assert found.places.tolist() == [1, 3]
    assert found.lengths.tolist() == [20, 9]
    assert (found.documents, found.short, found.duplicates) == (4, 1, 1)


def test_each_stratum_gives_the_same_number():
    lengths = [10] * 5 + [20] * 5 + [300] * 10
    found = survey([document(number, length) for number, length in enumerate(lengths)], 1, seed=3)
    places, strata = draw(found, 8, strata=4)
    assert [tuple(one.values()) for one in strata] == [
        (10, 10, 5, 2),
        (20, 20, 5, 2),
        (300, 300, 5, 2),
        (300, 300, 5, 2),
    ]
    assert places == sorted(places)
    assert [sum(lengths[place] == length for place in places) for length in (10, 20, 300)] == [2, 2, 4]


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 70), st.integers(1, 9))
def test_as_many_are_drawn_as_asked_for(lengths, count, strata):
    found = survey([document(number, length) for number, length in enumerate(lengths)], 1, seed=0)
    places, described = draw(found, count, strata)
    assert len(places) == len(set(places)) == min(count, len(lengths))
    drawn = [one["drawn"] for one in described]
    assert sum(one["documents"] for one in described) == len(lengths)
    assert max(drawn) - min(drawn) <= 1


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 39), st.integers(1, 3))
def test_a_smaller_draw_is_part_of_a_larger_one(seed, count, strata):
    found = survey([document(number, 1 + number % 7) for number in range(40)], 1, seed)
    assert set(draw(found, count, strata)[0]) <= set(draw(found, count + 1, strata)[0])


def test_the_draw_depends_on_seed_and_ids_and_not_on_the_order():
    rising = [document(number, 10 + number) for number in range(50)]
    mixed = random.Random(4).sample(rising, 50)
    drawn = {}
    for name, order, seed in (("one", rising, 1), ("mixed", mixed, 1), ("other", rising, 2)):
        places, _ = draw(survey(order, 1, seed), 12, 3)
        drawn[name] = {one.doc_id for one in documents_at(Corpus(order), places)}
    assert drawn["one"] == drawn["mixed"] != drawn["other"]


def test_documents_at_reads_no_further_than_it_must():
    ten = Corpus([document(number, 1) for number in range(10)])
    assert [one.doc_id for one in documents_at(ten, [2, 5])] == ["d2", "d5"]
    assert ten.read == 6
    assert list(documents_at(ten, [])) == []
    assert ten.read == 6


def test_lowest_hashes_are_a_draw_without_strata():
    found = survey([document(number, number + 1) for number in range(30)], 1, seed=9)
    assert lowest_hashes(found, 7) == draw(found, 7, strata=1)[0]
    assert lowest_hashes(found, 99) == list(range(30))


def test_an_empty_corpus_gives_nothing():
    found = survey([], 1, 0)
    assert draw(found, 5, 3) == ([], [])
    assert lowest_hashes(found, 5) == []
    assert found.documents == 0
