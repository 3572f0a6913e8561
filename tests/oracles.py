"""Slow, obvious answers that the tests trust: loops, enumeration of all faces or points, and two foreign QP solvers.

None of them uses the package's own solvers, certificate or bounds, only the numbers that define a problem.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from scipy import sparse

from taskpgm.coverage import CoverageNetwork, Curves
from taskpgm.envelope_curves import EnvelopeCurves
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.separable import SeparableNetwork
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray


def energy_by_loops(network: TaskNetwork, mixture: Sequence[float]) -> float:
    """E(p) as written in the design: sums over tasks and pairs of tasks, in plain Python."""
    n, total = len(network), 0.0
    for i in range(n):
        total -= network.beta * float(network.utility[i]) * float(mixture[i])
        for j in range(n):
            total += 0.5 * network.lam * float(network.similarity[i, j]) * float(mixture[i]) * float(mixture[j])
        if network.tau > 0.0 and mixture[i] > 0.0:
            total += network.tau * float(mixture[i]) * math.log(float(mixture[i]) / float(network.prior[i]))
    return total


def energy_in_fractions(network: TaskNetwork, mixture: Sequence[Fraction]) -> Fraction:
    """E(p) exactly; without a KL term."""
    linear = sum((Fraction(float(u)) * p for u, p in zip(network.utility, mixture, strict=True)), Fraction(0))
    quadratic = Fraction(0)
    for row, p in zip(network.similarity, mixture, strict=True):
        quadratic += p * sum((Fraction(float(s)) * q for s, q in zip(row, mixture, strict=True)), Fraction(0))
    return -Fraction(network.beta) * linear + Fraction(network.lam) * quadratic / 2


def energy_scale(network: TaskNetwork) -> float:
    """How large the terms of the energy get: what rounding errors and solver tolerances are relative to."""
    quadratic = network.lam * float(np.abs(network.similarity).max())
    return abs(network.beta) * float(np.abs(network.utility).max()) + quadratic + network.tau + 1e-300


def least_energy(network: TaskNetwork) -> float:
    """The least energy of a small network: by faces, or by Newton steps where a KL term keeps it off them."""
    return least_energy_by_faces(network) if network.tau == 0.0 else least_energy_by_newton(network)


def least_energy_by_faces(network: TaskNetwork) -> float:
    """The least energy over the bounded simplex, convex or not, from the stationary points of all its 3^n faces."""
    n, best = len(network), np.inf
    for sides in itertools.product((0, 1, 2), repeat=n):
        side = np.array(sides)
        p = np.where(side == 1, network.upper, network.lower)
        free = np.flatnonzero(side == 2)
        if len(free):
            p = _stationary(network, p, free)
        if network.violation(p) <= 1e-10:
            best = min(best, energy_by_loops(network, p.tolist()))
    return best


def _stationary(network: TaskNetwork, p: FloatArray, free: np.ndarray) -> FloatArray:
    """p with its free weights where the gradient is constant and the sum is 1 (least squares: may be infeasible)."""
    m, rest = len(free), np.setdiff1d(np.arange(len(p)), free)
    unit = float(np.abs(network.lam * network.similarity).max()) or 1.0
    system = np.zeros((m + 1, m + 1))
    system[:m, :m] = network.lam * network.similarity[np.ix_(free, free)] / unit
    system[:m, m] = system[m, :m] = 1.0
    pull = network.lam * network.similarity[np.ix_(free, rest)] @ p[rest]
    right = np.append((network.beta * network.utility[free] - pull) / unit, 1.0 - p[rest].sum())
    answer = p.copy()
    answer[free] = np.linalg.lstsq(system, right, rcond=1e-12)[0][:m]
    return answer


def least_energy_by_newton(network: TaskNetwork) -> float:
    """The least energy with a KL term and no bounds, by plain damped Newton steps on the weights."""
    assert network.tau > 0.0
    assert not network.lower.any()
    assert network.upper.min() == 1.0
    n, p = len(network), network.prior
    energy = energy_by_loops(network, p.tolist())
    for _ in range(200):
        slope = -network.beta * network.utility + network.lam * network.similarity @ p
        slope += network.tau * (np.log(p / network.prior) + 1.0)
        root = np.sqrt(p)  # scaled by the roots of the weights, the Hessian of the KL term is tau
        system = np.zeros((n + 1, n + 1))
        system[:n, :n] = network.lam * network.similarity * np.outer(root, root) + network.tau * np.eye(n)
        system[:n, n] = system[n, :n] = root
        step = root * np.linalg.solve(system, np.append(-slope * root, 1.0 - p.sum()))[:n]
        length = min(1.0, 0.95 / max(float((-step / p).max()), 1e-300))
        while length > 1e-12 and energy_by_loops(network, (p + length * step).tolist()) > energy:
            length *= 0.5
        if length <= 1e-12:
            break
        p = p + length * step
        energy = energy_by_loops(network, p.tolist())
        if np.abs(step).max() < 1e-13:
            break
    return energy


def coverage_energy_by_loops(network: CoverageNetwork, mixture: Sequence[float]) -> float:
    """The coverage energy as written in the design, in plain Python."""
    n, total = len(network), 0.0
    for j in range(n):
        exposure = 0.0
        for i in range(n):
            part = float(network.transfer[i, j]) * float(mixture[i]) / float(network.lengths[i])
            exposure += network.budget * part
        total += float(network.target_weights[j]) * loss_by_loops(network.curves, j, exposure)
        own = network.budget * float(mixture[j]) / float(network.lengths[j])
        total += float(network.target_weights[j]) * float(network.forgetting[j]) / (1.0 + own / 40.0) ** 4
        if network.tau > 0.0 and mixture[j] > 0.0:
            total += network.tau * float(mixture[j]) * math.log(float(mixture[j]) / float(network.prior[j]))
    return total


def loss_by_loops(curves: Curves, j: int, exposure: float) -> float:
    """One task's learning curve."""
    if isinstance(curves, EnvelopeCurves):
        return rounded_envelope(curves, j, exposure)
    total = 0.0
    for k in range(curves.weights.shape[1]):
        fall = (1.0 + exposure / float(curves.scales[j, k])) ** -float(curves.powers[j, k])
        total += float(curves.weights[j, k]) * (float(curves.floors[j, k]) + float(curves.drops[j, k]) * fall)
    return total


