"""GRPO: an expander learns from the rewards of the texts that it writes itself (arXiv 2402.03300)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from expandr_ir.config import JsonField
from expandr_ir.errors import check_number
from expandr_ir.generators.chat import load_tokenizer, prompt_ids
from expandr_ir.io.manifest import Summary
from expandr_ir.prompts import Prompt, load_prompt
from expandr_ir.records import Topic
from expandr_ir.train.align.candidates import AnswerOptions, write_answers
from expandr_ir.train.align.evidence import EvidenceOptions
from expandr_ir.train.align.options import AlignOptions
from expandr_ir.train.align.tokenization import TokenRows, part
from expandr_ir.train.data.rows import TrainingRow, distinct_queries, read_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GrpoOptions(EvidenceOptions, AnswerOptions, AlignOptions):
    """Options of GRPO.

    Args:
        rows: training rows: JSONL, a folder of it, a collection, or hub:ID.
        split: of a collection or data set.
        dev_share: share of the queries that is held out, by their hash; 0 evaluates nothing.
        prompt: what the expander is asked, a name of conf/prompts or a YAML file.
        rewards: weights by name: search, corpus, retriever, self, margin, or a reward of an installed package.
        grpo: TRL's GRPOConfig, by its own names; what is not there is TRL's default.
    """

    rows: str
    split: str | None = None
    dev_share: float = 0.1
    prompt: str = "passage"
    rewards: dict[str, float] = field(default_factory=lambda: {"search": 1.0})
    grpo: dict[str, JsonField] = field(default_factory=dict)

    def __post_init__(self) -> None:
        EvidenceOptions.__post_init__(self)
        AnswerOptions.__post_init__(self)
        AlignOptions.__post_init__(self)


def train_grpo(options: GrpoOptions) -> Summary | None:
    """Trains, or goes on with training that was broken off; with `dry_run` the size of the run.

    Raises:
        InputError: options, rows or a model that do not fit, rows without judgements, or a folder that holds another
            run.
        ExpandrError: the model writes nothing, or a reward is not finite.
    """
    from expandr_ir.train.align.fit import fit, forecast
    from expandr_ir.train.align.live_rewards import LiveRewards

    tokenizer, prompt = load_tokenizer(options.generator), load_prompt(options.prompt)
    rows, _ = distinct_queries(read_rows(options.rows, options.split))
    answers: dict[str, str] = {}
    if "answer" in options.evidence() and not options.dry_run:
        answers, before = write_answers(options, options.generator, rows), len(rows)
        rows = [row for row in rows if row.row_id in answers]
        if len(rows) < before:
            logger.warning("%d rows are left out: the LLM has no answer to them", before - len(rows))
    parts = part(rows, options.dev_share, lambda row: row.query)
    train, heldout = (tokenized_prompts(some, prompt, tokenizer, options.max_prompt_length) for some in parts)
    dev = heldout if heldout.rows else None
    if options.dry_run:
        return forecast("grpo", options.grpo, train, dev)
    return fit(
        "grpo",
        options,
        tokenizer,
        train,
        dev,
        prompt=prompt,
        rewards=LiveRewards(options, tokenizer, prompt, rows, answers),
        inputs={"rows": options.rows},
        provenance={"rows": options.rows, "split": options.split},
    )


def tokenized_prompts(
    rows: Iterable[TrainingRow], prompt: Prompt, tokenizer: Any, max_prompt_length: int | None
) -> TokenRows:
    """The prompts of rows with their ids, as TRL takes them, and their counts; the trainer tokenizes them itself."""
    check_number("max_prompt_length", max_prompt_length, least=1)
    counts = dict.fromkeys(("rows", "truncated_prompts", "tokens"), 0)
    prompts: list[dict[str, Any]] = []
    for row in rows:
        messages = prompt.render(Topic(row.row_id, row.query))
        length = len(prompt_ids(tokenizer, messages))
        kept = min(length, max_prompt_length or length)
        counts["truncated_prompts"] += kept < length
        counts["tokens"] += kept
        prompts.append({"prompt": [asdict(message) for message in messages], "row_id": row.row_id})
    return TokenRows(prompts, counts | {"rows": len(prompts)})
