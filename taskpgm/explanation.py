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

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.coverage import CoverageNetwork
from taskpgm.duals import multipliers, tangents
from taskpgm.energy import MixtureEnergy, relative_entropy
from taskpgm.energy_shares import Explained, energy_shares
from taskpgm.inference import convex_method, solve
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, Solution, readonly

AT_BOUND = 1e-9
SHOWN = 3
SINGULAR = 1e-10


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How a mixture moves with the numbers it comes from, as long as the same tasks are at their bounds.

    to_utility: (n, n) d p_i / d u_j of a TaskNetwork. to_targets: (n, n) d p_i / d v_j of a CoverageNetwork. free: (n,)
    which weights lie between their bounds. unique: whether the free weights are determined; where they are not (two
    equal tasks, say), the shortest movement is given. undecided: the names of tasks at a bound that costs nothing: a
    change of one sign would free them, one of the other would not.
    """

    network: Explained
    mixture: FloatArray
    free: NDArray[np.bool_]
    response: FloatArray
    unique: bool
    undecided: tuple[str, ...]

    @property
    def to_utility(self) -> FloatArray:
        return np.asarray(self._pairwise().beta * self.response)

    def to_similarity(self, change: ArrayLike) -> FloatArray:
        """(n,) the derivative of the mixture along an (n, n) symmetric change of S."""
        return np.asarray(-self._pairwise().lam * self.response @ (np.asarray(change, dtype=np.float64) @ self.mixture))

    @property
    def to_targets(self) -> FloatArray:
        network = self.network
        if not isinstance(network, CoverageNetwork):
            raise InputError("a TaskNetwork has no target weights: see to_utility.")
        pulls = np.zeros((len(network), len(network)))
        for part in network.falling:
            pulls[:, part.tasks] += part.slopes(self.mixture)
        return np.asarray(-self.response @ pulls)

    def _pairwise(self) -> TaskNetwork:
        if not isinstance(self.network, TaskNetwork):
            raise InputError("a CoverageNetwork has no utilities and similarities: see to_targets.")
        return self.network


@dataclass(frozen=True, eq=False)
class Explanation:
    """What makes one task's weight; all energies are the task's own share, so that over all tasks they add up to E.

    utility: -beta u_i p_i. redundancy: for each task, 1/2 lam S_ij p_i p_j, with itself too. coverage: for each task,
    what this one's part of the exposure lowers the loss by, times the target weight (they add up to E less the losses
    without training: Aumann & Shapley 1974, for losses of a sum of exposures). A pairwise energy has no coverage; a
    coverage energy has nothing but that and the prior. prior: tau p_i log(p_i /
    q_i). constraints: for each constraint on several tasks that binds, what it adds to this task's slope. slope:
    dE/dp_i with those; budget_price: the slope of tasks between their bounds. bound: "lower", "upper" or "" where the
    weight lies between; bound_price: by how much the energy falls for each unit by which the bound is moved out.
    without: the mixture without this task, None where its lower bounds leave no other; cost_without: by how much its
    energy is higher.
    """

    task: str
    weight: float
    uniform: float
    utility: float
    redundancy: dict[str, float]
    coverage: dict[str, float]
    prior: float
    constraints: dict[str, float]
    slope: float
    budget_price: float
    bound: str
    bound_price: float
    without: dict[str, float] | None
    cost_without: float

    @property
    def energy(self) -> float:
        """The task's share of E(p)."""
        return self.utility + sum(self.redundancy.values()) + sum(self.coverage.values()) + self.prior

    def __str__(self) -> str:
        return " ".join(_sentences(self))


def sensitivity(network: Explained, solution: Solution | ArrayLike) -> Sensitivity:
    """The derivatives of a minimiser; see `Sensitivity`.

    Raises:
        InputError: no point, or one of another size.
    """
    p = given_mixture(network, solution)
    free = (p > network.lower + AT_BOUND) & (p < network.upper - AT_BOUND)
    slope, price = priced_slopes(network, p), budget_price(network, p)
    margin = 1e-9 * (1.0 + float(np.abs(slope[np.isfinite(slope)]).max(initial=0.0)))
    movable = network.lower < network.upper
    undecided = [
        n
        for n, f, s, m in zip(network.names, free, slope, movable, strict=True)
        if m and not f and abs(s - price) <= margin
    ]
    response, unique = _response(network, p, free)
    return Sensitivity(network, p, readonly(free, np.bool_), readonly(response, np.float64), unique, tuple(undecided))


