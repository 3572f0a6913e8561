"""The strongest relaxation here: products of indicators as a matrix that is positive semidefinite and nonnegative.

With y = (1, one indicator for each state of each node), the matrix yy' of an assignment is positive semidefinite,
nonnegative, its diagonal equals its first row, different states of one node never meet, and what vanishes on y (each
node's indicators less 1, the levels less the budget) vanishes on it. Minimising <C, Y> over all such Y bounds the
energy from below (Lovasz & Schrijver 1991; Burer 2009), whether or not the couplings are definite, and at least as well
as the linear program of `taskpgm.inference.local_polytope`.

It is solved by splitting (Oliveira, Wolkowicz & Xu 2018): Y = QRQ' with R positive semidefinite on one side, the
entries of Y on the other, one eigendecomposition a step. cvxpy, with CLARABEL or SCS, solves the same program as it is
written, for comparison. Any matrix of multipliers gives a bound that is right whatever the solver did, so it can be
stopped at any time: see `taskpgm.inference.lifting`.

    solution = solve(network.levels(quanta=8, cap=1), DoublyNonnegative(), deadline=10)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from taskpgm.inference.decoding import most_agreeing
from taskpgm.inference.lifting import Lifting
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.judge import gap_tolerance
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray

EVERY = 50  # steps between two looks at the bound
STEP = 1.618  # of the multipliers: below the golden ratio splitting converges
SETTLED = 1e-9
CVXPY_LIMIT = 70


@dataclass(frozen=True)
class DoublyNonnegative(Method):
    """Up to `iterations` steps of splitting, or one call of cvxpy, on matrices of up to the order `limit`.

    solver: "splitting", or one of cvxpy's: "CLARABEL" or "SCS". stats["order"] is the order of the semidefinite
    matrix: 1 + all states - the number of nodes, less 1 for a budget; stats["iterations"] counts steps of splitting.
    """

    solver: Literal["splitting", "CLARABEL", "SCS"] = "splitting"
    iterations: int = 5000
    limit: int = 200

    name: ClassVar[str] = "doubly-nonnegative"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = False

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        order = 1 + int((problem.states - 1).sum()) - (problem.budget is not None)
        if order > self.limit:
            return f"a semidefinite matrix of order {order}; takes up to {self.limit}: use fewer quanta or a lower cap"
        if self.solver != "splitting" and order > CVXPY_LIMIT:
            return f"a semidefinite matrix of order {order}; cvxpy is given up to {CVXPY_LIMIT}: use 'splitting'"
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        form = Lifting.of(problem)
        best, energy, bound, steps = None, np.inf, -np.inf, 0
        found = _split(form, self.iterations) if self.solver == "splitting" else _program(form, self.solver, deadline)
        for step, lifted, shift in found:
            steps, last, least = step, bound, energy
            bound = max(bound, form.bound(shift))
            point = most_agreeing(problem, form.marginals(lifted))
            if point is None:
                return Answer(None, message="no assignment keeps the budget")
            if problem.energy(point) < energy:
                best, energy = point, problem.energy(point)
            if bound > last or energy < least:
                deadline.note(best, bound)
            if deadline.passed() or energy - bound <= 0.5 * gap_tolerance(problem, energy):
                break
        stats = {"order": form.order, "iterations": steps, "solver": self.solver}
        return Answer(best, bound, not deadline.passed(), "", stats)


Step = tuple[int, FloatArray, FloatArray]  # number, matrix of products, multipliers


def _split(form: Lifting, iterations: int) -> Iterator[Step]:
    """Splitting with an adaptive penalty, seen every now and then."""
    basis, size = form.basis, len(form.cost)
    lifted, shift, penalty = _independent(form), np.zeros((size, size)), 0.1
    yield 0, lifted, shift
    for step in range(1, iterations + 1):
        values, vectors = np.linalg.eigh(basis.T @ (lifted + shift / penalty) @ basis)
        values = _onto_simplex(values, form.length)
        kept = values > 0.0
        root = (basis @ vectors[:, kept]) * np.sqrt(values[kept])
        definite = root @ root.T
        before, lifted = lifted, _admissible(form, definite - (form.cost + shift) / penalty)
        apart = lifted - definite
        shift = shift + STEP * penalty * apart
        shift = 0.5 * (shift + shift.T)
        if step % EVERY == 0:
            yield step, lifted, shift
            primal, dual = float(np.linalg.norm(apart)), penalty * float(np.linalg.norm(lifted - before))
            if max(primal, dual) <= SETTLED * size:
                return
            if step % (2 * EVERY) == 0 and max(primal, dual) > 5.0 * min(primal, dual):
                penalty *= 1.5 if primal > dual else 1.0 / 1.5


def _independent(form: Lifting) -> FloatArray:
    """The products of independent nodes, all of whose states are as probable."""
    y = np.concatenate([[1.0], np.repeat(1.0 / form.network.states, form.network.states)])
    lifted = np.outer(y, y)
    lifted[form.same] = 0.0
    np.fill_diagonal(lifted, y)
    return lifted


def _admissible(form: Lifting, target: FloatArray) -> FloatArray:
    """The nearest matrix with entries in [0, 1], its diagonal its first row, and zeros within the nodes."""
    lifted = np.clip(target, 0.0, 1.0)
    lifted[form.same] = 0.0
    shares = np.clip((np.diag(target) + 2.0 * target[0]) / 3.0, 0.0, 1.0)
    shares[0] = 1.0
    lifted[0], lifted[:, 0] = shares, shares
    np.fill_diagonal(lifted, shares)
    return lifted


def _onto_simplex(values: FloatArray, total: float) -> FloatArray:
    """The nearest nonnegative numbers that add up to `total` (Held, Wolfe & Crowder 1974)."""
    falling = np.sort(values)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(values) + 1)
    last = int(np.flatnonzero(falling > excess)[-1])
    return np.asarray(np.maximum(values - excess[last], 0.0))


def _program(form: Lifting, solver: str, deadline: Deadline) -> Iterator[Step]:
    """The program as it is written, by cvxpy; the multipliers are put together from its dual variables."""
    import cvxpy as cp

    size, same = len(form.cost), form.same.astype(np.float64)
    yield 0, _independent(form), np.zeros((size, size))
    without_first = _without_first_states(form)
    products = cp.Variable((without_first.shape[1],) * 2, PSD=True)
    lifted = without_first @ products @ without_first.T
    one, diagonal = lifted[0, 0] == 1.0, cp.diag(lifted) == lifted[0, :]
    apart, entries = cp.multiply(same, lifted) == 0.0, lifted >= 0.0
    constraints = [one, diagonal, apart, entries, (form.rows @ without_first) @ products == 0.0]
    problem = cp.Problem(cp.Minimize(cp.trace(form.cost @ lifted)), constraints)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "solution may be inaccurate": the bound does not depend on it
        try:
            problem.get_problem_data(solver)  # what takes time before the solver begins
            problem.solve(solver=solver, **_options(solver, deadline.left()))
        except cp.error.SolverError:
            return
    duals = [constraint.dual_value for constraint in (one, diagonal, apart, entries)]
    if products.value is None or any(dual is None or not np.isfinite(dual).all() for dual in duals):
        return
    total = duals[3] - same * duals[2] - np.diag(duals[1])
    total[0] += 0.5 * duals[1]
    total[:, 0] += 0.5 * duals[1]
    total[0, 0] -= float(duals[0])
    yield 0, np.asarray(lifted.value), 0.5 * (total + total.T) - form.cost


def _without_first_states(form: Lifting) -> Any:
    """(N, r) what gives y from the 1 and the indicators of all but each node's first state."""
    from scipy.sparse import csr_matrix

    first = np.isin(np.arange(len(form.cost)), form.starts)
    whole = np.eye(len(form.cost))
    for start, states in zip(form.starts.tolist(), form.network.states.tolist(), strict=True):
        whole[start, 0] = 1.0
        whole[start, start + 1 : start + states] = -1.0
    return csr_matrix(whole[:, ~first])


def _options(solver: str, seconds: float) -> dict[str, Any]:
    options: dict[str, Any] = {} if solver == "CLARABEL" else {"eps_abs": 1e-7, "eps_rel": 1e-7}
    if np.isfinite(seconds):
        options["time_limit" if solver == "CLARABEL" else "time_limit_secs"] = max(seconds, 1e-3)
    return options
