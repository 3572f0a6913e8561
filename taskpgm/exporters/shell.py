"""Trainers that take their data on the command line: a file for bash with the arguments in an array."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

ARRAY = "MIXTURE"


def argument_array(options: Mapping[str, Sequence[tuple[str, ...]]]) -> str:
    """A bash array of options, each with its groups of values, one group a line; every value quoted.

    argument_array({"--data-path": [("0.5", "a"), ("0.5", "b")]})
    """
    lines = []
    for option, groups in options.items():
        lines.append(f"  {option}")
        lines += [f"  {' '.join(map(shlex.quote, group))}" for group in groups]
    inside = "\n".join(lines)
    return f"{ARRAY}=(\n{inside}\n)\n"


def usage(command: str) -> str:
    """How to pass the array on."""
    return f'source this file, then {command} ... "${{{ARRAY}[@]}}"'