def budget_price(network: MixtureEnergy, mixture: FloatArray) -> float:
    """The slope that tasks between their bounds share; the middle of what is possible where there are none.

    With every task at a bound the price lies anywhere between the largest slope of those at their upper bound and the
    least of those at their lower one.
    """
    slope = priced_slopes(network, mixture)
    movable = network.lower < network.upper
    free = (mixture > network.lower + AT_BOUND) & (mixture < network.upper - AT_BOUND)
    if free.any():
        return float(slope[free] @ mixture[free] / mixture[free].sum())
    at_upper = movable & (mixture >= network.upper - AT_BOUND)
    at_lower = movable & ~at_upper
    ends = [float(slope[at_lower].min())] if at_lower.any() else []
    ends += [float(slope[at_upper].max())] if at_upper.any() else []
    return float(np.mean(ends)) if ends else float(slope.mean())


def priced_slopes(network: MixtureEnergy, mixture: FloatArray) -> FloatArray:
    """(n,) the gradient of the energy, and of the constraints on several tasks at what they cost."""
    matrix, prices = _priced(network, mixture)
    return np.asarray(network.gradient(mixture) + matrix.T @ prices)


def multipliers_of(network: MixtureEnergy, mixture: FloatArray) -> FloatArray:
    """(m,) what each of `network.coupling_rows` costs at a minimiser: energy for each unit of its limit."""
    return _priced(network, mixture)[1]


