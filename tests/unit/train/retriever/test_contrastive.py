"""The loss module: what it computes of a batch, that caching changes nothing, and the released variants."""

from __future__ import annotations

import pytest
import torch
from retriever_fixtures import row, rows, tiny_model
from torch.nn.functional import cross_entropy, normalize

from expandr_ir.aggregate.dense import DenseOptions
from expandr_ir.errors import InputError
from expandr_ir.train.retriever.losses import answer_infonce, norm_penalty, plackett_luce
from expandr_ir.train.retriever.objective import Objective, RetrieverLoss, pool_in_float32
from expandr_ir.train.retriever.options import ObjectiveOptions

OBJECTIVES = {
    "expandr": ObjectiveOptions(),
    "llm-qe": ObjectiveOptions(aggregation="expansion"),
    "released": ObjectiveOptions(temperature=1, normalize=False, mask_duplicates=False),
    "concat": ObjectiveOptions(aggregation="concat"),
    "reinforced": ObjectiveOptions(
        aggregation="none", normalize=False, listwise=True, answer_weight=1, answer_passage_weight=0.25, norm_weight=1
    ),
    "expandr and alone": ObjectiveOptions(alone_weight=0.5),
}
EARLIER = ObjectiveOptions(normalize=False, dense=DenseOptions(normalize_parts=True), mask_duplicates=False)
each_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


@each_objective
def test_cached_gradients_are_the_plain_ones(tiny, objective):
    batch = tiny.batch(rows(8), objective, negatives=2)
    assert len(batch[0]) > 3
    plain, expected = tiny.gradients(objective, *batch, cached=False)
    cached, gradients = tiny.gradients(objective, *batch, cached=True)
    whole, _ = tiny.gradients(objective, *tiny.batch(rows(8), objective, batch_tokens=10**6, negatives=2), cached=False)
    assert cached == pytest.approx(plain, rel=1e-6) == pytest.approx(whole, rel=1e-5)
    assert gradients.keys() == expected.keys()
    size = max(gradient.norm() for gradient in expected.values())
    assert size > 0
    for name, gradient in expected.items():
        assert (gradients[name] - gradient).norm() < 1e-5 * size, name


def test_cached_gradients_with_dropout_and_bfloat16(tmp_path):
    tiny = tiny_model(tmp_path, dropout=0.1)
    hook = pool_in_float32(tiny.model)
    batch = tiny.batch(rows(6), batch_tokens=60)
    gradients = []
    for cached in (False, True):
        torch.manual_seed(1)
        loss = RetrieverLoss(tiny.model, ObjectiveOptions(), cached=cached)
        tiny.model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(*batch)
            value.backward()
        assert value.dtype == torch.float32
        gradients.append(torch.cat([w.grad.flatten() for w in tiny.model.parameters() if w.grad is not None]))
    hook.remove()
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9999  # the same masks were drawn twice


def test_the_loss_of_a_batch_by_hand(tiny):
    """It is computed again from vectors of texts that are encoded one by one."""
    made = rows(4)

    def encode(text):
        tokens = tiny.model.tokenizer([text], return_tensors="pt")
        return tiny.vectors([{name: tokens[name] for name in ("input_ids", "attention_mask")}])[0]

    documents = [(other, text) for other in made for text in (other.row.positives[0], other.row.negatives[0])]
    total = 0.0
    for example in made:
        query = normalize((encode(example.row.query) + encode(example.expansions[0])) / 2, dim=-1)
        candidates = [(o, text) for o, text in documents if o is example or text not in example.row.positives]
        scores = torch.stack([query @ normalize(encode(text), dim=-1) / 0.02 for _, text in candidates])
        target = candidates.index((example, example.row.positives[0]))
        total += cross_entropy(scores[None], torch.tensor([target])).item()
    value, _ = tiny.gradients(ObjectiveOptions(), *tiny.batch(made, negatives=1), cached=False)
    assert value == pytest.approx(total / 4, rel=1e-4)


