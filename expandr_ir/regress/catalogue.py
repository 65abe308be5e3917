"""regressions/conditions.yaml: tiers, metrics, sources and conditions, which stand there once for all collections."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from expandr_ir.errors import InputError
from expandr_ir.regress.files import CONDITIONS, Block, read_block, unknown
from expandr_ir.regress.spec import TIERS, Condition, Metric, Tier

FAMILIES = ("bm25", "frozen", "dense", "hybrid", "live", "published")
_CONDITION_KEYS = (
    *("about", "family", "tier", "baseline", "search", "expander", "expansions", "topics_field", "pyserini"),
    *("vary", "name"),
)


@dataclass(frozen=True)
class Catalogue:
    """What all regressions share.

    Args:
        tolerances: a tier's largest difference where a figure has no other.
        metrics: by name.
        sources: where figures stand, by a short name.
        conditions: by name.
        sets: names of conditions that many collections have, by the set's name.
    """

    tolerances: Mapping[Tier, float]
    metrics: Mapping[str, Metric]
    sources: Mapping[str, str]
    conditions: Mapping[str, Condition]
    sets: Mapping[str, tuple[str, ...]]


def read_catalogue(folder: Path) -> Catalogue:
    """What stands in conditions.yaml.

    Args:
        folder: the folder of the regressions.

    Raises:
        InputError: an unknown key, tier or condition, or a name twice; the message names file and line.
    """
    root = read_block(folder / CONDITIONS)
    root.check_keys(("tiers", "metrics", "sources", "conditions", "sets"))
    conditions = _conditions(root.block("conditions"))
    sets = root.block("sets")
    for name in sets:
        for member in sets.texts(name):
            if member not in conditions:
                raise unknown(sets.where(name), "condition", member, conditions)
    sources = root.block("sources")
    return Catalogue(
        tolerances=_tolerances(root.block("tiers")),
        metrics=_metrics(root.block("metrics")),
        sources={key: sources.take(key, str) for key in sources},
        conditions=conditions,
        sets={name: tuple(sets.texts(name)) for name in sets},
    )


def _tolerances(tiers: Block) -> dict[Tier, float]:
    tiers.check_keys(TIERS)
    return {tier: float(tiers.take(tier, (int, float))) for tier in TIERS}


def _metrics(metrics: Block) -> dict[str, Metric]:
    found = {}
    for name in metrics:
        block = metrics.block(name)
        block.check_keys(("precision", "trec_eval"))
        found[name] = Metric(name, block.take("precision", int), block.take("trec_eval", str))
    return found


def _conditions(conditions: Block) -> dict[str, Condition]:
    found: dict[str, Condition] = {}
    blocks: dict[str, Block] = {}
    for name in conditions:
        block = conditions.block(name)
        block.check_keys(_CONDITION_KEYS)
        for condition in _condition(name, block):
            if condition.name in found:
                raise InputError(
                    f"{conditions.where(name)}: a second condition {condition.name!r}", expected="each name once"
                )
            found[condition.name], blocks[condition.name] = condition, block
    for name, condition in found.items():
        if condition.baseline is not None and condition.baseline not in found:
            raise unknown(blocks[name].where("baseline"), "baseline", condition.baseline, found)
    return found


def _condition(name: str, block: Block) -> Iterator[Condition]:
    """The condition, or, where `vary` lists values of placeholders, one for each combination of them."""
    tier, family = block.take("tier", str), block.take("family", str)
    if tier not in TIERS:
        raise unknown(block.where("tier"), "tier", tier, TIERS)
    if family not in FAMILIES:
        raise unknown(block.where("family"), "family", family, FAMILIES)
    plain: dict[str, Any] = block.plain() | {"about": " ".join(block.take("about", str).split())}
    vary = block.block("vary")
    lists = {placeholder: vary.texts(placeholder) for placeholder in vary}
    pattern = block.take("name", str) if vary else name
    _check_placeholders(pattern, lists, block)
    fields = {key: value for key, value in plain.items() if key not in {"vary", "name", "tier"}}
    for values in itertools.product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        filled = {key: _fill(value, chosen) if chosen else value for key, value in fields.items()}
        yield Condition(**filled | {"name": pattern.format(**chosen), "tier": cast("Tier", tier)})


def _check_placeholders(pattern: str, lists: Mapping[str, list[str]], block: Block) -> None:
    named = {placeholder for _, placeholder, _, _ in string.Formatter().parse(pattern) if placeholder}
    if named != set(lists):
        raise InputError(
            f"{block.where('name')}: the name {pattern!r} of conditions that vary {', '.join(lists)}",
            expected=f"each of these as a placeholder: {', '.join(f'{{{one}}}' for one in lists)}",
        )


def _fill(value: Any, chosen: Mapping[str, str]) -> Any:
    """A text with the chosen values in place of their placeholders; others stay."""
    if not isinstance(value, str):
        return value
    for placeholder, text in chosen.items():
        value = value.replace(f"{{{placeholder}}}", text)
    return value
