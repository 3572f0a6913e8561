"""The seam between what a run has to compute and the machines that compute it.

    for index, value in executor.run(items, report):        # in whatever order they end
        ...

An item is a function of a module with plain data, the folders that it reads, and the file or folder that it makes. Who
asks for it does not know where it is done; whoever does it elsewhere sees to it that the folders are there, and that
what was made comes back. Only the process that asks writes into a run's folder.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias


@dataclass(frozen=True)
class Source:
    """A folder that an item reads.

    patterns: which of its files belong to it, all where empty. shared: whether many items read it, so that a machine
    keeps it.
    """

    path: Path
    patterns: tuple[str, ...] = ()
    shared: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """What an item's work gets to see.

    sources: where the item's sources are on this machine. place: the file or folder to make, whole or not at all; the
    item's path, or one of the same name elsewhere. data, common: the item's. threads: processor threads to compute
    with. report: called with how far it is. memory: what earlier items left for it, if they were done in the same
    process; it may hold nothing.
    """

    sources: tuple[Path, ...]
    place: Path | None
    data: Any
    common: Any
    threads: int
    report: Callable[[int], None]
    memory: dict[str, Any]


Work: TypeAlias = Callable[[Job], Any]


@dataclass(frozen=True, eq=False)
class Item:
    """One piece of work.

    name: what messages call it, such as "the expert of task 'copy'". work: a function of a module; what it returns is
    plain data. path: the file or folder that it makes, or the file that it changes; None where it only returns
    something. threads: processor threads, on which last digits depend. model: whether a language model computes, which
    a graphics card speeds up. memory: what items that share it may leave for each other, and never sent anywhere.
    common: more data, one object of many items, which is sent once.
    """

    name: str
    work: Work
    data: Any
    sources: tuple[Source, ...] = ()
    path: Path | None = None
    threads: int = 1
    model: bool = False
    memory: dict[str, Any] = field(default_factory=dict)
    common: Any = None


class Executor(abc.ABC):
    """Whoever has items done. elsewhere: whether in other processes, several at a time."""

    elsewhere: ClassVar[bool]

    @abc.abstractmethod
    def run(
        self,
        items: Iterable[Item],
        report: Callable[[int, int], None],
        failed: Callable[[int, str], None] | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """(an item's index, what its work returned) as they end, each with what it made already in its place.

        Args:
            items: begun in this order. Each is asked for only when it can begin soon.
            report: called with an item's index and what its work reported, where that can be known on the way.
            failed: called with the index of an item that cannot be done, and why; the others go on. Where None, the
                first one ends all.

        Raises:
            InputError: an item's, or that the machines cannot do it; where failed is None.
        """


def nothing(index: int, value: int) -> None:
    """Report nothing."""
