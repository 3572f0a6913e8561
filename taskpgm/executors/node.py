"""What a process on another machine does with an item: bring what it reads, do it, send what it made.

A machine needs nothing but taskpgm, in the same versions. What many items read is unpacked once per machine, into a
folder that belongs to the user alone, under its content's hash; everything else into a scratch folder that goes with
the item. Locks tell what is in use, so that a process killed at any moment leaves nothing that stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from taskpgm.executors.executor import Job, Work
from taskpgm.executors.packing import PackedFile, pack, unpack
from taskpgm.integrity import folder_damage, keep_sound, write_sums
from taskpgm.run_lock import holder, locked
from taskpgm.storage import atomic_directory, versions
from taskpgm.types import InputError

PACKAGES = ("taskpgm", "torch", "transformers", "peft", "accelerate", "numpy", "numba")
SCRATCH = "scratch-"
GRACE = 60.0  # seconds after which a scratch folder that nobody holds was left behind
KEPT = 14 * 86400.0  # seconds for which a shared folder is kept after its last use


@dataclass(frozen=True, eq=False)
class Bundle:
    """A source on its way. key: the hash of its content. files: references to one PackedFile each, not yet fetched."""

    key: str
    files: tuple[Any, ...]
    shared: bool


@dataclass(frozen=True, eq=False)
class Order:
    """An item as it is sent.

    common: a reference to it, not yet fetched, in a tuple, which is empty where there is none. name: of what it makes,
    None for nothing. changed: what is there of it already.
    """

    work: Work
    data: Any
    common: tuple[Any, ...]
    bundles: tuple[Bundle, ...]
    name: str | None
    changed: tuple[PackedFile, ...]
    threads: int
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Made:
    """What comes back. refusal: the one line of an InputError, or of the system's refusal, in place of all else."""

    value: Any = None
    files: tuple[PackedFile, ...] = ()
    folder: bool = False
    refusal: str | None = None


def do(order: Order) -> Made:
    """Do an item in this process."""
    try:
        _check_versions(order.versions)
        with _scratch() as scratch:
            return _done(order, scratch)
    except InputError as error:
        return Made(refusal=str(error))
    except OSError as error:
        why = f"{error.filename or 'the system'}: {error.strerror or error}"
        return Made(refusal=f"node {socket.gethostname()}: {why}. Nothing finished so far is lost.")


def _done(order: Order, scratch: Path) -> Made:
    sources = tuple(_brought(bundle, scratch) for bundle in order.bundles)
    made = scratch / "made"
    made.mkdir()
    unpack(order.changed, made)
    place = None if order.name is None else made / order.name
    common = next(_fetched(order.common), None)
    value = order.work(Job(sources, place, order.data, common, order.threads, _unheard, {}))
    if place is None:
        return Made(value)
    return Made(value, pack(place), place.is_dir())


def _brought(bundle: Bundle, scratch: Path) -> Path:
    """The folder with a source's files; a shared one is looked at once in a process, and made again if damaged."""
    if not bundle.shared:
        folder = scratch / bundle.key
        folder.mkdir(exist_ok=True)
        unpack(_fetched(bundle.files), folder)
        return folder
    folder = _store() / "shared" / bundle.key
    with locked(_store() / "locks" / bundle.key, wait=True):
        if not (folder.is_dir() and keep_sound(folder, folder_damage)):
            _remove_unused(folder.parent)
            with atomic_directory(folder) as temporary:
                unpack(_fetched(bundle.files), temporary)
                write_sums(temporary)
    os.utime(folder)
    return folder


def _fetched(references: Iterable[Any]) -> Iterator[Any]:
    """What is in the object store, one after the other."""
    import ray

    return (ray.get(reference) for reference in references)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for one item, and the end of those that killed processes left."""
    store = _store()
    for old in store.glob(f"{SCRATCH}*"):
        with contextlib.suppress(FileNotFoundError):  # whoever held it has just removed it
            if time.time() - old.stat().st_mtime > GRACE and holder(old) is None:
                shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=store) as name, locked(Path(name)):
        yield Path(name)


def _remove_unused(folder: Path) -> None:
    for old in folder.glob("[!.]*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > KEPT:
                shutil.rmtree(old, ignore_errors=True)


def _store() -> Path:
    """This user's folder on this machine.

    Raises:
        InputError: somebody else could write there.
    """
    store = Path(tempfile.gettempdir()) / f"taskpgm-{os.getuid()}"
    store.mkdir(mode=0o700, exist_ok=True)
    status = store.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise InputError(f"{store} on {socket.gethostname()}: others can write there; remove it, or set TMPDIR.")
    return store


@cache
def _own_versions() -> dict[str, str]:
    return versions(*PACKAGES)


def _check_versions(expected: Mapping[str, str]) -> None:
    own = _own_versions()
    wrong = next((name for name in expected if own[name] != expected[name]), None)
    if wrong is not None:
        raise InputError(
            f"node {socket.gethostname()} has {wrong} {own[wrong]} and this machine {expected[wrong]}: results would"
            " not be the same; install the same versions on every node."
        )


def _unheard(step: int) -> None:
    """Steps on another machine are not reported."""
