"""Files that are either whole or not there, and names that depend on content.

Everything is first written under a temporary name in the same folder and then renamed, so that a process killed at any
moment leaves no half-written artefact behind under its final name.

    write_atomic(Path("mixture.json"), b"{}")
    content_hash({"a": 1})              # the same on every machine
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from taskpgm.text_files import read_text
from taskpgm.types import InputError

TEMPORARY = ".partial-"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """32 hexadecimal digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of the named packages, without importing them.

    Raises:
        InputError: one of them is not installed.
    """
    try:
        return {package: metadata.version(package) for package in packages}
    except metadata.PackageNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; install the model half with: pip install 'taskpgm[train]'."
        ) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_file(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A stream into what becomes the file `path` when the block ends, and vanishes if the block raises.

    Raises:
        InputError: `path` is a folder.
    """
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give the name of a file to write.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    except OSError as error:
        _name(error, path)
        raise
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
        _sync_folder(path.parent)
    except BaseException as error:
        _name(error, path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends, and vanishes if the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent))
    except OSError as error:
        _name(error, path)
        raise
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        os.chmod(temporary, 0o777 & ~_umask())
        os.rename(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder; what cannot be a name at all is none."""
    try:
        return Path(path).is_dir()
    except OSError:  # too long, say
        return False


def is_there(path: str | Path) -> bool:
    """Whether there is a file or folder; what cannot be a name at all is none."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def remove_partial(directory: Path) -> None:
    """Delete what a killed run left behind under temporary names, anywhere below `directory`."""
    for path in partial_paths(directory):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def partial_paths(directory: Path) -> list[Path]:
    """What is under a temporary name anywhere below a folder; links are not followed, and are none."""
    found = []
    for folder, inner, files in os.walk(directory):
        found += [Path(folder, name) for name in sorted((*inner, *files)) if name.startswith(TEMPORARY)]
        inner[:] = [name for name in inner if not name.startswith(TEMPORARY)]
    return [path for path in found if not path.is_symlink()]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links count as nothing, and what vanishes meanwhile neither."""
    walked = [Path(folder, name) for folder, _, files in os.walk(path) for name in files]
    total = 0
    for file in walked or [path]:
        with contextlib.suppress(FileNotFoundError):
            status = file.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def read_json(path: Path) -> Any:
    """The JSON value in a file.

    Raises:
        InputError: the file is missing, or is not JSON.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, source: str) -> Any:
    """The JSON value in `text`; an error names `source`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{source}: not valid JSON ({error.msg}, line {error.lineno}).") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or nesting as deep
        raise InputError(f"{source}: not usable JSON ({error}).") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says anything, for a message of one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _name(error: BaseException, path: Path) -> None:
    """Have an error of the system name what was to be written, and not a temporary name or nothing."""
    if isinstance(error, OSError) and (error.filename is None or TEMPORARY in str(error.filename)):
        error.filename, error.filename2 = str(path), None


def _sync_folder(path: Path) -> None:
    """Have a folder's new names survive a loss of power, where folders can be opened."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
