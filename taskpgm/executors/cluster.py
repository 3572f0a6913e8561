"""Items on the machines of a Ray cluster (https://www.ray.io), as many at a time as its processors and cards allow.

    with ray_cluster("auto") as executor:               # None: a running cluster, else one on this machine
        run(config, Path("runs/a"), executor=executor)

What an item reads travels through Ray's object store, what it made comes back the same way, each file with its SHA-256.
An item whose process or machine dies is done again, up to RETRIES times. Ray moves our data between our own processes;
nothing is read that another program wrote.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from taskpgm.executors.executor import Executor, Item, Source
from taskpgm.executors.node import PACKAGES, Bundle, Made, Order, do
from taskpgm.executors.packing import pack, unpack_to
from taskpgm.integrity import looks
from taskpgm.stopping import signals_noted
from taskpgm.storage import content_hash, first_line, versions
from taskpgm.types import InputError

RETRIES = 3
POLL = 0.2  # seconds after which a signal is looked for
FRESH = 1.0  # seconds for which what is known of the machines will do
PATIENCE = 10.0  # seconds in which a cluster answers
LEAST_WAITING = 16  # items handed to Ray at least, so that a cluster that can grow has a reason to
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def ray_cluster(address: str | None = None, *, gpus: float = 1.0) -> Iterator[RayExecutor]:
    """A Ray cluster, connected to with the first item, until the block ends; a connection that is there is used.

    Args:
        address: "auto" for the cluster that this machine belongs to, or host:port. Where None, that of RAY_ADDRESS, a
            running cluster, or one that is started on this machine for the block.
        gpus: cards that an item takes which runs a model, on a cluster that has any; 0.5 puts two on each.

    Raises:
        InputError: Ray is not installed. With the first item: no cluster is there.
    """
    ray = _imported()
    executor = RayExecutor(ray, address, gpus)
    try:
        yield executor
    finally:
        if executor.connected:
            ray.shutdown()


class RayExecutor(Executor):
    """A Ray cluster; see `ray_cluster`. connected: whether the connection is its own."""

    elsewhere: ClassVar[bool] = True

    def __init__(self, ray: Any, address: str | None, gpus: float) -> None:
        self._ray, self._address, self._gpus = ray, address, gpus
        self.connected = False
        self._versions = versions(*PACKAGES)
        self._remote = ray.remote(do)
        self._shared: dict[tuple[object, ...], Bundle] = {}
        self._nodes: list[dict[str, float]] = []
        self._asked = -FRESH
        self._common: dict[int, tuple[Any, Any]] = {}
        self._told: set[tuple[float, float]] = set()

    def run(
        self,
        items: Iterable[Item],
        report: Callable[[int, int], None],
        failed: Callable[[int, str], None] | None = None,
    ) -> Iterator[tuple[int, Any]]:
        self._connect()
        waiting: dict[Any, tuple[int, Item]] = {}
        try:
            for index, item in enumerate(items):
                waiting[self._sent(item)] = index, item
                while len(waiting) >= self._room(item):
                    yield from self._ended(waiting, failed)
            while waiting:
                yield from self._ended(waiting, failed)
        finally:
            self._common.clear()
            for reference in waiting:
                self._ray.cancel(reference, force=True)

    def _connect(self) -> None:
        """Without Ray's own handlers of signals, which would end this process in their own way."""
        if self._ray.is_initialized():
            return
        self.connected = True
        _check_answers(self._address)
        try:
            with signals_noted():
                self._ray.init(
                    address=self._address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
                )
        except (OSError, RuntimeError, ValueError) as error:  # ConnectionError is an OSError
            where = "on this machine" if self._address is None else f"at {self._address!r}"
            raise InputError(f"no Ray cluster {where} ({first_line(error)}).") from error

    def _ended(
        self, waiting: dict[Any, tuple[int, Item]], failed: Callable[[int, str], None] | None
    ) -> Iterator[tuple[int, Any]]:
        """What ends within a moment; it is no longer waited for."""
        with signals_noted():
            ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=POLL)
        for reference in ready:
            index, item = waiting.pop(reference)
            try:
                value = self._received(reference, item)
            except InputError as error:
                if failed is None:
                    raise
                failed(index, str(error))
                continue
            yield index, value

    def _sent(self, item: Item) -> Any:
        """A reference to what an item will have made."""
        with signals_noted():
            return self._order(item)

    def _order(self, item: Item) -> Any:
        bundles = tuple(self._bundle(source) for source in item.sources)
        path = item.path
        changed = pack(path) if path is not None and path.is_file() else ()
        name = None if path is None else path.name
        order = Order(item.work, item.data, self._common_of(item), bundles, name, changed, item.threads, self._versions)
        cpus, gpus = self._needs(item)
        return self._remote.options(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES).remote(order)

    def _received(self, reference: Any, item: Item) -> Any:
        """What an item returned, when what it made is in its place."""
        errors = self._ray.exceptions
        try:
            with signals_noted():
                made: Made = self._ray.get(reference)
        except errors.RayTaskError:  # not foreseen: with the traceback of where it happened
            raise
        except errors.RayError as error:
            raise InputError(
                f"{item.name}: its process or machine died {RETRIES + 1} times ({first_line(error)}); is there enough"
                " memory? The same command goes on from here."
            ) from error
        if made.refusal is not None:
            raise InputError(made.refusal)
        if item.path is not None:
            unpack_to(made.files, item.path, made.folder)
        return made.value

    def _common_of(self, item: Item) -> tuple[Any, ...]:
        """What many items share, in the object store once; the object is kept, so that no other has its identity."""
        if item.common is None:
            return ()
        if id(item.common) not in self._common:
            self._common[id(item.common)] = item.common, self._ray.put(item.common)
        return (self._common[id(item.common)][1],)

    def _bundle(self, source: Source) -> Bundle:
        """A source in the object store: a shared one once, as long as its files stay as they are."""
        seen = (source.path, source.patterns, *looks(source.path))
        if seen in self._shared:
            return self._shared[seen]
        files = pack(source.path, source.patterns)
        key = content_hash({file.name: file.sha256 for file in files})
        bundle = Bundle(key, tuple(self._ray.put(file) for file in files), source.shared)
        if source.shared:
            self._shared[seen] = bundle
        return bundle

    def _needs(self, item: Item) -> tuple[float, float]:
        """(processors, cards) of an item. One that no machine has is waited for, which is said once."""
        nodes = self._machines()
        cards = self._gpus if item.model and any(node.get("GPU", 0.0) for node in nodes) else 0.0
        needs = float(1 if cards else item.threads), cards
        fits = any(node.get("CPU", 0.0) >= needs[0] and node.get("GPU", 0.0) >= needs[1] for node in nodes)
        if not fits and needs not in self._told:
            self._told.add(needs)
            _log.warning(
                "%s: no machine of the cluster has %g processors and %g cards, waiting for one; training.threads says"
                " how many processors a model takes.",
                item.name,
                *needs,
            )
        return needs

    def _room(self, item: Item) -> int:
        """How many such items may be waiting or under way."""
        cpus, gpus = self._needs(item)
        slots = [
            min(node.get("CPU", 0.0) / cpus, node.get("GPU", 0.0) / gpus if gpus else float("inf"))
            for node in self._machines()
        ]
        return max(LEAST_WAITING, 2 * sum(map(int, slots)))

    def _machines(self) -> list[dict[str, float]]:
        """What each machine of the cluster has, asked for now and then: machines come and go."""
        if time.monotonic() > self._asked + FRESH:
            self._nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._asked = time.monotonic()
        return self._nodes


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError("Ray is not installed; install it with: pip install 'taskpgm[ray]'.") from error
    return ray


def _check_answers(address: str | None) -> None:
    """Refuse an address where nobody listens, which Ray waits minutes for."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
        except (OSError, OverflowError) as error:
            raise InputError(f"no Ray cluster at {address!r} ({first_line(error)}).") from error
