"""What a mixture must keep besides bounds on single tasks: groups, epochs, costs, nearness to a prior, diversity.

    TaskNetwork(u, S, names, constraints=[
        Group(("copy", "echo"), upper=0.3),                 # together at most 30 %
        EpochCap(sizes, budget=1e6, most=4),                # nobody's data more than four times
        CostBound({"copy": 1.0, "sort": 3.0}, most=2.0),    # per unit of training, on average
        TrustRegion({"copy": 0.5, "sort": 0.5}, within=0.1),
        EffectiveTasks(least=5),
    ])

Each becomes half-spaces a'p <= b, or balls KL(p || centre) <= r, under a name in the user's words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from taskpgm.limits import LARGEST_NUMBER
from taskpgm.types import FloatArray, InputError, readonly

SUM_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Halfspace:
    """coefficients'p <= limit. `unit` says what a change of the limit by `step` is, for its price."""

    name: str
    coefficients: FloatArray
    limit: float
    unit: str
    step: float


@dataclass(frozen=True, eq=False)
class Ball:
    """KL(p || centre) <= limit, in nats. unit and step as for a half-space."""

    name: str
    centre: FloatArray
    limit: float
    unit: str
    step: float

    def divergence(self, p: FloatArray) -> float:
        """KL(p || centre) with 0 log 0 = 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.where(p > 0.0, p * np.log(p / self.centre), 0.0).sum())

    def halfspace(self, x: FloatArray) -> tuple[FloatArray, float]:
        """(a, b) with a'p <= b for every p of the ball: the divergence is convex, so its tangent at x > 0 is below."""
        return np.log(x / self.centre) + 1.0, self.limit + float(x.sum())


Rows: TypeAlias = list[Halfspace | Ball]


@dataclass(frozen=True)
class Group:
    """The tasks' weights add up to at least `lower` and at most `upper`. `name` is used in messages."""

    tasks: tuple[str, ...]
    lower: float = 0.0
    upper: float = 1.0
    name: str = ""

    def rows(self, names: Sequence[str]) -> Rows:
        title = f"group {self.name!r}" if self.name else " + ".join(map(repr, self.tasks))
        members = _places(self.tasks, names, title)
        if not 0.0 <= self.lower <= self.upper <= 1.0:
            raise InputError(f"{title}: bounds {self.lower:g} and {self.upper:g}; expected 0 <= lower <= upper <= 1.")
        ones = np.zeros(len(names))
        ones[members] = 1.0
        found: Rows = []
        if self.lower > 0.0:
            less = f"one percent less for {title}"
            found.append(Halfspace(f"at least {self.lower:.4g} for {title}", -ones, -self.lower, less, 0.01))
        if self.upper < 1.0:
            more = f"one percent more for {title}"
            found.append(Halfspace(f"at most {self.upper:.4g} for {title}", ones, self.upper, more, 0.01))
        return found


@dataclass(frozen=True)
class EpochCap:
    """p_i <= most sizes_i / budget: no task's data is repeated more than `most` times.

    sizes and budget in the unit of the weights (tokens, say). Tasks without a size are not capped.
    """

    sizes: Mapping[str, float]
    budget: float
    most: float

    def rows(self, names: Sequence[str]) -> Rows:
        places = _places(tuple(self.sizes), names, "epoch cap")
        if not (self.budget > 0.0 and self.most > 0.0):
            raise InputError(f"epoch cap: budget {self.budget:g} and {self.most:g} epochs; both must be positive.")
        found: Rows = []
        for place, (task, size) in zip(places, self.sizes.items(), strict=True):
            if not size > 0.0:
                raise InputError(f"epoch cap: task {task!r} has a size of {size:g}; expected a positive number.")
            one = np.zeros(len(names))
            one[place] = 1.0
            epoch = size / self.budget
            name = f"at most {self.most:g} epochs of {task!r}"
            found.append(Halfspace(name, one, self.most * epoch, f"one more epoch of {task!r}", epoch))
        return found


@dataclass(frozen=True)
class CostBound:
    """The mean cost of a unit of training, sum costs_i p_i, is at most `most`. Every task needs a cost."""

    costs: Mapping[str, float]
    most: float

    def rows(self, names: Sequence[str]) -> Rows:
        costs = _each(self.costs, names, "cost")
        more = f"a mean cost higher by {0.01 * abs(self.most):.3g}"
        return [Halfspace(f"a mean cost of at most {self.most:g}", costs, self.most, more, 0.01 * abs(self.most))]


