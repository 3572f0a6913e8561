"""One run at a time in a folder: a lock that the system takes back when its process ends, however it ends.

    with locked(Path("runs/a")):        # InputError where another process is at work there, saying which
        ...

It is an advisory lock (flock) on the file `.lock`, which says who holds it and is gone afterwards. Whoever only reads
needs none, and processes that a run starts belong to it. Within one process locks of a folder nest.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from taskpgm.storage import canonical_json
from taskpgm.types import InputError

LOCK_FILE = ".lock"
PATIENCE = 0.25  # seconds in which a process that only asks who holds the lock has let go of it
LONG = 2.0  # seconds after which a holder that has not said who it is will not
POLL = 0.25  # seconds between attempts of who waits
_log = logging.getLogger(__name__)
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_held: set[Path] = set()


@dataclass(frozen=True)
class Holder:
    """Who is at work in a folder. since: in UTC, as ISO 8601 writes it."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextlib.contextmanager
def locked(out: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a run's folder, which is made where it is not there and removed if nothing was put there.

    Args:
        out: the folder.
        wait: until the other process has ended, instead of an error.

    Raises:
        InputError: another process holds it.
    """
    folder = out.resolve()
    if folder in _held:
        yield
        return
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    handle = None
    try:
        handle = _acquired(out, wait)
        _held.add(folder)
        yield
    finally:
        _held.discard(folder)
        if handle is not None:
            _let_go(handle, out / LOCK_FILE)
        for each in missing:
            with contextlib.suppress(OSError):  # not empty, or another process has come
                each.rmdir()


def holder(out: Path) -> Holder | None:
    """Who holds the lock of a folder now, if anybody does."""
    path = out / LOCK_FILE
    if not path.is_file() or sys.platform == "win32":
        return None
    import fcntl

    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _named(stream.read())
        except OSError:  # a file system without locks: nobody can hold one
            return None
    return None


def _acquired(out: Path, wait: bool) -> int | None:
    """The open file that holds the lock; None where there are no locks, which is said."""
    deadline, told = time.monotonic() + PATIENCE, False
    while True:
        try:
            handle = _attempt(out)
        except _NoLocksError as error:
            _log.warning("%s: no lock here (%s); have one run at a time in this folder.", out, error)
            return None
        if handle is not None:
            return handle
        if time.monotonic() > deadline:
            who = holder(out)
            if not wait and (who is not None or time.monotonic() > deadline + LONG):
                by = who or "another process"
                raise InputError(f"{out}: in use by {by}; wait for it to end (--wait), or take another folder.")
            if not told and who is not None:
                print(f"{out}: waiting for {who}.", file=sys.stderr, flush=True)
                told = True
        time.sleep(0.02 if time.monotonic() < deadline else POLL)


class _NoLocksError(Exception):
    """This platform or file system has no locks."""


def _attempt(out: Path) -> int | None:
    """The lock, or None where somebody holds it."""
    path = out / LOCK_FILE
    try:
        out.mkdir(parents=True, exist_ok=True)
        if sys.platform == "win32":
            raise _NoLocksError("not on this platform")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (FileNotFoundError, FileExistsError):
        if out.is_symlink() or out.is_file():
            raise
        return None  # whoever made the folder has removed it meanwhile
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in _WITHOUT_LOCKS:
            os.unlink(path)
            raise _NoLocksError(error.strerror) from error
        return None
    if not _is_still(handle, path):  # whoever held it has removed it meanwhile
        os.close(handle)
        return None
    try:
        _sign(handle)
    except BaseException as error:
        _let_go(handle, path)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    return handle


def _sign(handle: int) -> None:
    """Say in a lock file who we are."""
    me = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    os.ftruncate(handle, 0)
    os.pwrite(handle, canonical_json(me).encode("utf-8", "surrogateescape"), 0)


def _let_go(handle: int, path: Path) -> None:
    """Remove a lock file while it is ours still, and end the lock."""
    with contextlib.suppress(OSError):  # gone, or on a disk that is read-only by now: without the lock it says nothing
        os.unlink(path)
    os.close(handle)


def _is_still(handle: int, path: Path) -> bool:
    """Whether an open file is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _named(text: bytes) -> Holder | None:
    """What a lock file says; nothing yet where its holder has just taken it."""
    try:
        value = json.loads(text)
        return Holder(int(value["pid"]), str(value["host"]), str(value["since"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
