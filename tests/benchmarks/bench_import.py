"""Seconds until the package is imported and `expandr --help` is printed, beside a Python that does nothing.

python tests/benchmarks/bench_import.py --rounds 10
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial

from turns import take_turns

STATEMENTS = {
    "python": "pass",
    "import expandr_ir": "import expandr_ir",
    "expandr --help": "from expandr_ir.cli import main; main(['--help'])",
    "expandr search --help": "from expandr_ir.cli import main; main(['search', '--help'])",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    run = partial(subprocess.run, check=False, stdout=subprocess.DEVNULL)
    commands = {name: partial(run, [sys.executable, "-c", statement]) for name, statement in STATEMENTS.items()}
    seconds, _, _ = take_turns(commands, parser.parse_args().rounds)
    for name, value in seconds.items():
        print(f"{name:<24} {value:.3f} s, {value - seconds['python']:+.3f} s to python alone")


if __name__ == "__main__":
    main()
