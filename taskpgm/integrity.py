"""Whether files of a run's folder are still as they were written: a byte that changed is found before it is used.

    seal({"loss": 1.5})                 # JSON that holds its own SHA-256; read_sealed gives the record back
    write_sums(folder)                  # SHA256SUMS, which `sha256sum -c SHA256SUMS` checks as well
    folder_damage(folder)               # None, or which file is damaged
    keep_sound(folder, folder_damage)   # False where it is damaged: it is gone then, and a line names the file

Everything here can be computed again, so what is damaged is removed. Files are hashed in a stream, and once
in a process as long as their times and sizes stay what they are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from taskpgm.storage import canonical_json, file_hash, write_atomic
from taskpgm.types import InputError

SUMS_FILE = "SHA256SUMS"
DIGEST = "sha256"
CHANGED = "damaged: its bytes are not those that were written"
_log = logging.getLogger(__name__)
_sound: set[tuple[object, ...]] = set()


class DamageError(InputError):
    """A file that is not as it was written; the text names it."""


def seal(record: dict[str, Any]) -> bytes:
    """A record as JSON with its own SHA-256 under "sha256"; equal records give equal bytes."""
    digest = hashlib.sha256(_encoded(record)).hexdigest()
    return _encoded({**record, DIGEST: digest}) + b"\n"


def read_sealed(path: Path) -> dict[str, Any]:
    """The record that `seal` made a file of.

    Raises:
        DamageError: any byte is another one.
    """
    raw = path.read_bytes()
    try:
        record = json.loads(raw.decode("utf-8", "surrogatepass"))
        if isinstance(record, dict) and record.pop(DIGEST, None) is not None and seal(record) == raw:
            return record
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{path}: {CHANGED}") from error
    raise DamageError(f"{path}: {CHANGED}")


def sealed_damage(path: Path) -> str | None:
    """What is wrong with a file that `seal` made."""
    try:
        read_sealed(path)
    except DamageError as error:
        return str(error)
    return None


def write_sums(folder: Path, leave_out: Iterable[str] = ()) -> None:
    """The SHA-256 of every file in a folder, but for those that hold their own, into its SHA256SUMS."""
    left_out = {SUMS_FILE, *leave_out}
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in left_out)
    lines = [_line([file_hash(file), file.relative_to(folder).as_posix()]) for file in files]
    write_atomic(folder / SUMS_FILE, "".join(lines).encode())


def folder_damage(folder: Path) -> str | None:
    """What is wrong with the first file that is not as SHA256SUMS says, or with that file itself."""
    sums = folder / SUMS_FILE
    if not sums.is_file():
        return f"{sums}: not there"
    raw = sums.read_bytes()
    rows = [line.split("  ", 1) for line in raw.decode("utf-8", "replace").splitlines()]
    if not rows or any(len(row) != 2 for row in rows) or "".join(map(_line, rows)).encode() != raw:
        return f"{sums}: {CHANGED}"
    for digest, name in rows:
        if not (folder / name).is_file():
            return f"{folder / name}: not there"
        if file_hash(folder / name) != digest:
            return f"{folder / name}: {CHANGED}"
    return None


def keep_sound(path: Path, damage: Callable[[Path], str | None]) -> bool:
    """Whether a file or folder is sound; where it is not it is removed, and a line says so.

    It is looked at once in a process, unless it has been written since.
    """
    seen = (damage, path, *looks(path))
    if seen in _sound:
        return True
    wrong = damage(path)
    if wrong is None:
        _sound.add(seen)
        return True
    _log.warning("%s; removed, and made again when it is needed.", " ".join(wrong.split()))
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return False


def looks(path: Path) -> list[tuple[str, int, int, int]]:
    """What changes when somebody writes: of every file its name, time in nanoseconds, bytes and inode."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files]
    return [(name, each.st_mtime_ns, each.st_size, each.st_ino) for name, each in stats]


def _line(row: Sequence[str]) -> str:
    """A line of SHA256SUMS: the digest and the file's name."""
    return "  ".join(row) + "\n"


def _encoded(record: dict[str, Any]) -> bytes:
    return canonical_json(record).encode("utf-8", "surrogatepass")
