"""How much a file may hold or declare. What is larger is refused in one line, before it is read or allocated.

They are far above what any real task, mixture or model needs, and low enough that no file, whoever wrote it, takes a
machine's memory or a day. All of them are here.
"""

from __future__ import annotations

MOST_BYTES = 4 * 2**30
"""Bytes of a data set's file, a mixture, or a model of a graph; of Parquet what it unpacks to."""
MOST_SETTINGS = 16 * 2**20
"""Bytes of a YAML file."""
MOST_VALUES = 1_000_000
"""Values in a YAML file, those under an alias counted each time the alias is used."""
LONGEST_LINE = 64 * 2**20
"""Bytes of a line, so of an example in JSON lines; characters of a cell of CSV."""
MOST_ROWS = 20_000_000
"""Rows of a Parquet file."""
MOST_ENTRIES = 2**26
"""Numbers in the tables of a graph, and of an array in an archive: 512 MiB of them."""
LONGEST_HEADER = 100_000_000
"""Bytes of the header of a safetensors file: the format's own limit."""
LONGEST_PATH = 4096
"""Characters of a file's place: what systems take."""
MOST_SHOWN = 80
"""Characters of a value in a message."""
LARGEST_NUMBER = 1e100
"""How far from 0 a number of an energy may be: sums, products and squares of such numbers are finite."""


def shown(value: object) -> str:
    """A value as it stands in a message: its text, cut where it is long."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested without end, or a number of thousands of digits
        return f"a {type(value).__name__} without end"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."
