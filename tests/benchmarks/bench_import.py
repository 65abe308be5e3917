"""Seconds until the package is imported and `expandr --help` is printed, beside a Python that does nothing.

python tests/benchmarks/bench_import.py --rounds 10
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

STATEMENTS = {
    "python": "pass",
    "import expandr_ir": "import expandr_ir",
    "expandr --help": "from expandr_ir.cli import main; main(['--help'])",
    "expandr search --help": "from expandr_ir.cli import main; main(['search', '--help'])",
}


def seconds(statement: str) -> float:
    """Wall seconds of a fresh Python that runs the statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=False, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Prints the fastest of the rounds, taken in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    best = dict.fromkeys(STATEMENTS, float("inf"))
    for _ in range(rounds):
        for name, statement in STATEMENTS.items():
            best[name] = min(best[name], seconds(statement))
    for name, value in best.items():
        print(f"{name:<24} {value:.3f} s, {value - best['python']:+.3f} s to python alone")


if __name__ == "__main__":
    main()
