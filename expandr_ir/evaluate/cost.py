"""What one topic of a run costs: seconds and tokens, as its manifest says."""

from __future__ import annotations

from dataclasses import dataclass

from expandr_ir.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Cost:
    """What one topic costs in the mean, from the manifest; None where the manifest does not say.

    Args:
        seconds: wall time of all stages.
        tokens: read and written by the LLM.
    """

    seconds: float | None
    tokens: float | None


def cost_of(manifest: Manifest | None) -> Cost:
    """What one topic costs in the mean, as a run's manifest says."""
    topics = manifest.counts.get("topics") if manifest else None
    if not manifest or not topics:
        return Cost(None, None)
    return Cost(
        seconds=sum(manifest.seconds.values()) / topics if manifest.seconds else None,
        tokens=sum(manifest.tokens.values()) / topics if manifest.tokens else None,
    )
