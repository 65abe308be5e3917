"""Contestants measured in turn in one run: whatever else the machine does falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


def take_turns(
    contestants: Mapping[str, Callable[..., Any]], rounds: int, *given: Any
) -> tuple[dict[str, float], dict[str, float], dict[str, Any]]:
    """The fewest wall seconds, the fewest CPU seconds and the last result of each contestant, called once a round."""
    wall = dict.fromkeys(contestants, float("inf"))
    cpu, results = dict(wall), {}
    for _ in range(rounds):
        for name, run in contestants.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            results[name] = run(*given)
            wall[name] = min(wall[name], time.perf_counter() - began)
            cpu[name] = min(cpu[name], time.process_time() - cpu_began)
    return wall, cpu, results
