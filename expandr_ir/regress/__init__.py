"""Regressions: for every published or recorded figure, whether it still holds.

Imports all rooms up to evaluate, and train for its trajectories.
"""
