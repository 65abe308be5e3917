"""A LlamaIndex query transform around any expander. Imports expanders and single_query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from expandr_ir.runtime import require
from expandr_ir.single_query import expand_query

if TYPE_CHECKING:
    from expandr_ir.expanders import Expander

query_transforms: Any = require("llama_index.core.indices.query.query_transform.base", "llama-index")


class ExpandRQueryTransform(query_transforms.BaseQueryTransform):  # type: ignore[misc]
    """Adds an LLM's expansions to the texts that are embedded for a query.

    LlamaIndex searches by the mean of their vectors and the query's, which is the aggregation `hyde` (Gao et al. 2023).

    Args:
        expander: the expander.
    """

    def __init__(self, expander: Expander) -> None:
        super().__init__()
        self.expander = expander

    def _run(self, query_bundle: Any, metadata: Mapping[str, Any]) -> Any:  # noqa: ARG002 (LlamaIndex's signature)
        texts = [*query_bundle.embedding_strs, *expand_query(self.expander, query_bundle.query_str)]
        return replace(query_bundle, custom_embedding_strs=texts, embedding=None)  # a vector would go before the texts

    def _get_prompts(self) -> dict[str, Any]:
        """None of LlamaIndex's: the prompt is the expander's."""
        return {}

    def _update_prompts(self, prompts: Mapping[str, Any]) -> None:
        """Nothing to replace, see `_get_prompts`."""