def rounded_envelope(curves: EnvelopeCurves, j: int, exposure: float) -> float:
    """A task's lower hull by always going the steepest way down, its corners rounded over a quarter of a side."""
    points = list(zip(curves.exposures[j].tolist(), curves.seen[j].tolist(), strict=True))
    lowest = min(loss for _, loss in points)
    hull = [points[0]]
    while hull[-1][1] > lowest:
        x, y = hull[-1]
        hull.append(min((p for p in points if p[0] > x), key=lambda p: ((p[1] - y) / (p[0] - x), -p[0])))
    sides = [(b[0] - a[0], (b[1] - a[1]) / (b[0] - a[0])) for a, b in itertools.pairwise(hull)] + [(math.inf, 0.0)]
    value = hull[0][1]
    for (corner, _), (length, slope) in zip(hull, sides, strict=True):
        value += slope * min(max(exposure - corner, 0.0), length) if slope else 0.0
    for (corner, _), (before, steep), (after, flat) in zip(hull[1:], sides[:-1], sides[1:], strict=True):
        width, away = 0.25 * min(before, after), abs(exposure - corner)
        if away < width:
            value += (flat - steep) * (width - away) ** 2 / (4.0 * width)
    return value


def least_coverage_energy(network: CoverageNetwork) -> float:
    """The least energy of two tasks, by golden section on the first weight."""
    assert len(network) == 2
    low = max(float(network.lower[0]), 1.0 - float(network.upper[1]))
    high = min(float(network.upper[0]), 1.0 - float(network.lower[1]))

    def at(share: float) -> float:
        return coverage_energy_by_loops(network, [share, 1.0 - share])

    golden = 0.5 * (math.sqrt(5.0) - 1.0)
    a, b = low, high
    for _ in range(200):
        left, right = b - golden * (b - a), a + golden * (b - a)
        a, b = (a, right) if at(left) < at(right) else (left, b)
    return min(at(low), at(high), at(0.5 * (a + b)))


