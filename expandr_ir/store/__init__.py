"""The expansion store: raw LLM texts, each under the hash of everything that went into it. Imports records and io."""

from __future__ import annotations

from expandr_ir.store.store import Store, StoreCorruptError, StoredGeneration, StoreEntry, store_path

__all__ = ["Store", "StoreCorruptError", "StoreEntry", "StoredGeneration", "store_path"]
