"""Matrices that the user supplies: CSV with task names as header and first column."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from taskpgm.limits import LONGEST_LINE
from taskpgm.text_files import text_lines
from taskpgm.types import FloatArray, InputError


def read_similarity(path: Path) -> tuple[tuple[str, ...], FloatArray]:
    """(names, (n, n) values) from a square CSV whose header and first column name the same tasks in the same order."""
    rows = _rows(path)
    names = tuple(cell.strip() for cell in rows[0][1:])
    if len(rows) - 1 != len(names):
        raise InputError(f"{path}: {len(names)} tasks in the header but {len(rows) - 1} rows below it.")
    values = np.empty((len(names), len(names)))
    for i, row in enumerate(rows[1:]):
        if row[0].strip() != names[i]:
            raise InputError(
                f"{path}, row {i + 2}: named {row[0]!r}, but column {i + 2} is {names[i]!r}; use one order."
            )
        if len(row) - 1 != len(names):
            raise InputError(f"{path}, row {i + 2}: {len(row) - 1} numbers for {len(names)} tasks.")
        values[i] = [_number(cell, f"{path}, row {i + 2}, column {names[j]!r}") for j, cell in enumerate(row[1:])]
    return names, values


def read_utility(path: Path, names: tuple[str, ...]) -> FloatArray:
    """(n,) utilities in the order of `names`, from a CSV of name and value under a header."""
    found: dict[str, float] = {}
    for i, row in enumerate(_rows(path)[1:], start=2):
        if len(row) != 2:
            raise InputError(f"{path}, row {i}: expected a task name and a number, found {len(row)} cells.")
        if row[0].strip() in found:
            raise InputError(f"{path}, row {i}: duplicate task name {row[0]!r}.")
        found[row[0].strip()] = _number(row[1], f"{path}, task {row[0]!r}")
    missing = [name for name in names if name not in found]
    unknown = [name for name in found if name not in names]
    if missing or unknown:
        problem = (
            f"no utility for task {missing[0]!r}" if missing else f"{unknown[0]!r} is not in the similarity matrix"
        )
        raise InputError(f"{path}: {problem}; both files must name the same tasks.")
    return np.array([found[name] for name in names])


def _rows(path: Path) -> list[list[str]]:
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(text_lines(path), strict=True)
    try:
        rows = [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from error
    if len(rows) < 2:
        raise InputError(f"{path}: expected a header row with names and at least one row below it.")
    return rows


def _number(cell: str, place: str) -> float:
    try:
        value = float(cell)
    except ValueError as error:
        raise InputError(f"{place}: {cell!r} is not a number.") from error
    if not np.isfinite(value):
        raise InputError(f"{place}: {cell.strip()} is not a finite number.")
    return value
