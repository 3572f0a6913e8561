"""The task network: tasks as the nodes of a Markov random field, its energy, and where a mixture may lie.

The energy of a mixture p (Hein & Bousquet 2005 for why S is positive semidefinite) is defined here and nowhere else:

    E(p) = -beta u'p + 1/2 lam p'Sp + tau KL(p || q),     lower <= p <= upper,  sum p = 1

    network = TaskNetwork([1.0, 0.2], [[1.0, 0.5], [0.5, 1.0]], names=("copy", "sort"))
    network.energy([0.5, 0.5])
    network.levels(quanta=10)           # the same energy on whole tenths: a discrete pairwise network
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.types import Affinity, FloatArray, InputError, readonly

if TYPE_CHECKING:
    from taskpgm.levels import LevelsNetwork
    from taskpgm.pairwise import PairwiseNetwork

Bound: TypeAlias = float | FloatArray | Sequence[float] | Mapping[str, float]

SYMMETRY_TOLERANCE = 1e-8
SUM_TOLERANCE = 1e-12
DEFAULT_FLOOR = 0.2
DEFAULT_RHO = 0.5


@dataclass(frozen=True, eq=False, init=False)
class TaskNetwork:
    """A pairwise energy over the simplex, with bounds on every task's weight.

    Args:
        utility: (n,) u, the unary potentials.
        similarity: (n, n) symmetric S, the pairwise potentials.
        names: (n,) distinct task names; "task 0", "task 1", ... where not given.
        beta, lam, tau: the weights of the three terms; lam and tau are not negative.
        prior: (n,) positive mixture q of the KL term; uniform where not given.
        lower, upper: bounds on each weight: one number for all, or (n,), or a mapping from name to bound.

    Raises:
        InputError: wrong sizes, values that are not finite, an asymmetric S, repeated names, or bounds that no
            mixture satisfies (the clashing ones are named).
    """

    utility: FloatArray
    similarity: FloatArray
    names: tuple[str, ...]
    beta: float
    lam: float
    tau: float
    prior: FloatArray
    lower: FloatArray
    upper: FloatArray

    def __init__(
        self,
        utility: ArrayLike,
        similarity: ArrayLike,
        names: Sequence[str] = (),
        *,
        beta: float = 1.0,
        lam: float = 1.0,
        tau: float = 0.0,
        prior: ArrayLike | None = None,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
    ) -> None:
        u = _array(utility, "utility", ndim=1)
        checked = _checked_names(names, len(u))
        fields = {
            "utility": _checked_finite(u, "utility", checked),
            "similarity": _checked_similarity(similarity, checked),
            "names": checked,
            "beta": _checked_scalar(beta, "beta", -np.inf),
            "lam": _checked_scalar(lam, "lam", 0.0),
            "tau": _checked_scalar(tau, "tau", 0.0),
            "prior": _checked_prior(prior, len(u)),
            "lower": _checked_bound(lower, checked, "lower", 0.0),
            "upper": _checked_bound(upper, checked, "upper", 1.0),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        _check_bounds_meet(self)

    @classmethod
    def from_affinity(
        cls,
        affinity: Affinity,
        *,
        rho: float = DEFAULT_RHO,
        lam: float = 1.0,
        floor: float = DEFAULT_FLOOR,
        upper: Bound = 1.0,
    ) -> TaskNetwork:
        """The network with the defaults of the command line: balanced beta, and a floor under every weight.

        floor is in shares of the uniform weight: every task gets at least floor / n.
        """
        beta = balanced_beta(affinity.utility, affinity.similarity, lam=lam, rho=rho)
        lower = floor / len(affinity.names)
        return cls(affinity.utility, affinity.similarity, affinity.names, beta=beta, lam=lam, lower=lower, upper=upper)

    def __len__(self) -> int:
        return len(self.names)

    def energy(self, mixture: ArrayLike) -> float:
        """E(p) in float64."""
        p = np.asarray(mixture, dtype=np.float64)
        value = -self.beta * (self.utility @ p) + 0.5 * self.lam * (p @ self.similarity @ p)
        if self.tau > 0.0:
            value += self.tau * relative_entropy(p, self.prior).sum()
        return float(value)

    def gradient(self, mixture: ArrayLike) -> FloatArray:
        """(n,) the gradient of E at p; -inf where tau > 0 and a weight is 0."""
        p = np.asarray(mixture, dtype=np.float64)
        gradient = -self.beta * self.utility + self.lam * (self.similarity @ p)
        if self.tau > 0.0:
            with np.errstate(divide="ignore", invalid="ignore"):  # a weight of -1e-12 has no logarithm: nan
                gradient = gradient + self.tau * (np.log(p / self.prior) + 1.0)
        return np.asarray(gradient, dtype=np.float64)

    @cached_property
    def curvature(self) -> float:
        """The least eigenvalue of S on the sum-zero subspace: E is convex on the simplex where it is not negative."""
        from scipy.linalg import helmert

        basis = helmert(len(self))
        return float(np.linalg.eigvalsh(basis @ self.similarity @ basis.T)[0])

    def violation(self, mixture: ArrayLike) -> float:
        """The largest amount by which p breaks a bound or the sum; 0 where it breaks none."""
        p = np.asarray(mixture, dtype=np.float64)
        return float(max(abs(p.sum() - 1.0), (self.lower - p).max(), (p - self.upper).max(), 0.0))

    @overload
    def levels(self, quanta: int, cap: int | None = None) -> LevelsNetwork: ...

    @overload
    def levels(self, quanta: None, cap: int = 1) -> PairwiseNetwork: ...

    def levels(self, quanta: int | None, cap: int | None = None) -> LevelsNetwork | PairwiseNetwork:
        """The discrete network with p = x / quanta, x in {0..cap}^n, sum x = quanta, within this network's bounds.

        With quanta = None the budget is free: any level 0..cap of every task, p = x / cap, with whatever sum.
        """
        from taskpgm.levels import LevelsNetwork, free_levels

        if quanta is None:
            return free_levels(self, 1 if cap is None else cap)
        return LevelsNetwork(self, quanta, quanta if cap is None else cap)


def relative_entropy(p: FloatArray, q: FloatArray) -> FloatArray:
    """p log(p / q) elementwise in nats, with 0 log 0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0.0, p * np.log(p / q), 0.0)


