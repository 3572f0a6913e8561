"""Methods for the tests of the child process, in a module that it can import: right ones, and all kinds of wrong."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from taskpgm.inference.method import Answer, Deadline, Domain, MarginalAnswer, MarginalMethod, Method
from taskpgm.pairwise import PairwiseNetwork


def cheapest(problem: PairwiseNetwork) -> Any:
    """Each node's cheapest state by itself."""
    return np.array([int(values.argmin()) for values in problem.unary])


def aborts(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    os.abort()


def exits(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    sys.exit(7)


def raises(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    raise ZeroDivisionError("one line\nand another")


def vanishes(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    os._exit(0)


def is_killed(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    os.kill(os.getpid(), 9)
    return sleeps(problem, deadline)


def prints(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    print('{"answer": null}', flush=True)
    os.write(1, b'{"answer": null}\n')
    os.write(2, b"trouble\n")
    ctypes.CDLL(None).puts(b"not yet flushed")
    assert sys.stdin.read() == ""
    return Answer(cheapest(problem))


def sleeps(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    while True:
        time.sleep(60.0)


def allocates(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    block = np.ones(30_000_000)
    return Answer(cheapest(problem), stats={"sum": block.sum()})


def asks_for_too_much(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    return Answer(np.ones(1 << 55))


def says_much(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    return Answer(cheapest(problem), message="m" * 3_000_000)


def notes(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    deadline.note(np.zeros(len(problem), dtype=np.int64), np.float32(-1e6))
    deadline.note(cheapest(problem))
    return Answer(cheapest(problem), np.float32(-1e6), np.bool_(True), ties=np.int64(2))


def counts_with_numpy(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    counted = {
        "nodes": np.int64(4),
        "share": np.float32(0.5),
        "ended": np.bool_(True),
        "each": np.arange(2),
        "inf": np.inf,
    }
    return Answer(cheapest(problem), stats={**counted, "each": np.arange(2), "inf": np.inf})


def counts_with_objects(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    return Answer(cheapest(problem), stats={"what": object()})


def tells_its_process(problem: PairwiseNetwork, deadline: Deadline) -> Answer:
    return Answer(cheapest(problem), stats={"process": os.getpid(), "helper": os.getppid()})


KINDS: dict[str, Callable[[PairwiseNetwork, Deadline], Answer]] = {
    kind.__name__: kind
    for kind in (
        aborts,
        exits,
        raises,
        vanishes,
        is_killed,
        prints,
        sleeps,
        allocates,
        asks_for_too_much,
        says_much,
        notes,
        counts_with_numpy,
        counts_with_objects,
        tells_its_process,
    )
}


@dataclass(frozen=True)
class Behaving(Method):
    """Does what the function of that name above does."""

    kind: str

    name: ClassVar[str] = "behaving"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = False
    foreign: ClassVar[tuple[str, ...]] = ("json",)

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        return KINDS[self.kind](problem, deadline)


class Outer:
    @dataclass(frozen=True)
    class Echo(Method):
        """Hands back its settings and seed, from a class within a class."""

        weights: tuple[float, ...] = (1.0,)

        name: ClassVar[str] = "echo"
        domain: ClassVar[Domain] = "pairwise"
        exact: ClassVar[bool] = False
        foreign: ClassVar[tuple[str, ...]] = ("json",)

        def refuses(self, problem: PairwiseNetwork) -> str | None:
            return None

        def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
            stats = {"weights": self.weights, "seed": seed, "left": deadline.left(), "constant": problem.constant}
            return Answer(cheapest(problem), stats={**stats, "hashable": hash(self) is not None})


class NotInstalled(Outer.Echo):
    foreign: ClassVar[tuple[str, ...]] = ("a_solver_that_nobody_has",)


class Even(MarginalMethod):
    """Equal probabilities."""

    name: ClassVar[str] = "even"
    bounds: ClassVar[Literal["", "lower", "upper", "both"]] = ""
    foreign: ClassVar[tuple[str, ...]] = ("json",)

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        nodes = tuple(np.full(count, 1.0 / count) for count in problem.states.tolist())
        pairs = tuple(np.full(table.shape, 1.0 / table.size) for table in problem.tables)
        return MarginalAnswer(nodes, pairs, np.float64(0.25), stats={"nodes": np.int64(len(nodes))})