def expected_energy_by_loops(network: SeparableNetwork | TransferNetwork, mixture: Sequence[float]) -> float:
    """Expected losses as written in their modules, with or without a graph, in plain Python."""
    curves, total = network.curves, 0.0
    for j, p in enumerate(map(float, mixture)):
        share = p
        if isinstance(network, TransferNetwork):
            share = sum(float(network.transfer[i, j]) * float(other) for i, other in enumerate(mixture))
        exposure = float(network.done[j]) + float(network.remaining) * share
        for k in range(curves.weights.shape[1]):
            raised = (exposure / float(curves.scales[j, k])) ** float(curves.steepness[j, k])
            fall = (1.0 + raised) ** -float(curves.powers[j, k])
            loss = float(curves.floors[j, k]) + float(curves.drops[j, k]) * fall
            total += float(network.target_weights[j]) * float(curves.weights[j, k]) * loss
        if network.tau > 0.0 and p > 0.0:
            total += network.tau * p * math.log(p / float(network.prior[j]))
    return total


def least_expected_energy(network: SeparableNetwork | TransferNetwork) -> float:
    """The least energy of two tasks: a fine scan of the first weight, then golden section around its best points."""
    assert len(network) == 2
    low = max(float(network.lower[0]), 1.0 - float(network.upper[1]))
    high = min(float(network.upper[0]), 1.0 - float(network.lower[1]))

    def at(share: float) -> float:
        return expected_energy_by_loops(network, [share, 1.0 - share])

    shares = [low + (high - low) * k / 4_000 for k in range(4_001)]
    golden, best = 0.5 * (math.sqrt(5.0) - 1.0), math.inf
    for share in sorted(shares, key=at)[:10]:
        a, b = max(low, share - (high - low) / 4_000), min(high, share + (high - low) / 4_000)
        for _ in range(100):
            left, right = b - golden * (b - a), a + golden * (b - a)
            a, b = (a, right) if at(left) < at(right) else (left, b)
        best = min(best, at(share), at(0.5 * (a + b)))
    return best


def level_points(levels: LevelsNetwork) -> Iterator[tuple[int, ...]]:
    """Every feasible point, by walking the whole box."""
    ranges = [range(low, high + 1) for low, high in zip(levels.minimum, levels.maximum, strict=True)]
    return (x for x in itertools.product(*ranges) if sum(x) == levels.quanta)


def level_energies(levels: LevelsNetwork) -> list[float]:
    """The energy of every feasible point, each by loops."""
    return [energy_by_loops(levels.network, [x / levels.quanta for x in point]) for point in level_points(levels)]


# ------------------------------------------------------------------------------------------------ pairwise networks


def pairwise_energy_by_loops(network: PairwiseNetwork, states: Sequence[int]) -> float:
    """E(s) as the sum that defines it, exactly rounded once."""
    terms = [network.constant]
    terms += [float(network.unary[i][s]) for i, s in enumerate(states)]
    for (i, j), table in zip(network.edges.tolist(), network.tables, strict=True):
        terms.append(float(table[states[i], states[j]]))
    return math.fsum(terms) if all(map(math.isfinite, terms)) else math.inf


def pairwise_points(network: PairwiseNetwork) -> list[tuple[int, ...]]:
    """Every assignment that keeps the budget, forbidden ones included."""
    ranges = [range(count) for count in network.states.tolist()]
    points = itertools.product(*ranges)
    if network.budget is None:
        return list(points)
    levels = [values.tolist() for values in network.levels]
    return [s for s in points if sum(values[k] for values, k in zip(levels, s, strict=True)) == network.budget]