def _priced(network: MixtureEnergy, mixture: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The constraints on several tasks as rows (see `taskpgm.duals`), and their multipliers."""
    matrix, limits = tangents(network, mixture)
    gradient = np.where(network.lower < network.upper, network.gradient(mixture), 0.0)
    return matrix, multipliers(network, gradient, matrix, limits)


def explain(network: Explained, solution: Solution | ArrayLike, task: str) -> Explanation:
    """Why `task` has the weight that it has; `print` it for words.

    Raises:
        InputError: no task of that name, or a solution without a point.
    """
    if task not in network.names:
        raise InputError(f"there is no task {task!r}; tasks are {', '.join(map(repr, network.names[:8]))}.")
    p, i = given_mixture(network, solution), network.names.index(task)
    matrix, prices = _priced(network, p)
    pulls = {
        row.name: float(pull)
        for row, pull in zip(network.coupling_rows, matrix[:, i] * prices, strict=True)
        if pull != 0.0
    }
    slope, price = float(network.gradient(p)[i]) + sum(pulls.values()), budget_price(network, p)
    bound = "lower" if p[i] <= network.lower[i] + AT_BOUND else "upper" if p[i] >= network.upper[i] - AT_BOUND else ""
    utility, redundancy, coverage = energy_shares(network, p, i)
    without, cost = _without(network, p, i)
    prior = float(network.tau * relative_entropy(p[[i]], network.prior[[i]])[0]) if network.tau > 0.0 else 0.0
    return Explanation(
        task,
        float(p[i]),
        1.0 / len(network),
        utility,
        redundancy,
        coverage,
        prior,
        pulls,
        slope,
        price,
        bound,
        {"lower": slope - price, "upper": price - slope, "": 0.0}[bound],
        without,
        cost,
    )


def given_mixture(network: MixtureEnergy, solution: Solution | ArrayLike) -> FloatArray:
    """(n,) the weights of a solution, or the weights themselves."""
    point = solution.point if isinstance(solution, Solution) else solution
    if point is None or np.shape(point) != (len(network),):
        raise InputError(f"no mixture of {len(network)} tasks to explain: solve the network first.")
    return np.array(point, dtype=np.float64)


def _response(network: MixtureEnergy, p: FloatArray, free: NDArray[np.bool_]) -> tuple[FloatArray, bool]:
    """(n, n) d p / d b where the energy has the linear term -b'p, and whether the free weights are determined."""
    n, places = len(p), np.flatnonzero(free)
    response = np.zeros((n, n))
    if len(places) < 2:
        return response, True
    matrix, prices = _priced(network, p)
    hessian = network.smooth_hessian(p)[np.ix_(places, places)]
    entropic = network.tau + float(prices[len(network.halfspaces) :].sum())
    if entropic > 0.0:
        hessian = hessian + np.diag(entropic / p[places])
    from scipy.linalg import null_space

    basis = null_space(np.vstack([np.ones(len(places)), matrix[prices > 0.0][:, places]])).T
    if not len(basis):
        return response, True
    reduced = basis @ hessian @ basis.T  # movements of the free weights that keep their sum and what binds
    values, vectors = np.linalg.eigh(reduced)
    usable = values > SINGULAR * max(float(np.abs(values).max()), 1e-300)
    inverse = (vectors[:, usable] / values[usable]) @ vectors[:, usable].T
    response[np.ix_(places, places)] = basis.T @ inverse @ basis
    return response, bool(usable.all())


def _without(network: Explained, p: FloatArray, i: int) -> tuple[dict[str, float] | None, float]:
    """The best mixture of the other tasks, and how much more energy it has."""
    lower, upper = network.lower.copy(), network.upper.copy()
    lower[i] = upper[i] = 0.0
    try:
        solution = solve(network.changed(lower=lower, upper=upper), convex_method(network))
    except InputError:  # the others alone cannot keep the bounds
        return None, np.inf
    if solution.point is None:
        return None, np.inf
    weights = {name: float(weight) for name, weight in zip(network.names, solution.point, strict=True)}
    del weights[network.names[i]]
    return weights, solution.energy - network.energy(p)


def _sentences(why: Explanation) -> list[str]:
    compared = why.weight / why.uniform
    said = [f"{why.task} gets {why.weight:.1%} of the budget, {compared:.2f} times a uniform share."]
    said += _of_coverage(why) if why.coverage else _of_redundancy(why)
    if why.bound:
        side = "floor" if why.bound == "lower" else "ceiling"
        direction = "below" if why.bound == "lower" else "above"
        change = -0.01 * why.bound_price
        said.append(f"It is at its {side}: each percent {direction} it would change the energy by {change:.3g}.")
    else:
        said.append("It lies between its bounds: one percent more would cost here what it saves elsewhere.")
    for name, pull in why.constraints.items():
        effect = "holds it back" if pull > 0.0 else "lifts it"
        said.append(f"A constraint {effect}: {name}.")
    if why.without is not None:
        said.append(f"Without it the best mixture's energy is higher by {why.cost_without:.3g}.")
    return said


def _of_redundancy(why: Explanation) -> list[str]:
    own = why.redundancy[why.task]
    total = sum(why.redundancy.values())
    said = [f"Its utility takes {-why.utility:.3g} off the energy, redundancy adds {total:.3g}."]
    named = _most(why.redundancy, why.task, total)
    if named:
        said.append(f"Of that redundancy {own / total:.0%} is with itself, and with {named}.")
    return said


def _of_coverage(why: Explanation) -> list[str]:
    own = -why.coverage[why.task]
    falls = {name: -fall for name, fall in why.coverage.items()}
    total = sum(falls.values())
    said = [f"Its examples take {total:.3g} nats off the mean loss."]
    named = _most(falls, why.task, total)
    if named:
        said.append(f"Of that {own / total:.0%} is its own loss, and that of {named}.")
    return said


def _most(shares: Mapping[str, float], task: str, total: float) -> str:
    """The other tasks with the largest shares, in words."""
    others = {name: share for name, share in shares.items() if name != task}
    most = sorted(others.items(), key=_share, reverse=True)[:SHOWN]
    return ", ".join(f"{name} ({share / total:.0%})" for name, share in most if total > 0.0 and share > 0.005 * total)


def _share(item: tuple[str, float]) -> float:
    return item[1]
