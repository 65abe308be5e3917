"""Whether an index holds what the figures were measured on."""

from __future__ import annotations

from collections.abc import Mapping

from expandr_ir.errors import InputError
from expandr_ir.regress.spec import Band, Spec


def check_statistics(spec: Spec, fields: str, found: Mapping[str, int], where: str) -> None:
    """Refuses an index with other statistics than the regression's.

    Args:
        spec: the regression.
        fields: of the index, "flat" or "multifield".
        found: its documents and terms.
        where: the index, or what it was built of, for the error.

    Raises:
        InputError: they differ; the message shows both.
    """
    wanted = spec.statistics.get(fields, {})
    wrong = [name for name, (low, high) in wanted.items() if not low <= found[name] <= high]
    if wrong:
        raise InputError(
            f"{spec.name}: {where}, index {fields}, has {_shown({name: (found[name],) * 2 for name in wanted})}",
            expected=f"{_shown(wanted)} ({spec.statistics_source or spec.path})",
            remedy="another version of the data, or a damaged one: fetch it again; nothing was searched",
        )


def _shown(counts: Mapping[str, Band]) -> str:
    return ", ".join(
        f"{low:,} {name}" if low == high else f"{low:,} to {high:,} {name}" for name, (low, high) in counts.items()
    )
