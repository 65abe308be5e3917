"""Regressions: for every published or recorded figure, whether it still holds."""
