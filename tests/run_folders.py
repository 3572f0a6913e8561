"""Run folders to damage and to work in: a byte with another bit, and the command line in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from taskpgm import cli


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    """The same bytes, but for one bit at a place."""
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The command line in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["taskpgm", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file in a run's folder, but for what tells times, who was there, and what the folder is called."""
    others = {"log.jsonl", ".lock", "report.html"}
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name not in others]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