def least_pairwise_energy(network: PairwiseNetwork) -> float:
    """The least energy of all assignments that keep the budget; infinite where all are forbidden."""
    return min((pairwise_energy_by_loops(network, s) for s in pairwise_points(network)), default=math.inf)


def pairwise_marginals(network: PairwiseNetwork) -> tuple[list[FloatArray], list[FloatArray], float]:
    """(node marginals, edge marginals, log Z) of exp(-E), by adding up every assignment."""
    points = pairwise_points(network)
    energies = np.array([pairwise_energy_by_loops(network, s) for s in points])
    least = float(energies.min())
    weights = np.exp(least - energies)
    total = float(weights.sum())
    nodes = [np.zeros(count) for count in network.states.tolist()]
    pairs = [np.zeros(table.shape) for table in network.tables]
    for s, weight in zip(points, weights / total, strict=True):
        for i, k in enumerate(s):
            nodes[i][k] += weight
        for e, (i, j) in enumerate(network.edges.tolist()):
            pairs[e][s[i], s[j]] += weight
    return nodes, pairs, math.log(total) - least


def _quadratic_program(network: TaskNetwork) -> tuple[FloatArray, FloatArray, float]:
    """P, q and a constant with E(p) = 1/2 p'Pp + q'p + constant on the simplex, P definite where E is convex there.

    With p = d + 1/n and d = Cp the part of p that sums to zero, p'Sp = d'Sd + 2/n 1'Sd + 1'S1 / n^2.
    """
    n = len(network)
    centring, s = np.eye(n) - 1.0 / n, network.similarity
    hessian = network.lam * centring @ s @ centring
    linear = network.lam * centring @ s.mean(axis=1) - network.beta * network.utility
    return 0.5 * (hessian + hessian.T), linear, 0.5 * network.lam * float(s.mean())


def least_energy_by_osqp(network: TaskNetwork) -> float:
    """The objective that OSQP reaches, called through its own package."""
    import osqp

    n, unit = len(network), energy_scale(network)
    hessian, linear, constant = _quadratic_program(network)
    rows = sparse.csc_matrix(np.vstack([np.ones(n), np.eye(n)]))
    solver = osqp.OSQP()
    solver.setup(
        P=sparse.csc_matrix(np.triu(hessian / unit)),
        q=linear / unit,
        A=rows,
        l=np.append(1.0, network.lower),
        u=np.append(1.0, network.upper),
        eps_abs=1e-9,
        eps_rel=1e-9,
        max_iter=100_000,
        polishing=True,
        verbose=False,
    )
    return float(solver.solve(raise_error=True).info.obj_val) * unit + constant


def least_energy_by_highs(network: TaskNetwork) -> float:
    """The objective that HiGHS reaches through its own package, in p - lower: it breaks down on lower bounds."""
    import highspy

    n, unit = len(network), energy_scale(network)
    hessian, linear, constant = _quadratic_program(network)
    model = highspy.HighsModel()
    program = model.lp_
    program.num_col_, program.num_row_ = n, 1
    program.col_cost_ = (hessian @ network.lower + linear) / unit
    program.col_lower_, program.col_upper_ = np.zeros(n), network.upper - network.lower
    program.row_lower_ = program.row_upper_ = np.array([1.0 - network.lower.sum()])
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_, program.a_matrix_.index_ = np.arange(n + 1), np.zeros(n, dtype=np.int32)
    program.a_matrix_.value_ = np.ones(n)
    lower_triangle = sparse.csc_matrix(np.tril(hessian / unit))
    model.hessian_.dim_, model.hessian_.format_ = n, highspy.HessianFormat.kTriangular
    model.hessian_.start_, model.hessian_.index_ = lower_triangle.indptr, lower_triangle.indices
    model.hessian_.value_ = lower_triangle.data
    solver = highspy.Highs()
    solver.silent()
    solver.passModel(model)
    solver.run()
    assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    at_lower = 0.5 * network.lower @ hessian @ network.lower + linear @ network.lower + constant
    return float(solver.getInfo().objective_function_value * unit + at_lower)
