"""The loss module: what it computes of a batch, that caching changes nothing, and the released variants."""

from __future__ import annotations

import pytest
import torch
from retriever_fixtures import batch_of, collator, loss_and_gradients, rows, tiny_model

from expandr_ir.aggregate.dense import DenseOptions
from expandr_ir.errors import InputError
from expandr_ir.train.data.rows import TrainingRow
from expandr_ir.train.retriever.data import RetrieverRow
from expandr_ir.train.retriever.losses import answer_infonce, norm_penalty, plackett_luce
from expandr_ir.train.retriever.objective import Objective, RetrieverLoss, pool_in_float32
from expandr_ir.train.retriever.options import ObjectiveOptions

REINFORCED = ObjectiveOptions(
    aggregation="none", normalize=False, listwise=True, answer_weight=1, answer_passage_weight=0.25, norm_weight=1
)
OBJECTIVES = {
    "expandr": ObjectiveOptions(),
    "llm-qe": ObjectiveOptions(aggregation="expansion"),
    "released": ObjectiveOptions(temperature=1, normalize=False, mask_duplicates=False),
    "concat": ObjectiveOptions(aggregation="concat"),
    "reinforced": REINFORCED,
    "expandr and alone": ObjectiveOptions(alone_weight=0.5),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("bert"))


def vectors_of(model, features):
    return torch.cat([model(dict(column))["sentence_embedding"] for column in features])


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_cached_gradients_are_the_plain_ones(tiny, objective):
    model, config = tiny
    features, labels = batch_of(collator(model, config, rows(8), objective, negatives=2), range(8))
    plain, wanted = loss_and_gradients(model, objective, features, labels, cached=False)
    cached, got = loss_and_gradients(model, objective, features, labels, cached=True)
    assert len(features) > 3
    features, labels = batch_of(collator(model, config, rows(8), objective, 10**6, negatives=2), range(8))
    whole, _ = loss_and_gradients(model, objective, features, labels, cached=False)
    assert cached == pytest.approx(plain, rel=1e-6) == pytest.approx(whole, rel=1e-5)
    assert got.keys() == wanted.keys()
    size = max(grad.norm() for grad in wanted.values())
    assert size > 0
    for name, grad in wanted.items():
        assert (got[name] - grad).norm() < 1e-5 * size, name


def test_cached_gradients_with_dropout_and_bfloat16(tmp_path):
    model, config = tiny_model(tmp_path, dropout=0.1)
    hook = pool_in_float32(model)
    features, labels = batch_of(collator(model, config, rows(6), batch_tokens=60), range(6))
    found = []
    for cached in (False, True):
        torch.manual_seed(1)
        loss = RetrieverLoss(model, ObjectiveOptions(), cached=cached)
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(features, labels)
            value.backward()
        assert value.dtype == torch.float32
        found.append(torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None]))
    hook.remove()
    assert torch.cosine_similarity(*found, dim=0) > 0.9999  # the same masks were drawn twice


def test_the_loss_of_a_batch_by_hand(tiny):
    """Each part is computed again from vectors of texts that are encoded one by one."""
    model, config = tiny
    made = rows(4)
    features, labels = batch_of(collator(model, config, made, negatives=1), range(4))

    def encode(text):
        tokens = model.tokenizer([text], return_tensors="pt")
        kept = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        return torch.nn.functional.normalize(model(kept)["sentence_embedding"][0], dim=-1)

    documents = [(one, text) for one in made for text in (one.row.positives[0], one.row.negatives[0])]
    total = 0.0
    for row in made:
        parts = [model.tokenizer([text], return_tensors="pt") for text in (row.row.query, row.expansions[0])]
        query, expansion = (
            model({name: one[name] for name in ("input_ids", "attention_mask")})["sentence_embedding"][0]
            for one in parts
        )
        query = torch.nn.functional.normalize((query + expansion) / 2, dim=-1)
        kept = [(one, text) for one, text in documents if one is row or text not in row.row.positives]
        scores = torch.stack([query @ encode(text) / 0.02 for _, text in kept])
        target = next(at for at, (one, text) in enumerate(kept) if one is row and text == row.row.positives[0])
        total += torch.nn.functional.cross_entropy(scores[None], torch.tensor([target])).item()
    value, _ = loss_and_gradients(model, ObjectiveOptions(), features, labels, cached=False)
    assert value == pytest.approx(total / 4, rel=1e-4)


