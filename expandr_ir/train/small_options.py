"""Options of the small expander."""

from __future__ import annotations

from dataclasses import dataclass, field

from expandr_ir.config import JsonField
from expandr_ir.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SmallOptions:
    """Options of the small expander; conf/train/small-expander.yaml has the recipe that is measured in the docs.

    Args:
        collection: whose documents and train topics it learns; a folder in BEIR's layout, irds:ID, demo.
        split: of the train topics.
        learnt_share: share of the train topics, by a hash of their texts, whose positives it learns; the others are
            written to rows/kept.jsonl, for preferences and for what is held out.
        prompt: what it is asked, now and later.
        vocabulary: tokens of its tokenizer.
        hidden_size: of the network, a multiple of 64: a head has 64 dimensions.
        layers: of the network.
        context: its longest sequence, in tokens.
        passage_words: words of an answer, the title's counted.
        passages: passages of a document that it learns, from the beginning on.
        documents: TRL's SFTConfig of the first stage, by its own names.
        topics: TRL's SFTConfig of the second stage.
        seed: of weights and order.
    """

    collection: str
    split: str = "train"
    learnt_share: float = 0.5
    prompt: str = "topic"
    vocabulary: int = 4096
    hidden_size: int = 192
    layers: int = 3
    context: int = 256
    passage_words: int = 40
    passages: int = 3
    documents: dict[str, JsonField] = field(default_factory=dict)
    topics: dict[str, JsonField] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("vocabulary", 300), ("hidden_size", 64), ("layers", 1), ("context", 32)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}", expected=f"{least} or more")
        for name in ("passage_words", "passages"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}", expected="1 or more")
        if self.hidden_size % 64:
            raise InputError(f"hidden_size is {self.hidden_size}", expected="a multiple of 64")
        if not 0 < self.learnt_share < 1:
            raise InputError(f"learnt_share is {self.learnt_share}", expected="a share above 0 and below 1")
