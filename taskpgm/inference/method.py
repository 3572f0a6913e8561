"""What an inference method is: a name, a domain, and a point for every problem that it does not refuse."""

from __future__ import annotations

import abc
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray

from taskpgm.judge import Problem


class Deadline:
    """A moment in time after which a method should return its best point."""

    def __init__(self, seconds: float | None) -> None:
        self.end = float("inf") if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; infinite without a deadline, never negative."""
        return max(0.0, self.end - time.monotonic())

    def passed(self) -> bool:
        return time.monotonic() >= self.end


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method returns: a point, perhaps a lower bound, and what it counted. Nobody believes it unchecked.

    point is None where no feasible point was found; message then says why. finished is False where the deadline cut
    the method short.
    """

    point: NDArray[Any] | None
    bound: float | None = None
    finished: bool = True
    message: str = ""
    stats: Mapping[str, Any] = field(default_factory=dict)


class Method(abc.ABC):
    """One inference method. To add one, write a file with a subclass and put it into METHODS."""

    name: ClassVar[str]
    domain: ClassVar[Literal["mixture", "levels"]]
    exact: ClassVar[bool]

    @abc.abstractmethod
    def refuses(self, problem: Problem) -> str | None:
        """Why the method does not take this problem (already known to be of its domain), or None."""

    @abc.abstractmethod
    def run(self, problem: Any, deadline: Deadline, seed: int) -> Answer:
        """An answer to a problem of the method's domain that it does not refuse."""
