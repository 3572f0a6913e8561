"""Files on their way to another machine: names, bytes and SHA-256, checked where they arrive.

    unpack(pack(folder), elsewhere)         # elsewhere holds the same files

Bytes are arrays that map the files: nothing is in memory that need not be, and Ray's object store copies them from the
disk's cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from taskpgm.storage import atomic_directory, atomic_file, file_hash
from taskpgm.types import InputError


@dataclass(frozen=True, eq=False)
class PackedFile:
    """name: below the folder that was packed, with slashes. data: (bytes,) uint8."""

    name: str
    sha256: str
    data: NDArray[np.uint8]


def pack(path: Path, patterns: Sequence[str] = ()) -> tuple[PackedFile, ...]:
    """A file; or the files in a folder that fit one of the patterns, all below it where there are none."""
    if path.is_file():
        return (_packed(path, path.name),)
    named = [file for pattern in patterns for file in path.glob(pattern)] if patterns else path.rglob("*")
    found = {file for file in named if file.is_file()}
    return tuple(_packed(file, file.relative_to(path).as_posix()) for file in sorted(found))


def unpack(files: Iterable[PackedFile], folder: Path) -> None:
    """Write files below a folder that is there.

    Raises:
        InputError: bytes changed on the way, or a name that leads out of the folder.
    """
    for file in files:
        target = folder / file.name
        if PurePosixPath(file.name).is_absolute() or ".." in PurePosixPath(file.name).parts:
            raise InputError(f"{file.name!r} arrived as the name of a file in {folder}; expected one below it.")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_sound(file, target))


def unpack_to(files: Sequence[PackedFile], path: Path, folder: bool) -> None:
    """Have a file or folder at `path`, whole or not at all; a file replaces what was there."""
    if folder:
        with atomic_directory(path) as temporary:
            unpack(files, temporary)
        return
    with atomic_file(path) as stream:
        stream.write(_sound(files[0], path))


def _sound(file: PackedFile, target: Path) -> memoryview:
    """A file's bytes, if they are those that were sent."""
    if hashlib.sha256(file.data.data).hexdigest() != file.sha256:
        raise InputError(f"{target}: arrived with other bytes than were sent; the same command tries again.")
    return file.data.data


def _packed(file: Path, name: str) -> PackedFile:
    size = file.stat().st_size
    data = np.memmap(file, np.uint8, "r") if size else np.empty(0, np.uint8)
    return PackedFile(name, file_hash(file), data)
