"""Expanders: topics to expansions, from the store where they are there, else from an LLM.

Imports records, io, collections, prompts, cleaning, generators, store and retrievers.
"""

from expandr_ir.expanders.base import Expander, load_expander
from expandr_ir.expanders.config import ExpanderConfig, ExpandOptions, ReuseOptions, expander_config
from expandr_ir.expanders.plan import Forecast, Plan

__all__ = [
    "ExpandOptions",
    "Expander",
    "ExpanderConfig",
    "Forecast",
    "Plan",
    "ReuseOptions",
    "expander_config",
    "load_expander",
]
