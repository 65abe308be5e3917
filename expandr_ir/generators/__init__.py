"""LLMs behind engines."""
