"""Rewards computed by hand, and what holds for all similarities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.train.align.rewards import (
    Evidence,
    RewardOptions,
    SelectionOptions,
    choose,
    keeps_margin,
    ranks,
    sum_rewards,
)

OPTIONS = RewardOptions()
BOTH = {"retriever": 1.0, "self": 1.0}


def total_of(evidence, weights, options=OPTIONS):
    return sum_rewards(evidence, weights, options)[0]


def array(*values):
    return np.array(values, dtype=np.float64)


def similar(least=2, most=12):
    """Similarities with ties among them."""
    return st.lists(st.integers(-100, 100), min_size=least, max_size=most).map(lambda values: np.array(values) / 100)


def pairs():
    return st.integers(2, 12).flatmap(lambda n: st.tuples(similar(n, n), similar(n, n)))


def test_expandr_by_hand():
    """Ranks 3 1 2 and 1 2 3: rewards 1/3 + 1, 1 + 1/2, 1/2 + 1/3."""
    evidence = Evidence(positive=array(0.2, 0.9, 0.5), answer=array(0.8, 0.7, 0.6))
    total, parts = sum_rewards(evidence, BOTH, OPTIONS)
    np.testing.assert_allclose(total, [4 / 3, 3 / 2, 5 / 6])
    np.testing.assert_allclose(parts["retriever"], [1 / 3, 1, 1 / 2])
    np.testing.assert_allclose(parts["self"], [1, 1 / 2, 1 / 3])
    assert choose(total) == (1, 2)
    assert evidence.best_similarity() == pytest.approx(1.6)  # of 1.0, 1.6, 1.1
    assert Evidence(query=0.5).best_similarity() is None


def test_weights_by_hand():
    evidence = Evidence(positive=array(0.2, 0.9), answer=array(0.8, 0.7))
    np.testing.assert_allclose(total_of(evidence, {"retriever": 1.0, "self": 4.0}), [0.5 + 4, 1 + 2])
    both = Evidence(positive=np.linspace(0, 1, 32), answer=np.linspace(0, 1, 32))
    assert (total_of(both, BOTH).min(), total_of(both, BOTH).max()) == (1 / 16, 2.0)  # as ExpandR says of 32


def test_margin_by_hand():
    """.8 x .5 + .2 x (.5, 1, .25) against the positive."""
    evidence = Evidence(positive=array(0.5, 1.0, 0.25), query=0.5)
    np.testing.assert_allclose(total_of(evidence, {"margin": 1.0}), [0.5, 0.6, 0.45])
    half = RewardOptions(expansion_weight=0.5)
    np.testing.assert_allclose(total_of(evidence, {"margin": 1.0}, half), [0.5, 0.75, 0.375])


@given(st.integers(0, 1000))
def test_margin_is_the_dot_product_of_the_weighted_mean(seed):
    draws = np.random.default_rng(seed)
    query, positive, candidates = draws.normal(size=8), draws.normal(size=8), draws.normal(size=(5, 8))
    evidence = Evidence(positive=candidates @ positive, query=float(query @ positive))
    expected = (0.8 * query + 0.2 * candidates) @ positive
    np.testing.assert_allclose(total_of(evidence, {"margin": 1.0}), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("positive", "query", "kept"),
    [
        (array(0.9, 0.1), 0.5, True),  # .58 > .5, and .95 x .18 = .171 >= .02
        (array(0.5, 0.1), 0.5, False),  # the best is no better than the query alone
        (array(0.9, 0.88), 0.5, False),  # .95 x .18 = .171 < .176: too alike
        (array(0.9, 0.85), 0.5, True),  # .171 >= .17
        (array(0.4, 0.1), 0.5, False),  # worse than the query alone
    ],
)
def test_the_keep_rule_by_hand(positive, query, kept):
    assert keeps_margin(Evidence(positive=positive, query=query), OPTIONS, 0.95) is kept


def test_corpus_by_hand():
    found = np.array([[1, 3], [0, 2], [0, 0], [12, 0]])
    evidence = Evidence(corpus=found, grades=array(1, 2))
    np.testing.assert_allclose(total_of(evidence, {"corpus": 1.0}), [1, 1 / 2, 0, 1 / 12])
    ideal = 2 / np.log2(2) + 1 / np.log2(3)
    expected = [(1 / np.log2(2) + 2 / np.log2(4)) / ideal, (2 / np.log2(3)) / ideal, 0, 0]
    options = RewardOptions(measure="ndcg", cutoff=10)
    np.testing.assert_allclose(total_of(evidence, {"corpus": 1.0}, options), expected)
    recall = RewardOptions(measure="recall", cutoff=2)
    np.testing.assert_allclose(total_of(evidence, {"corpus": 1.0}, recall), [1 / 2, 1 / 2, 0, 0])


def test_search_is_the_gain_over_the_query_alone():
    evidence = Evidence(corpus=array([1, 3], [0, 2], [0, 0]), alone=array(2, 0), grades=array(1, 2))
    np.testing.assert_allclose(total_of(evidence, {"search": 1.0}), [1 - 1 / 2, 1 / 2 - 1 / 2, -1 / 2])
    np.testing.assert_allclose(total_of(evidence, {"search": 1.0, "corpus": 2.0})[0], 1 / 2 + 2)
    assert SelectionOptions(rewards={"search": 1.0}, threshold="none").evidence() == {"corpus", "alone"}
    smoothed = Evidence(corpus=array([1.5, 1.5]), alone=array(0, 0), grades=array(1, 1))  # two that tie
    ideal = 1 + 1 / np.log2(3)
    ndcg = RewardOptions(measure="ndcg")
    np.testing.assert_allclose(total_of(smoothed, {"search": 1.0}, ndcg), 2 / np.log2(2.5) / ideal)


@settings(deadline=None)  # the first one imports ir_measures
@given(st.lists(st.integers(0, 15), min_size=3, max_size=3, unique_by=lambda rank: rank or object()))
def test_corpus_agrees_with_ir_measures(places):
    import ir_measures

    grades = [1, 2, 3]
    qrels = {"t": {f"p{n}": grade for n, grade in enumerate(grades)}}
    ranked = {rank: f"p{n}" for n, rank in enumerate(places) if rank}
    run = {"t": {ranked.get(rank, f"x{rank}"): float(-rank) for rank in range(1, 16)}}
    evidence = Evidence(corpus=np.array([places]), grades=array(*grades))
    for options, measure in (
        (RewardOptions(measure="ndcg", cutoff=10), ir_measures.nDCG @ 10),
        (RewardOptions(measure="rr"), ir_measures.RR),
        (RewardOptions(measure="recall", cutoff=5), ir_measures.R @ 5),
    ):
        expected = ir_measures.calc_aggregate([measure], qrels, run)[measure]
        assert total_of(evidence, {"corpus": 1.0}, options)[0] == pytest.approx(expected)


@given(similar())
def test_ranks_count_those_that_are_better(values):
    assert ranks(values).tolist() == [1 + sum(other > value for other in values) for value in values]


@given(pairs(), st.randoms())
def test_permuted_candidates_have_permuted_rewards(pair, random):
    positive, answer = pair
    order = list(range(len(positive)))
    random.shuffle(order)
    one = total_of(Evidence(positive=positive, answer=answer), BOTH)
    other = total_of(Evidence(positive=positive[order], answer=answer[order]), BOTH)
    assert other.tolist() == one[order].tolist()
    assert other[choose(other)[0]] == one[choose(one)[0]]


@given(pairs(), st.sampled_from([0.25, 0.5, 2.0, 8.0]), st.sampled_from([-2.0, 0.0, 4.0]))
def test_rank_rewards_do_not_feel_scale_and_shift(pair, scale, shift):
    positive, answer = pair
    one = total_of(Evidence(positive=positive, answer=answer), BOTH)
    moved = Evidence(positive=np.round(positive * 100) * scale + shift, answer=np.round(answer * 100) * scale)
    assert total_of(moved, BOTH).tolist() == one.tolist()


def test_sums_that_are_equal_as_fractions_tie():
    """1/20 + 1/30 = 1/24 + 1/24 = 1/12; float64 says that the first is larger."""
    one, other = _with_ranks({3: 20, 7: 24}), _with_ranks({3: 30, 7: 24})
    assert 1 / 20 + 1 / 30 != 1 / 24 + 1 / 24
    total = total_of(Evidence(positive=one, answer=other), BOTH)
    assert total[3] == total[7]


def _with_ranks(wanted):
    """30 similarities, those at the given places with the given ranks."""
    others = iter(sorted(set(range(1, 31)) - set(wanted.values())))
    return -array(*(wanted[place] if place in wanted else next(others) for place in range(30)))


def test_ties_go_to_the_first():
    assert choose(array(1, 2, 2, 1)) == (1, 0)
    assert choose(array(1, 1)) == (0, 0)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution with two rewards of its own, as entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_rewards.py").write_text(
        "import numpy as np\n"
        "def centred(positive):\n    return positive - positive.mean()\n"
        "def broken(options):\n    return np.array([1, np.nan])\n"
    )
    (tmp_path / "my_rewards-1.dist-info").mkdir()
    (tmp_path / "my_rewards-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: my-rewards\nVersion: 1\n"
    )
    points = "[expandr_ir.rewards]\ncentred = my_rewards:centred\nbroken = my_rewards:broken\n"
    (tmp_path / "my_rewards-1.dist-info" / "entry_points.txt").write_text(points)


@pytest.mark.usefixtures("installed")
def test_an_installed_reward_is_found_by_name():
    assert total_of(Evidence(positive=array(0, 1)), {"centred": 2.0}).tolist() == [-1, 1]
    assert SelectionOptions(rewards={"centred": 1.0, "self": 1.0}).evidence() == {"positive", "answer"}
    with pytest.raises(InputError, match="one of broken, centred, corpus, margin, retriever, search, self"):
        SelectionOptions(rewards={"slef": 1.0})


@pytest.mark.usefixtures("installed")
def test_a_reward_that_is_not_a_number_is_refused():
    with pytest.raises(ExpandrError, match="the similarity 'positive' of candidate 1 is nan"):
        total_of(Evidence(positive=array(0.1, np.nan)), {"retriever": 1.0})
    with pytest.raises(ExpandrError, match="the similarity 'query' of candidate 0 is inf"):
        total_of(Evidence(positive=array(0.1, 0.2), query=float("inf")), {"margin": 1.0})
    with pytest.raises(ExpandrError, match="the reward 'broken' of candidate 1 is nan"):
        total_of(Evidence(), {"broken": 1.0})


def test_evidence_that_is_missing():
    with pytest.raises(InputError, match="reads 'answer'"):
        total_of(Evidence(positive=array(0, 1)), {"self": 1.0})
