"""`expandr doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.errors import NotInstalledError

VERB = Verb(
    "doctor",
    "What is installed here, and what to type for what is missing.",
    "expandr doctor\nexpandr doctor --format json",
)


@dataclass(frozen=True)
class Options:
    """Options of `expandr doctor`.

    Args:
        format: a table for people, or JSON.
    """

    format: Literal["text", "json"] = "text"


def run(argv: list[str]) -> int:
    """Prints the findings; 3 where something needed is not usable."""
    from expandr_ir.doctor import examine

    options = parse(VERB, Options, argv)
    findings = examine()
    if options.format == "json":
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{finding.state:<7} {finding.name:<9} {finding.found}")
            if finding.remedy:
                print(f"{'':<17} {finding.remedy}")
    return NotInstalledError.exit_code if any(finding.state == "broken" for finding in findings) else 0
