"""The best mixture of an energy that is not convex, and a bound on what any other could have.

The mixture is found by branch and bound on whole quanta, and by exchanges of weight between two tasks from there and
from many other starts. The bound is that of the doubly nonnegative relaxation: with p = lower + m y, the energy is y'Qy
on the simplex, and for every N >= 0 and every number b

    y'Qy >= y'(Q - N)y >= b + min(0, least eigenvalue of Q - N - b 11'),

whatever solver proposed N and b (a standard quadratic program; Bomze & de Klerk 2002). Upper bounds u enter by the
products (u_i - y_i) y_j, which are not negative, with multipliers in the same way. The bounds of the convex networks
nearby (`taskpgm.curvature`) are taken where they are better.

    found = global_solution(network)
    found.mixture, found.energy, found.bound
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from taskpgm.curvature import projected, shifted
from taskpgm.inference import BranchAndBound, SimplexQP, solve
from taskpgm.inference.active_set import into_bounds
from taskpgm.judge import GAP_TOLERANCE
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, Solution, Status, readonly

STARTS = 50
EXCHANGES = 10_000
QUANTA = 12
LARGEST = 120  # tasks up to which the relaxation is solved
ACCURACY = 1e-7
LEAST_SAVING = 1e-15
LEAST_ROOM = 1e-12
ROUNDING = 1e-9


def global_solution(
    network: TaskNetwork, *, quanta: int = QUANTA, deadline: float = 10.0, starts: int = STARTS, seed: int = 0
) -> Solution:
    """The best mixture found, with a bound on the least energy.

    Args:
        network: convex or not; with bounds on single tasks only, and no KL term.
        quanta: parts of the budget for the branch and bound.
        deadline: seconds for the branch and bound, and again for the relaxation.
        starts: how many random mixtures to start exchanges from.
        seed: of their generator.

    Raises:
        InputError: a KL term, or constraints on several tasks.
    """
    if network.tau > 0.0 or not network.only_bounds:
        raise InputError("a global solution takes neither a KL term nor constraints on several tasks: leave them out.")
    found = [exchanged(network, start) for start in _starts(network, quanta, deadline, starts, seed)]
    best = min(found, key=network.energy)
    energy = network.energy(best)
    bound = min(energy, lower_bound(network, deadline=deadline))
    status = Status.optimal if energy - bound <= GAP_TOLERANCE else Status.bound
    return Solution("global-solution", status, readonly(best, np.float64), energy, bound, energy - bound)


def exchanged(network: TaskNetwork, start: FloatArray) -> FloatArray:
    """A mixture that no exchange of weight between two tasks improves, from a feasible one.

    Each exchange is the one that lowers the energy most, to where it is least or as far as the bounds let.
    """
    p, hessian = np.array(start, dtype=np.float64), network.smooth_hessian(start)
    diagonal = np.diag(hessian)
    bend = diagonal[:, None] + diagonal[None, :] - 2.0 * hessian  # [taker, giver]
    for _ in range(EXCHANGES):
        slope = network.gradient(p)
        rate = slope[None, :] - slope[:, None]
        most = np.maximum(np.minimum((network.upper - p)[:, None], (p - network.lower)[None, :]), 0.0)
        curved = bend > 0.0
        step = np.where(curved, np.clip(rate / np.where(curved, bend, 1.0), 0.0, most), most)
        saved = rate * step - 0.5 * bend * step**2
        taker, giver = np.unravel_index(int(saved.argmax()), saved.shape)
        if saved[taker, giver] <= LEAST_SAVING * network.scale:
            break
        moved = float(step[taker, giver])
        p[taker] = min(p[taker] + moved, network.upper[taker])
        p[giver] = max(p[giver] - moved, network.lower[giver])
    return into_bounds(p, network)


def _starts(network: TaskNetwork, quanta: int, deadline: float, starts: int, seed: int) -> Iterator[FloatArray]:
    """The best mixture in whole quanta, the uniform one, and random ones of few tasks and of many."""
    room = 1.0 - float(network.lower.sum())
    upper = np.minimum((network.upper - network.lower) / max(room, LEAST_ROOM), 1.0)
    if np.floor(upper * quanta + ROUNDING).sum() >= quanta:
        solution = solve(_above_lower(network, room, upper).levels(quanta), BranchAndBound(), deadline=deadline)
        if solution.point is not None:
            yield network.lower + room * solution.point / quanta
    n, rng = len(network), np.random.default_rng(seed)
    yield into_bounds(np.full(n, 1.0 / n), network)
    for sparsity in np.geomspace(0.05, 1.0, starts):
        yield into_bounds(rng.dirichlet(np.full(n, sparsity)), network)


def _above_lower(network: TaskNetwork, room: float, upper: FloatArray) -> TaskNetwork:
    """The energy of y with p = lower + room y, but for a constant: a plain simplex with upper bounds."""
    utility = room * (network.beta * network.utility - network.lam * network.similarity @ network.lower)
    return TaskNetwork(utility, room**2 * network.lam * network.similarity, network.names, upper=upper)


def lower_bound(network: TaskNetwork, *, deadline: float = 10.0) -> float:
    """A bound on the energy of every mixture: the best of the relaxation's and of the convex networks nearby."""
    nearby = (shifted(network), projected(network))
    bounds = [near.least_energy_between(solve(near.network, SimplexQP()))[0] for near in nearby]
    room = 1.0 - float(network.lower.sum())
    if len(network) <= LARGEST and room > LEAST_ROOM:
        upper = np.minimum((network.upper - network.lower) / room, 1.0)
        plain = _above_lower(network, room, np.ones(len(network)))
        form = 0.5 * (plain.similarity - plain.utility[:, None] - plain.utility[None, :])
        bounds.append(network.energy(network.lower) + standard_bound(form, upper, deadline))
    return max(bounds)


