"""All that can be said of the way from rows to preferences: the keys of conf/train/preferences-*.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from expandr_ir.config import EncodeOptions
from expandr_ir.errors import InputError
from expandr_ir.train.corpus_ranks import CorpusOptions
from expandr_ir.train.preferences import SelectOptions
from expandr_ir.train.similarities import SimilarityOptions


@dataclass(frozen=True, kw_only=True)
class PreferOptions(SelectOptions):
    """Options of the way from rows to preferences; what is None is the generator's or the encoder's own.

    Args:
        queries: how many of the queries are used, drawn before anything is generated; None uses all.
        seed: of the draw; the texts' own seed is `generator.decoding.seed`.
        prompt: of the candidates, a name of conf/prompts or a YAML file; None takes the one the generator was trained
            with, else "passage". The aligned expander is to be used with the same one.
        temperatures: of the candidates.
        samples: candidates at each temperature.
        top_p: nucleus mass, of candidates and answers.
        max_new_tokens: most tokens of a candidate or answer.
        repetition_penalty: of candidates and answers.
        answer_prompt: of the answers, shown query and positive.
        answer_generator: writes the answers; None is the candidates' generator.
        answer_temperature: of the answers.
        max_words: most words of a candidate or answer once it is cleaned; None is no limit.
        retry_refused: ask again what a content filter refused before.
        batch_samples: samples stored in one commit; None is as in `expandr expand`.
        store: the expansion store's file.
        encoder: what compares the texts: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        expansion_role: whether candidates are encoded as queries or as documents.
        expansion_prefix: put before each candidate when it is encoded.
        encode: how the encoder runs.
        compare: how texts are compared.
        corpus: what the reward `corpus` searches in.
    """

    queries: int | None = None
    seed: int = 42
    prompt: str | None = None
    temperatures: list[float] = field(default_factory=lambda: [0.8, 0.9, 1.0, 1.1])
    samples: int = 8
    top_p: float | None = None
    max_new_tokens: int | None = None
    repetition_penalty: float | None = None
    answer_prompt: str = "answer"
    answer_generator: str | None = None
    answer_temperature: float = 1.0
    max_words: int | None = None
    retry_refused: bool = False
    batch_samples: int | None = None
    store: str | None = None
    encoder: str | None = None
    expansion_role: Literal["query", "document"] | None = None
    expansion_prefix: str | None = None
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    compare: SimilarityOptions = field(default_factory=SimilarityOptions)
    corpus: CorpusOptions = field(default_factory=CorpusOptions)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("queries", "samples", "max_words", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}", expected="1 or more")
        wanted = self.evidence()
        if self.needs_encoder and not self.encoder:
            raise InputError("no encoder is named", expected="one that compares texts", remedy="--encoder contriever")
        if "corpus" in wanted and not self.corpus.collection:
            raise InputError("the reward 'corpus' needs a collection", remedy="--corpus.collection beir/scifact")

    @property
    def needs_encoder(self) -> bool:
        """Whether texts are encoded at all."""
        wanted = self.evidence()
        return bool(wanted - {"corpus"}) or ("corpus" in wanted and self.corpus.retriever == "dense")
