"""Which documents queries are made of."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.records import Document
from expandr_ir.train.data.documents import documents_at, draw, survey_corpus


class Corpus:
    """A collection of these documents that counts how many were read."""

    spec = "here"

    def __init__(self, documents):
        self._documents, self.read = documents, 0

    def documents(self):
        for document in self._documents:
            self.read += 1
            yield document


def survey(documents, min_words=1, seed=0):
    return survey_corpus(Corpus(documents), min_words, seed)


def document(number, length):
    return Document(f"d{number}", "", " ".join(f"w{number}x{place}" for place in range(length)))


def of_lengths(lengths):
    return [document(number, length) for number, length in enumerate(lengths)]


def test_short_documents_and_twins_are_left_out():
    documents = [document(0, 5), document(1, 20), Document("twin", "", document(1, 20).text.upper()), document(2, 9)]
    surveyed = survey(documents, min_words=9)
    assert surveyed.places.tolist() == [1, 3]
    assert surveyed.lengths.tolist() == [20, 9]
    assert (surveyed.documents, surveyed.short, surveyed.duplicates) == (4, 1, 1)
    with pytest.raises(InputError, match="here: of 4 documents 2 have fewer than 10 words and 1 are duplicates; 1 is"):
        survey(documents, min_words=10)
    with pytest.raises(InputError, match="here: of 0 documents"):
        survey([])


def test_each_stratum_gives_the_same_number():
    lengths = [10] * 5 + [20] * 5 + [300] * 10
    places, strata = draw(survey(of_lengths(lengths)), 8, strata=4)
    expected = [(10, 10, 5, 2), (20, 20, 5, 2), (300, 300, 5, 2), (300, 300, 5, 2)]
    assert [tuple(stratum.values()) for stratum in strata] == expected
    assert places == sorted(places)
    assert [sum(lengths[place] == length for place in places) for length in (10, 20, 300)] == [2, 2, 4]


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=60), st.integers(1, 70), st.integers(1, 9), st.integers(0, 99))
def test_so_many_are_drawn_and_a_smaller_draw_is_part_of_a_larger_one(lengths, count, strata, seed):
    surveyed = survey(of_lengths(lengths), seed=seed)
    places, described = draw(surveyed, count, strata)
    assert len(places) == len(set(places)) == min(count, len(lengths))
    drawn = [stratum["drawn"] for stratum in described]
    assert sum(stratum["documents"] for stratum in described) == len(lengths)
    assert max(drawn) - min(drawn) <= 1
    if count >= strata:
        assert set(places) <= set(draw(surveyed, count + 1, strata)[0])


def test_the_draw_depends_on_seed_and_ids_and_not_on_the_order():
    rising = of_lengths(range(10, 60))
    mixed = random.Random(4).sample(rising, 50)

    def ids(documents, seed):
        places, _ = draw(survey(documents, seed=seed), 12, 3)
        return {document.doc_id for document in documents_at(Corpus(documents), places)}

    assert ids(rising, 1) == ids(mixed, 1) != ids(rising, 2)


def test_documents_at_reads_no_further_than_it_must():
    corpus = Corpus(of_lengths([1] * 10))
    for places, ids in (([2, 5], ["d2", "d5"]), ([], [])):
        assert [document.doc_id for document in documents_at(corpus, places)] == ids
        assert corpus.read == 6