def test_the_released_expandr_as_a_configuration(tiny):
    """Dot products as they are, targets arange(rows) * group, copies of a positive counted as negatives."""
    model, config = tiny
    objective = OBJECTIVES["released"]
    features, labels = batch_of(collator(model, config, rows(6), objective, negatives=1), range(6))
    vectors = vectors_of(model, features)
    queries = (vectors[labels["queries"]] + vectors[labels["expansions"]]) / 2
    scores = queries @ vectors[labels["documents"]].T
    wanted = torch.nn.functional.cross_entropy(scores, torch.arange(6) * 2)
    assert Objective(objective)(vectors, labels).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_earlier_contriever_variant_as_a_configuration(tiny):
    """(n(q) + n(d)) / 2 against n(p), not normalised again, over .02."""
    model, config = tiny
    objective = ObjectiveOptions(normalize=False, dense=DenseOptions(normalize_parts=True), mask_duplicates=False)
    features, labels = batch_of(collator(model, config, rows(6), objective, negatives=1), range(6))
    vectors = vectors_of(model, features)
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    queries = (unit[labels["queries"]] + unit[labels["expansions"]]) / 2
    wanted = torch.nn.functional.cross_entropy(queries @ unit[labels["documents"]].T / 0.02, torch.arange(6) * 2)
    assert Objective(objective)(vectors, labels).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_released_llm_qe_as_a_configuration(tiny):
    """The expansion in the query's place, cosines over .02; the queries are not even encoded."""
    model, config = tiny
    objective = ObjectiveOptions(aggregation="expansion", mask_duplicates=False)
    features, labels = batch_of(collator(model, config, rows(6), objective, negatives=1), range(6))
    vectors = torch.nn.functional.normalize(vectors_of(model, features), dim=-1)
    scores = vectors[labels["expansions"]] @ vectors[labels["documents"]].T / 0.02
    wanted = torch.nn.functional.cross_entropy(scores, torch.arange(6) * 2)
    assert Objective(objective)(vectors_of(model, features), labels).item() == pytest.approx(wanted.item(), rel=1e-5)
    texts = {tuple(ids[ids > 0].tolist()) for column in features for ids in column["input_ids"]}
    assert tuple(model.tokenizer("what of zinc 0")["input_ids"]) not in texts


def test_the_query_alone_has_the_same_loss_beside(tiny):
    model, config = tiny
    features, labels = batch_of(collator(model, config, rows(4)), [0, 1, 2, 3])
    vectors = vectors_of(model, features).detach()
    both = Objective(ObjectiveOptions(alone_weight=0.5))(vectors, labels)
    mean, alone = (Objective(ObjectiveOptions(aggregation=name))(vectors, labels) for name in ("mean", "none"))
    assert mean.item() != pytest.approx(alone.item(), rel=1e-3)
    assert both.item() == pytest.approx((mean + 0.5 * alone).item(), rel=1e-6)
    for name in ("expansion", "concat"):
        with pytest.raises(InputError, match="the query's own vector"):
            ObjectiveOptions(aggregation=name, alone_weight=1)


def test_reinforced_ir_is_the_sum_of_its_parts(tiny):
    model, config = tiny
    objective = ObjectiveOptions(aggregation="none", normalize=False, listwise=True, answer_weight=1, norm_weight=1)
    features, labels = batch_of(collator(model, config, rows(4, negatives=3), objective, negatives=3), range(4))
    vectors = vectors_of(model, features)
    queries, answers, documents = (vectors[labels[name]] for name in ("queries", "expansions", "documents"))
    groups = torch.arange(16).reshape(4, 4)
    same = labels["documents"][:, None] == labels["documents"][None, :]
    excluded = torch.stack([same[at * 4] for at in range(4)])
    excluded[torch.arange(4), torch.arange(4) * 4] = False
    wanted = (
        plackett_luce(queries @ documents.T / 0.02, groups, excluded).mean()
        + answer_infonce(queries, answers, torch.arange(4)).mean()
        + norm_penalty(answers).mean()
    )
    assert Objective(objective)(vectors, labels).item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("cached", [False, True])
def test_a_batch_of_one_row(tiny, objective, cached):
    model, config = tiny
    for negatives in (0, 2):
        features, labels = batch_of(collator(model, config, rows(1), objective, negatives=negatives), [0])
        value, _ = loss_and_gradients(model, objective, features, labels, cached=cached)
        assert torch.isfinite(torch.tensor(value))


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("specials", [True, False], ids=["special tokens alone", "no token at all"])
def test_texts_of_only_special_tokens(tmp_path, objective, specials):
    model, config = tiny_model(tmp_path)
    blank = "[SEP] [CLS]" if specials else "\u200b"
    if not specials:
        from tokenizers import processors

        model.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    made = rows(3)
    odd = TrainingRow("odd", blank, (blank,), (blank + " zinc",))
    made[1] = RetrieverRow(odd, (blank,))
    features, labels = batch_of(collator(model, config, made, objective), [0, 1, 2])
    value, gradients = loss_and_gradients(model, objective, features, labels, cached=True)
    assert torch.isfinite(torch.tensor(value))
    assert all(torch.isfinite(one).all() for one in gradients.values())


def test_options_that_make_no_sense():
    with pytest.raises(InputError, match="temperature is 0"):
        ObjectiveOptions(temperature=0)
    with pytest.raises(InputError, match="answer_weight is -1"):
        ObjectiveOptions(answer_weight=-1)
    with pytest.raises(InputError, match="keeps the query's own vector"):
        ObjectiveOptions(aggregation="expansion", norm_weight=1)
    with pytest.raises(InputError, match="Try: mean"):
        ObjectiveOptions(aggregation="meen")
