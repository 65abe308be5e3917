"""The model card of a trained retriever: what it was trained on, for what, and how it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import yaml

from expandr_ir.config import EncoderConfig
from expandr_ir.manifest import installed_versions
from expandr_ir.train.retriever_options import RetrieverOptions


def model_card(
    options: RetrieverOptions, config: EncoderConfig, counts: Mapping[str, int], scores: Mapping[str, float], plan: str,
    searched_by: str,
) -> str:  # fmt: skip
    """The card's Markdown, with the hub's fields at its head.

    Args:
        options: of the training.
        config: the encoder's, without blanks.
        counts: what was counted.
        scores: of the dev set; empty where there is none.
        plan: the training's SHA-256.
        searched_by: the aggregation by which queries and expansions are searched.
    """
    head = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense", "query-expansion"],
    }
    if "/" in config.model and not config.model.startswith((".", "/", "~")):
        head["base_model"] = config.model
    facts = {
        "trained from": config.model,
        "weights' licence": config.licence or "not stated; that of the model it was trained from",
        "aggregation in training": options.objective.aggregation,
        "similarity": f"{config.similarity}, vectors {'' if config.normalize else 'not '}normalised",
        "longest query, longest text (tokens)": f"{config.query_max_length}, {config.max_length}",
        "query prefix, document prefix": f"{config.query_prefix!r}, {config.document_prefix!r}",
        "expansions are encoded as": f"{config.expansion_role}s"
        + (f", prefix {config.expansion_prefix!r}" if config.expansion_prefix is not None else ""),
        "a document's text": f"`{config.document_template}`",
    }
    versions = installed_versions()
    search = "expandr search --collection C --retriever dense --encoder THIS-FOLDER --expansions FILE"
    sections = [
        "---\n" + yaml.safe_dump(head, sort_keys=False) + "---",
        "# A retriever trained to read expansions",
        "Trained with expandr_ir (`expandr train retriever`) on queries and texts that an LLM wrote about them.",
        f"```\n{search} --aggregation {searched_by} --output RUN\n```",
        _table("fact", "value", facts),
        "## Training data\n\n"
        + _table("what", "how many", {name.replace("_", " "): value for name, value in counts.items()}),
    ]
    if scores:
        rounded = {name: f"{value:.4f}" for name, value in scores.items()}
        sections.append(
            "## Held-back queries\n\nMeans of the checkpoint that was kept.\n\n" + _table("measure", "mean", rounded)
        )
    recipe = yaml.safe_dump(asdict(options), sort_keys=False, allow_unicode=True)
    sections.append(f"## Options\n\n```yaml\n{recipe}```\n\nPlan {plan}.")
    used = ", ".join(
        f"{name} {versions[name]}" for name in ("expandr_ir", "sentence-transformers", "torch") if name in versions
    )
    sections.append(f"Made with {used}.")
    return "\n\n".join(sections) + "\n"


def _table(left: str, right: str, rows: Mapping[str, object]) -> str:
    lines = [f"| {left} | {right} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines)
