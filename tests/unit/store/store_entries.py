"""Entries of a store, as a server's answers make them."""

from __future__ import annotations

from expandr_ir.records import Decoding, Generation, GeneratorId, Message
from expandr_ir.store import StoredGeneration, StoreEntry
from expandr_ir.store.keys import messages_hash, sample_key, settings_hash

WHEN = "2026-01-02T03:04:05.000006+00:00"


def entry(
    text="because", *, user="why", model="tiny", sample=0, prompt="passage@1", reason="stop", error=None, tokens=(7, 3)
):
    messages, generator, decoding = (Message("user", user),), GeneratorId("api", model), Decoding(stop=("\n\n",))
    key = sample_key(messages_hash(messages), settings_hash(generator, decoding), sample)
    generation = Generation(key, text, reason, *tokens, 0.5, "fake 1", error)
    return StoreEntry(messages, generator, decoding, sample, StoredGeneration(generation, WHEN, False), prompt)
