"""Why each weight is what it is: the parts of the energy, the prices of the bounds, and what moves the mixture.

At a minimiser every task whose weight lies between its bounds has the same slope dE/dp_i, the price of the budget. A
task at a bound would gain from passing it: the difference of its slope is the bound's price. Moving the utilities or
the similarities a little moves the free weights along one linear system (the implicit function theorem on the active
set; Fiacco 1976).

    why = explain(network, solution, "sort")
    print(why)                          # in words
    sensitivity(network, solution).to_utility[i, j]     # d weight i / d utility j
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.inference import SimplexQP, solve
from taskpgm.network import TaskNetwork, relative_entropy
from taskpgm.types import FloatArray, InputError, Solution, readonly

AT_BOUND = 1e-9
SHOWN = 3
SINGULAR = 1e-10


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How a mixture moves with the numbers it comes from, as long as the same tasks are at their bounds.

    to_utility: (n, n) d p_i / d u_j. free: (n,) which weights lie between their bounds. unique: whether the free
    weights are determined; where they are not (two equal tasks, say), the shortest movement is given. undecided: the
    names of tasks at a bound that costs nothing: a change of one sign would free them, one of the other would not.
    """

    network: TaskNetwork
    mixture: FloatArray
    free: NDArray[np.bool_]
    response: FloatArray
    unique: bool
    undecided: tuple[str, ...]

    @property
    def to_utility(self) -> FloatArray:
        return np.asarray(self.network.beta * self.response)

    def to_similarity(self, change: ArrayLike) -> FloatArray:
        """(n,) the derivative of the mixture along an (n, n) symmetric change of S."""
        return np.asarray(-self.network.lam * self.response @ (np.asarray(change, dtype=np.float64) @ self.mixture))


@dataclass(frozen=True, eq=False)
class Explanation:
    """What makes one task's weight; all energies are the task's own share, so that over all tasks they add up to E.

    utility: -beta u_i p_i. redundancy: for each task, 1/2 lam S_ij p_i p_j, with itself too. prior: tau p_i log(p_i /
    q_i). slope: dE/dp_i; budget_price: the slope of tasks between their bounds. bound: "lower", "upper" or "" where the
    weight lies between; bound_price: by how much the energy falls for each unit by which the bound is moved out.
    without: the mixture without this task, None where its lower bounds leave no other; cost_without: by how much its
    energy is higher.
    """

    task: str
    weight: float
    uniform: float
    utility: float
    redundancy: dict[str, float]
    prior: float
    slope: float
    budget_price: float
    bound: str
    bound_price: float
    without: dict[str, float] | None
    cost_without: float

    @property
    def energy(self) -> float:
        """The task's share of E(p)."""
        return self.utility + sum(self.redundancy.values()) + self.prior

    def __str__(self) -> str:
        return " ".join(_sentences(self))


def sensitivity(network: TaskNetwork, solution: Solution | ArrayLike) -> Sensitivity:
    """The derivatives of a minimiser; see `Sensitivity`.

    Raises:
        InputError: no point, or one of another size.
    """
    p = _mixture(network, solution)
    free = (p > network.lower + AT_BOUND) & (p < network.upper - AT_BOUND)
    slope, price = network.gradient(p), budget_price(network, p)
    margin = 1e-9 * (1.0 + float(np.abs(slope[np.isfinite(slope)]).max(initial=0.0)))
    movable = network.lower < network.upper
    undecided = [
        n
        for n, f, s, m in zip(network.names, free, slope, movable, strict=True)
        if m and not f and abs(s - price) <= margin
    ]
    response, unique = _response(network, p, free)
    return Sensitivity(network, p, readonly(free, np.bool_), readonly(response, np.float64), unique, tuple(undecided))


def budget_price(network: TaskNetwork, mixture: FloatArray) -> float:
    """The slope that tasks between their bounds share; the middle of what is possible where there are none.

    With every task at a bound the price lies anywhere between the largest slope of those at their upper bound and the
    least of those at their lower one.
    """
    slope = network.gradient(mixture)
    movable = network.lower < network.upper
    free = (mixture > network.lower + AT_BOUND) & (mixture < network.upper - AT_BOUND)
    if free.any():
        return float(slope[free] @ mixture[free] / mixture[free].sum())
    at_upper = movable & (mixture >= network.upper - AT_BOUND)
    at_lower = movable & ~at_upper
    ends = [float(slope[at_lower].min())] if at_lower.any() else []
    ends += [float(slope[at_upper].max())] if at_upper.any() else []
    return float(np.mean(ends)) if ends else float(slope.mean())


