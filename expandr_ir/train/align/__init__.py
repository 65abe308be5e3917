"""Alignment of the LLM."""
