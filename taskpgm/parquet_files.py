"""Parquet files as rows, a few at a time: a small file may unpack to any size, and is refused before it does.

    rows = list(parquet_rows(Path("chat.parquet")))

A million rows can name one long value of a dictionary. So texts are first looked at as places in dictionaries, which
tells how long they are, and only then unpacked, as many rows at a time as there is room for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from taskpgm.limits import MOST_BYTES, MOST_ROWS
from taskpgm.storage import first_line
from taskpgm.types import InputError

TOGETHER = 16_384
"""Rows that are looked at, or unpacked, at a time."""
AT_ONCE = 2**27
"""Bytes that rows unpacked together may take, were each value as long as the longest."""
TEXTS = "BYTE_ARRAY"


def parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a file, by column.

    Raises:
        InputError: missing, not such a file, or more than MOST_ROWS or MOST_BYTES.
    """
    try:
        longest = _longest_text(path)
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=max(1, min(TOGETHER, AT_ONCE // longest))):
                yield from batch.to_pylist()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except (pyarrow.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({first_line(error)}).") from error


def _longest_text(path: Path) -> int:
    """Bytes of the longest text in a file that is not too large."""
    with pyarrow.parquet.ParquetFile(path) as file:
        if file.metadata.num_rows > MOST_ROWS:
            raise _too_large(path, f"{file.metadata.num_rows:,} rows, more than {MOST_ROWS:,}")
        columns = [file.schema.column(i) for i in range(len(file.schema))]
        texts = [column.path for column in columns if column.physical_type == TEXTS]
    found = _Size()
    with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(batch_size=TOGETHER):
            for column in batch.columns:
                found.add(column)
            if found.total > MOST_BYTES:
                raise _too_large(path, f"unpacks to more than {MOST_BYTES:,} bytes")
    return found.longest


@dataclass
class _Size:
    """What columns unpack to: bytes in all, and of the longest text."""

    total: int = 0
    longest: int = 1

    def add(self, column: Any) -> None:
        kind = column.type
        if pyarrow.types.is_dictionary(kind):
            lengths = pyarrow.compute.binary_length(column.dictionary)
            self.longest = max(self.longest, pyarrow.compute.max(lengths).as_py() or 1)
            self.total += pyarrow.compute.sum(lengths.take(column.indices)).as_py() or 0
        elif pyarrow.types.is_struct(kind):
            for i in range(kind.num_fields):
                self.add(column.field(i))
        elif pyarrow.types.is_map(kind):
            self.add(column.keys)
            self.add(column.items)
        elif pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
            self.add(column.values)
        else:
            self.total += column.nbytes


def _too_large(path: Path, found: str) -> InputError:
    return InputError(f"{path}: {found}, is not read as one file; split it.")