def standard_bound(form: FloatArray, upper: FloatArray, deadline: float = 10.0) -> float:
    """A lower bound on y'Qy over the y <= upper of the simplex; checked here, whatever the solver did.

    form: (n, n) symmetric Q. upper: (n,).
    """
    import cvxpy as cp

    n, size = len(form), float(np.abs(form).max()) or 1.0
    lifted = cp.Variable((n, n), PSD=True)
    positive, whole = lifted >= 0.0, cp.sum(lifted) == 1.0
    capped = np.flatnonzero(upper < 1.0)
    below = [cp.outer(upper[capped], cp.sum(lifted, axis=0)) - lifted[capped] >= 0.0] if len(capped) else []
    program = cp.Problem(cp.Minimize(cp.trace(form / size @ lifted)), [positive, whole, *below])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "solution may be inaccurate": the bound is computed from it, not believed
        try:
            program.solve(solver="SCS", eps=ACCURACY, max_iters=20_000, time_limit_secs=max(deadline, 1e-3))
        except cp.error.SolverError:
            return float(form.min())  # the least entry is below every weighted mean of the entries
    if positive.dual_value is None or program.value is None:
        return float(form.min())
    dual = np.maximum(positive.dual_value, 0.0)
    if len(capped):
        caps = np.zeros((n, n))
        caps[capped] = np.maximum(below[0].dual_value, 0.0)
        dual = dual + (upper @ caps)[:, None] - caps  # y'Dy = sum of multipliers (u_i - y_i) y_j, as sum y = 1
    rest = form - size * 0.5 * (dual + dual.T)
    guesses = [size * float(guess) for guess in (program.value, -whole.dual_value) if np.isfinite(guess)]
    rounding = 16.0 * n * np.finfo(np.float64).eps * size
    return max([float(form.min()), *(guess + _least_of(rest - guess) - rounding for guess in guesses)])


def _least_of(matrix: FloatArray) -> float:
    """A lower bound on y'My over the simplex, where |y|^2 lies between 1 / n and 1."""
    least = float(np.linalg.eigvalsh(matrix)[0])
    return least if least < 0.0 else least / len(matrix)