def explain(network: TaskNetwork, solution: Solution | ArrayLike, task: str) -> Explanation:
    """Why `task` has the weight that it has; `print` it for words.

    Raises:
        InputError: no task of that name, or a solution without a point.
    """
    if task not in network.names:
        raise InputError(f"there is no task {task!r}; tasks are {', '.join(map(repr, network.names[:8]))}.")
    p, i = _mixture(network, solution), network.names.index(task)
    slope, price = float(network.gradient(p)[i]), budget_price(network, p)
    bound = "lower" if p[i] <= network.lower[i] + AT_BOUND else "upper" if p[i] >= network.upper[i] - AT_BOUND else ""
    shares = 0.5 * network.lam * network.similarity[i] * p[i] * p
    without, cost = _without(network, p, i)
    prior = float(network.tau * relative_entropy(p[[i]], network.prior[[i]])[0]) if network.tau > 0.0 else 0.0
    return Explanation(
        task,
        float(p[i]),
        1.0 / len(network),
        float(-network.beta * network.utility[i] * p[i]),
        {name: float(share) for name, share in zip(network.names, shares, strict=True)},
        prior,
        slope,
        price,
        bound,
        {"lower": slope - price, "upper": price - slope, "": 0.0}[bound],
        without,
        cost,
    )


def _mixture(network: TaskNetwork, solution: Solution | ArrayLike) -> FloatArray:
    point = solution.point if isinstance(solution, Solution) else solution
    if point is None or np.shape(point) != (len(network),):
        raise InputError(f"no mixture of {len(network)} tasks to explain: solve the network first.")
    return np.array(point, dtype=np.float64)


def _response(network: TaskNetwork, p: FloatArray, free: NDArray[np.bool_]) -> tuple[FloatArray, bool]:
    """(n, n) d p / d b where the energy has the linear term -b'p, and whether the free weights are determined."""
    n, places = len(p), np.flatnonzero(free)
    response = np.zeros((n, n))
    if len(places) < 2:
        return response, True
    hessian = network.lam * network.similarity[np.ix_(places, places)]
    if network.tau > 0.0:
        hessian = hessian + np.diag(network.tau / p[places])
    from scipy.linalg import helmert

    basis = helmert(len(places))  # movements of the free weights that keep their sum
    reduced = basis @ hessian @ basis.T
    values, vectors = np.linalg.eigh(reduced)
    usable = values > SINGULAR * max(float(np.abs(values).max()), 1e-300)
    inverse = (vectors[:, usable] / values[usable]) @ vectors[:, usable].T
    response[np.ix_(places, places)] = basis.T @ inverse @ basis
    return response, bool(usable.all())


def _without(network: TaskNetwork, p: FloatArray, i: int) -> tuple[dict[str, float] | None, float]:
    """The best mixture of the other tasks, and how much more energy it has."""
    keep = np.arange(len(network)) != i
    lower, upper = network.lower[keep], network.upper[keep]
    if len(network) < 3 or upper.sum() < 1.0 or lower.sum() > 1.0:
        return None, np.inf
    prior = network.prior[keep]
    rest = TaskNetwork(
        network.utility[keep],
        network.similarity[np.ix_(keep, keep)],
        [name for name, kept in zip(network.names, keep, strict=True) if kept],
        beta=network.beta,
        lam=network.lam,
        tau=network.tau,
        prior=prior / prior.sum(),
        lower=lower,
        upper=upper,
    )
    solution = solve(rest, SimplexQP())
    if solution.point is None:
        return None, np.inf
    shift = network.tau * float(np.log(prior.sum()))  # the prior was scaled up to a sum of 1
    weights = {name: float(weight) for name, weight in zip(rest.names, solution.point, strict=True)}
    return weights, solution.energy - shift - network.energy(p)


def _sentences(why: Explanation) -> list[str]:
    compared = why.weight / why.uniform
    said = [f"{why.task} gets {why.weight:.1%} of the budget, {compared:.2f} times a uniform share."]
    own = why.redundancy[why.task]
    others = {name: share for name, share in why.redundancy.items() if name != why.task}
    total = own + sum(others.values())
    said.append(f"Its utility takes {-why.utility:.3g} off the energy, redundancy adds {total:.3g}.")
    most = sorted(others.items(), key=_share, reverse=True)[:SHOWN]
    named = [f"{name} ({share / total:.0%})" for name, share in most if total > 0.0 and share > 0.005 * total]
    if named:
        said.append(f"Of that redundancy {own / total:.0%} is with itself, and with {', '.join(named)}.")
    if why.bound:
        side = "floor" if why.bound == "lower" else "ceiling"
        direction = "below" if why.bound == "lower" else "above"
        change = -0.01 * why.bound_price
        said.append(f"It is at its {side}: each percent {direction} it would change the energy by {change:.3g}.")
    else:
        said.append("It lies between its bounds: one percent more would cost here what it saves elsewhere.")
    if why.without is not None:
        said.append(f"Without it the best mixture's energy is higher by {why.cost_without:.3g}.")
    return said


def _share(item: tuple[str, float]) -> float:
    return item[1]