@pytest.mark.parametrize(
    ("objective", "unit", "alone", "temperature"),
    [
        (OBJECTIVES["released"], False, 0.5, 1),
        # the earlier Contriever variant: (n(q) + n(d)) / 2 against n(p), not normalised again
        (EARLIER, True, 0.5, 0.02),
        (ObjectiveOptions(aggregation="expansion", mask_duplicates=False), True, 0, 0.02),
    ],
    ids=["ExpandR", "earlier ExpandR", "LLM-QE"],
)
def test_released_trainings_as_configurations(tiny, objective, unit, alone, temperature):
    """Targets are arange(rows) * group, and copies of a positive count as negatives."""
    features, labels = tiny.batch(rows(6), objective, negatives=1)
    vectors = tiny.vectors(features)
    parts = normalize(vectors, dim=-1) if unit else vectors
    queries = alone * parts[labels["queries"]] + (1 - alone) * parts[labels["expansions"]]
    expected = cross_entropy(queries @ parts[labels["documents"]].T / temperature, torch.arange(6) * 2)
    assert Objective(objective)(vectors, labels).item() == pytest.approx(expected.item(), rel=1e-5)
    texts = {tuple(ids[ids > 0].tolist()) for column in features for ids in column["input_ids"]}
    assert (tuple(tiny.model.tokenizer("what of zinc 0")["input_ids"]) in texts) == (alone > 0)


def test_the_query_alone_has_the_same_loss_beside(tiny):
    features, labels = tiny.batch(rows(4))
    vectors = tiny.vectors(features).detach()
    both = Objective(ObjectiveOptions(alone_weight=0.5))(vectors, labels)
    mean, alone = (Objective(ObjectiveOptions(aggregation=name))(vectors, labels) for name in ("mean", "none"))
    assert mean.item() != pytest.approx(alone.item(), rel=1e-3)
    assert both.item() == pytest.approx((mean + 0.5 * alone).item(), rel=1e-6)


def test_reinforced_ir_is_the_sum_of_its_parts(tiny):
    objective = ObjectiveOptions(aggregation="none", normalize=False, listwise=True, answer_weight=1, norm_weight=1)
    features, labels = tiny.batch(rows(4, negatives=3), objective, negatives=3)
    vectors = tiny.vectors(features)
    queries, answers, documents = (vectors[labels[name]] for name in ("queries", "expansions", "documents"))
    places = torch.arange(4) * 4
    excluded = (labels["documents"][:, None] == labels["documents"][None, :])[places]
    excluded[torch.arange(4), places] = False
    expected = (
        plackett_luce(queries @ documents.T / 0.02, torch.arange(16).reshape(4, 4), excluded).mean()
        + answer_infonce(queries, answers, torch.arange(4)).mean()
        + norm_penalty(answers).mean()
    )
    assert Objective(objective)(vectors, labels).item() == pytest.approx(expected.item(), rel=1e-5)


@each_objective
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("negatives", [0, 2])
def test_a_batch_of_one_row(tiny, objective, cached, negatives):
    value, _ = tiny.gradients(objective, *tiny.batch(rows(1), objective, negatives=negatives), cached=cached)
    assert torch.isfinite(torch.tensor(value))


@each_objective
@pytest.mark.parametrize("specials", [True, False], ids=["special tokens alone", "no token at all"])
def test_texts_of_only_special_tokens(tmp_path, objective, specials):
    tiny = tiny_model(tmp_path)
    blank = "[SEP] [CLS]" if specials else "\u200b"
    if not specials:
        from tokenizers import processors

        tiny.model.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    made = rows(3)
    made[1] = row("odd", blank, [blank], [f"{blank} zinc"], [blank])
    value, gradients = tiny.gradients(objective, *tiny.batch(made, objective), cached=True)
    assert torch.isfinite(torch.tensor(value))
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature is 0"),
        ({"answer_weight": -1}, "answer_weight is -1"),
        ({"aggregation": "expansion", "norm_weight": 1}, "keeps the query's own vector"),
        ({"aggregation": "expansion", "alone_weight": 1}, "keeps the query's own vector"),
        ({"aggregation": "concat", "alone_weight": 1}, "keeps the query's own vector"),
        ({"aggregation": "meen"}, "Try: mean"),
    ],
)
def test_objectives_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        ObjectiveOptions(**options)
