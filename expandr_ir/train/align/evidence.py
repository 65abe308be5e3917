"""Everything that rewards read of candidates: which encoder and which search measure it, and the measuring itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from expandr_ir.config import EncodeOptions
from expandr_ir.errors import InputError
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.corpus import CorpusOptions, CorpusSearch, add_corpus_ranks
from expandr_ir.train.align.rewards import RewardsOptions, find_reward
from expandr_ir.train.align.scoring import SimilarityOptions, add_similarities

if TYPE_CHECKING:
    from expandr_ir.encoders import Encoder

SEARCHED = {"corpus", "alone"}
"""Evidence of a search; all other evidence is similarities."""


@dataclass(frozen=True, kw_only=True)
class EvidenceOptions(RewardsOptions):
    """Options of rewards and of what they read.

    Args:
        encoder: what compares the texts: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        expansion_role: whether candidates are encoded as queries or as documents; None is the encoder's own.
        expansion_prefix: put before each candidate when it is encoded; None is the encoder's own.
        encode: how the encoder runs.
        compare: how texts are compared.
        corpus: what the rewards `corpus` and `search` search, and how.
    """

    encoder: str | None = None
    expansion_role: Literal["query", "document"] | None = None
    expansion_prefix: str | None = None
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    compare: SimilarityOptions = field(default_factory=SimilarityOptions)
    corpus: CorpusOptions = field(default_factory=CorpusOptions)

    def __post_init__(self) -> None:
        evidence = self.evidence()
        if evidence - SEARCHED and not self.encoder:
            raise InputError("no encoder is named", expected="one that compares texts", remedy="--encoder contriever")
        if evidence & SEARCHED and not self.corpus.collection:
            name = next(name for name in self.rewards if SEARCHED.intersection(find_reward(name)[1]))
            raise InputError(f"the reward {name!r} needs a collection", remedy="--corpus.collection beir/scifact")

    def open_encoder(self) -> Encoder | None:
        """The loaded encoder with the role and prefix of candidates; None where nothing is compared."""
        from expandr_ir.retrievers.dense import Dense

        names = ("encoder", "expansion_role", "expansion_prefix", "encode")
        is_read = self.evidence() - SEARCHED
        return Dense(**{name: getattr(self, name) for name in names}).open_encoder if is_read else None

    def open_search(self) -> CorpusSearch | None:
        """The search; None where nothing is searched."""
        return CorpusSearch(self.corpus) if self.evidence() & SEARCHED else None


def add_evidence(
    table: Sequence[Candidates],
    options: EvidenceOptions,
    encoder: Encoder | None,
    search: CorpusSearch | None,
    folder: Path | None = None,
) -> None:
    """Fills in the evidence that the options' rewards read; what `folder` has is not computed again."""
    names = options.evidence()
    if encoder is not None:
        add_similarities(table, encoder, folder, options.compare, with_query="query" in names)
    if search is not None:
        add_corpus_ranks(table, search, folder, with_alone="alone" in names)