def balanced_beta(utility: ArrayLike, similarity: ArrayLike, *, lam: float = 1.0, rho: float = DEFAULT_RHO) -> float:
    """The utility weight at which utilities and redundancy move the uniform mixture comparably (rho = 1: equally).

    beta = lam rho (1 - mean off-diagonal S) / (n sd(u)); 0 where all utilities are equal, since then they say nothing.
    """
    u = np.asarray(utility, dtype=np.float64)
    s = np.asarray(similarity, dtype=np.float64)
    n = len(u)
    spread = float(np.std(u))
    if n < 2 or spread <= 1e-12 * max(1.0, float(np.abs(u).max())):
        return 0.0
    mean_similarity = (s.sum() - np.trace(s)) / (n * (n - 1))
    return float(max(0.0, lam * rho * (1.0 - mean_similarity) / (n * spread)))


def _check_bounds_meet(network: TaskNetwork) -> None:
    """Raise an InputError that names a smallest set of bounds which no mixture satisfies together."""
    names, lower, upper = network.names, network.lower, network.upper
    for name, low, high in zip(names, lower, upper, strict=True):
        if low > high:
            raise InputError(f"task {name!r}: lower bound {low:.6g} is above its upper bound {high:.6g}.")
    if lower.sum() > 1.0 + SUM_TOLERANCE:
        order = np.argsort(-lower, kind="stable")
        needed = int(np.searchsorted(np.cumsum(lower[order]), 1.0 + SUM_TOLERANCE, side="right")) + 1
        raise InputError(_clash("lower", names, lower, order[:needed], "more than 1: lower them."))
    if upper.sum() < 1.0 - SUM_TOLERANCE:
        raise InputError(_clash("upper", names, upper, np.arange(len(names)), "less than 1: raise them."))