@dataclass(frozen=True)
class UtilityFloor:
    """The mean utility, sum utilities_i p_i, is at least `least`. Every task needs a utility."""

    utilities: Mapping[str, float]
    least: float

    def rows(self, names: Sequence[str]) -> Rows:
        utilities = _each(self.utilities, names, "utility")
        less = f"a mean utility lower by {0.01 * abs(self.least):.3g}"
        name = f"a mean utility of at least {self.least:.4g}"
        return [Halfspace(name, -utilities, -self.least, less, 0.01 * abs(self.least))]


@dataclass(frozen=True)
class TrustRegion:
    """KL(p || centre) <= within, in nats: no further than that from a mixture of yours. Weights of centre are > 0."""

    centre: Mapping[str, float]
    within: float

    def rows(self, names: Sequence[str]) -> Rows:
        centre = _each(self.centre, names, "trust region: weight")
        if centre.min() <= 0.0 or abs(centre.sum() - 1.0) > SUM_TOLERANCE:
            raise InputError("trust region: the weights of its centre must be positive and add up to 1.")
        if not self.within > 0.0:
            raise InputError(f"trust region: within {self.within:g} nats; expected a positive number.")
        name = f"within {self.within:g} nats of the trusted mixture"
        return [Ball(name, readonly(centre, np.float64), self.within, "0.01 nats more of it", 0.01)]


@dataclass(frozen=True)
class EffectiveTasks:
    """exp(entropy of p) >= least: as diverse as `least` tasks of equal weight."""

    least: float

    def rows(self, names: Sequence[str]) -> Rows:
        n = len(names)
        if not 1.0 < self.least < n:
            raise InputError(f"{self.least:g} effective tasks of {n}: expected more than 1 and fewer than {n}.")
        name, fewer = f"at least {self.least:g} effective tasks", "one effective task less"
        uniform = readonly(np.full(n, 1.0 / n), np.float64)
        return [Ball(name, uniform, float(np.log(n / self.least)), fewer, 1.0 / self.least)]


Constraint: TypeAlias = Group | EpochCap | CostBound | UtilityFloor | TrustRegion | EffectiveTasks
KINDS: dict[str, type[Any]] = {
    "group": Group,
    "epoch_cap": EpochCap,
    "cost_bound": CostBound,
    "utility_floor": UtilityFloor,
    "trust_region": TrustRegion,
    "effective_tasks": EffectiveTasks,
}


def as_dict(constraint: Constraint) -> dict[str, Any]:
    """As plain JSON values; `from_dict` reads them."""
    kind = next(kind for kind, made in KINDS.items() if isinstance(constraint, made))
    return {"kind": kind, **asdict(constraint)}


def from_dict(values: Mapping[str, Any]) -> Constraint:
    """What `as_dict` wrote.

    Raises:
        KeyError, TypeError: it did not.
    """
    settings = dict(values)
    made = KINDS[settings.pop("kind")]
    if "tasks" in settings:
        settings["tasks"] = tuple(settings["tasks"])
    constraint: Constraint = made(**settings)
    return constraint


def _places(tasks: Sequence[str], names: Sequence[str], what: str) -> list[int]:
    if not tasks:
        raise InputError(f"{what}: no tasks are named.")
    for task in tasks:
        if task not in names:
            raise InputError(f"{what}: there is no task {task!r}.")
    if len(set(tasks)) < len(tasks):
        raise InputError(f"{what}: a task is named twice.")
    order = {name: place for place, name in enumerate(names)}
    return [order[task] for task in tasks]


def _each(values: Mapping[str, float], names: Sequence[str], what: str) -> FloatArray:
    """(n,) one finite number for every task."""
    _places(tuple(values), names, what)
    missing = [name for name in names if name not in values]
    if missing:
        raise InputError(f"{what}: none is given for task {missing[0]!r}.")
    found = np.array([values[name] for name in names], dtype=np.float64)
    if not np.isfinite(found).all():
        raise InputError(f"{what}: of task {names[int(np.argmin(np.isfinite(found)))]!r} is not a finite number.")
    if np.abs(found).max() > LARGEST_NUMBER:
        raise InputError(f"{what}: of task {names[int(np.abs(found).argmax())]!r} is too large to compute with.")
    return found
