"""What an inference method is: a name, a domain, and a point for every problem that it does not refuse.

Methods for the best point are subclasses of `Method`; methods for marginals and the partition function are subclasses
of `MarginalMethod`. Both say what they need and never judge themselves.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from taskpgm.judge import Problem
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray

Domain = Literal["mixture", "levels", "pairwise"]
ONLY_BOUNDS = "takes bounds on single tasks only, no other constraints: use SimplexQP"
DENSE = "takes a TaskNetwork: for features use PairwiseFrankWolfe or network.dense(), for a capacity MirrorDescent"


@dataclass(frozen=True, eq=False)
class Note:
    """What a method had after some seconds: its best point so far and its best lower bound, None where unknown."""

    seconds: float
    point: NDArray[Any] | None
    bound: float | None


class Deadline:
    """A moment in time after which a method should return its best point, and what it noted on the way there."""

    def __init__(self, seconds: float | None) -> None:
        self.start = time.monotonic()
        self.end = float("inf") if seconds is None else self.start + seconds
        self.notes: list[Note] = []

    def left(self) -> float:
        """Seconds left; infinite without a deadline, never negative."""
        return max(0.0, self.end - time.monotonic())

    def passed(self) -> bool:
        return time.monotonic() >= self.end

    def note(self, point: NDArray[Any] | None = None, bound: float | None = None) -> None:
        """Say what there is by now. The driver computes the point's energy for the anytime trace."""
        kept = None if point is None else np.array(point)
        self.notes.append(Note(time.monotonic() - self.start, kept, bound))


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method returns: a point, perhaps a lower bound, and what it counted. Nobody believes it unchecked.

    point is None where no feasible point was found; message then says why. finished is False where the deadline cut
    the method short. ties: how many points share the least energy, where the method counted them.
    """

    point: NDArray[Any] | None
    bound: float | None = None
    finished: bool = True
    message: str = ""
    stats: Mapping[str, Any] = field(default_factory=dict)
    ties: int | None = None


class Method(abc.ABC):
    """One inference method for the least energy. To add one, write a file with a subclass and put it into METHODS.

    domain: "mixture" methods take a TaskNetwork, some instead a FactoredNetwork or a CapacityMixture, and return
    weights; "levels" methods take a LevelsNetwork and return levels; "pairwise" methods take any PairwiseNetwork,
    budget or not, finite and in one piece as the driver hands it over, and return states. exact: run to its end, the
    point is a minimiser. compiles: whether its first run in a process compiles kernels, which no deadline counts.
    foreign: the modules of a solver that others wrote; it runs in a child process that imports them.
    """

    name: ClassVar[str]
    domain: ClassVar[Domain]
    exact: ClassVar[bool]
    compiles: ClassVar[bool] = False
    foreign: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def refuses(self, problem: Any) -> str | None:
        """Why the method does not take this problem (already known to be of its domain), or None."""

    @abc.abstractmethod
    def run(self, problem: Any, deadline: Deadline, seed: int) -> Answer:
        """An answer to a problem of the method's domain that it does not refuse."""


@dataclass(frozen=True, eq=False)
class MarginalAnswer:
    """What a marginal method returns: probabilities of states and, where it has them, of pairs of states along edges.

    log_partition: the method's value of log Z, in nats. Where the class says that it bounds, it does so whether
    finished or not. finished is False where it did not converge or was cut short.
    """

    nodes: tuple[FloatArray, ...]
    pairs: tuple[FloatArray, ...] | None = None
    log_partition: float | None = None
    finished: bool = True
    message: str = ""
    stats: Mapping[str, Any] = field(default_factory=dict)


class MarginalMethod(abc.ABC):
    """One method for marginals and log Z of p(s) = exp(-E(s)) / Z. To add one, put it into MARGINAL_METHODS.

    bounds: on which side its log Z is sure to lie of the true one; "both" where it is exact.
    """

    name: ClassVar[str]
    bounds: ClassVar[Literal["", "lower", "upper", "both"]]
    foreign: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def refuses(self, problem: PairwiseNetwork) -> str | None:
        """Why the method does not take this network, or None."""

    @abc.abstractmethod
    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        """Marginals of a network that it does not refuse."""


__all__ = ["Answer", "Deadline", "Domain", "MarginalAnswer", "MarginalMethod", "Method", "Note", "Problem"]
