"""taskpgm verify: a mixture proved again from its own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from taskpgm.commands.options import Json


def verify(
    mixture: Annotated[Path, typer.Argument(help="A mixture.json.")],
    as_json: Json = False,
) -> None:
    """Prove a mixture again from its own file, in exact arithmetic. Exit 0 if proved, 1 if not."""
    from taskpgm.mixture import Mixture

    checks = Mixture.from_json(mixture).verify()
    proved = all(check.passed for check in checks)
    if as_json:
        rows = [{"name": check.name, "passed": check.passed, "text": check.text} for check in checks]
        print(json.dumps({"proved": proved, "checks": rows}))
    else:
        for check in checks:
            print(f"{'ok ' if check.passed else 'NO '} {check.name}: {check.text}")
        print("Proved." if proved else "Not proved.")
    raise typer.Exit(0 if proved else 1)
