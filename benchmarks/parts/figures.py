"""Figures of a benchmark by name, each a stream of records that is printed as JSON lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def print_figures(
    parser: Callable[[], argparse.ArgumentParser], figures: Mapping[str, Callable[[argparse.Namespace], Iterable[Any]]]
) -> None:
    """The figure that the command line names, or all with their defaults, to the file of --out or the terminal."""
    options = parser().parse_args()
    wanted = list(figures) if options.figure == "all" else [options.figure]
    stream = options.out.open("w", encoding="utf-8") if options.out else sys.stdout
    for name in wanted:
        settings = parser().parse_args([name]) if options.figure == "all" else options
        for record in figures[name](settings):
            print(json.dumps(record), file=stream, flush=True)
    if options.out:
        stream.close()