def _clash(side: str, names: Sequence[str], bound: FloatArray, members: Any, remedy: str) -> str:
    shown = ", ".join(f"{names[i]!r} ({bound[i]:.6g})" for i in members[:8])
    more = f" and {len(members) - 8} more" if len(members) > 8 else ""
    return f"no mixture is feasible: the {side} bounds of {shown}{more} add up to {bound[members].sum():.6g}, {remedy}"


def _array(values: Any, label: str, ndim: int) -> FloatArray:
    try:
        array = readonly(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{label}: not an array of numbers ({error}).") from error
    if array.ndim != ndim:
        raise InputError(f"{label}: expected {ndim} dimension(s), found shape {array.shape}.")
    return array


def _checked_finite(values: FloatArray, label: str, names: tuple[str, ...]) -> FloatArray:
    for name, value in zip(names, values, strict=True):
        if not np.isfinite(value):
            raise InputError(f"{label} of task {name!r} is {value}: every {label} must be a finite number.")
    return values


def _checked_names(names: Sequence[str], n: int) -> tuple[str, ...]:
    named = tuple(str(name) for name in names) if len(names) else tuple(f"task {i}" for i in range(n))
    if len(named) != n:
        raise InputError(f"names: {len(named)} names for {n} utilities; give one name per task.")
    if n < 2:
        raise InputError("one task only: a mixture needs at least two tasks.")
    repeated = sorted({name for name in named if named.count(name) > 1}) if len(set(named)) < n else []
    if repeated:
        raise InputError(f"duplicate task name {repeated[0]!r}: every task needs a name of its own.")
    return named


def _checked_similarity(similarity: Any, names: tuple[str, ...]) -> FloatArray:
    n = len(names)
    s = _array(similarity, "similarity", ndim=2)
    if s.shape != (n, n):
        raise InputError(f"similarity: shape {s.shape[0]} x {s.shape[1]}, but there are {n} tasks.")
    bad = np.argwhere(~np.isfinite(s))
    if len(bad):
        i, j = bad[0]
        raise InputError(f"similarity of {names[i]!r} and {names[j]!r} is {s[i, j]}: every entry must be finite.")
    asymmetry = np.abs(s - s.T)
    if asymmetry.max() > SYMMETRY_TOLERANCE * max(1.0, float(np.abs(s).max())):
        i, j = np.unravel_index(int(asymmetry.argmax()), s.shape)
        raise InputError(
            f"similarity is not symmetric: {names[i]!r}, {names[j]!r} is {s[i, j]:.6g} one way and {s[j, i]:.6g} the"
            " other; average the two if that is what you mean."
        )
    return readonly(0.5 * (s + s.T), np.float64)


def _checked_scalar(value: Any, label: str, least: float) -> float:
    number = float(value)
    if not np.isfinite(number) or number < least:
        raise InputError(f"{label} = {number}: expected a finite number{'' if least < 0 else ' that is not negative'}.")
    return number


def _checked_prior(prior: Any, n: int) -> FloatArray:
    if prior is None:
        return readonly(np.full(n, 1.0 / n), np.float64)
    q = _array(prior, "prior", ndim=1)
    if len(q) != n or not np.all(np.isfinite(q)) or q.min() <= 0.0 or abs(q.sum() - 1.0) > 1e-9:
        raise InputError(f"prior: expected {n} positive numbers that add up to 1.")
    return q


def _checked_bound(bound: Bound, names: tuple[str, ...], side: str, otherwise: float) -> FloatArray:
    if isinstance(bound, Mapping):
        unknown = [name for name in bound if name not in names]
        if unknown:
            raise InputError(f"{side} bound for {unknown[0]!r}: there is no task of that name.")
        values = np.array([bound.get(name, otherwise) for name in names], dtype=np.float64)
    else:
        values = np.asarray(bound, dtype=np.float64)
        if values.ndim > 0 and values.shape != (len(names),):
            raise InputError(f"{side} bounds: shape {values.shape}, but there are {len(names)} tasks.")
        values = np.broadcast_to(values, (len(names),))
    for name, value in zip(names, values, strict=True):
        if not 0.0 <= value <= 1.0:
            raise InputError(f"task {name!r}: {side} bound {value} is not between 0 and 1.")
    return readonly(values, np.float64)
