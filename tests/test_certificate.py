"""The certificate is a lower bound for every mixture, exactly and in float64, and SimplexQP closes it.

Optima come from enumerating all faces, and from OSQP and HiGHS called through their own packages.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import (
    energy_in_fractions,
    energy_scale,
    least_energy,
    least_energy_by_faces,
    least_energy_by_highs,
    least_energy_by_osqp,
)
from scipy.optimize import linprog
from strategies import BOUNDS, SEEDS, SIMILARITIES, feasible_mixtures, networks, random_network

from taskpgm.exact import exact_certificate, minimize_linear
from taskpgm.inference import SimplexQP, solve
from taskpgm.inference.convex_program import ConvexProgram
from taskpgm.judge import GAP_TOLERANCE, certificate, judge
from taskpgm.network import TaskNetwork, balanced_beta
from taskpgm.types import FloatArray, InputError, Solution, Status

KINDS = tuple(SIMILARITIES)
ALL_KINDS = (*KINDS, "indefinite")


def balanced(n: int, seed: int, kind: str, *, bounds: str = "none", tau: float = 0.0) -> TaskNetwork:
    """A larger network whose minimiser mixes many tasks."""
    raw = random_network(n, seed, kind)
    beta = balanced_beta(raw.utility, raw.similarity) or 0.05
    return random_network(n, seed, kind, beta=beta, bounds=bounds, tau=tau)


# ----------------------------------------------------------------------------------------------- the bound is a bound


@given(networks(max_tasks=5, kinds=ALL_KINDS), SEEDS)
def test_certificate_bounds_the_least_energy_for_any_mixture(network: TaskNetwork, seed: int) -> None:
    least, rounding = least_energy_by_faces(network), 1e-11 * energy_scale(network)
    for p in feasible_mixtures(network, 4, seed):
        proof = certificate(network, p)
        assert proof.bound <= least + rounding
        assert least <= proof.energy + rounding
        assert proof.gap == pytest.approx(proof.energy - proof.bound, abs=rounding)
        assert proof.violation <= 1e-12


@given(networks(max_tasks=5, bounds=("none",), taus=(0.05, 1.0)), SEEDS)
def test_certificate_with_a_kl_term(network: TaskNetwork, seed: int) -> None:
    least, rounding = least_energy(network), 1e-10 * energy_scale(network)
    p = 0.9 * feasible_mixtures(network, 1, seed)[0] + 0.1 / len(network)
    assert certificate(network, p).bound <= least + rounding
    assert least <= network.energy(p) + rounding
    solution = solve(network, SimplexQP())
    assert solution.bound - rounding <= least <= solution.energy + rounding
    assert solution.gap <= max(GAP_TOLERANCE, rounding)


@given(networks(kinds=("indefinite",), max_tasks=6), SEEDS)
def test_certificate_holds_for_an_indefinite_similarity(network: TaskNetwork, seed: int) -> None:
    n = len(network)
    corners = [minimize_linear((-e).tolist(), network.lower.tolist(), network.upper.tolist()) for e in np.eye(n)]
    points = [*feasible_mixtures(network, 200, seed), *np.array(corners)]
    start = points[0]
    least = min(network.energy(q) for q in points)
    assert certificate(network, start).bound <= least + 1e-12 * energy_scale(network)
    assert exact_certificate(network, start).bound <= Fraction(least) + Fraction(1e-12 * energy_scale(network))


def test_certificate_at_the_border_of_a_kl_term_knows_no_bound() -> None:
    network = random_network(3, 0, tau=1.0)
    assert certificate(network, [0.0, 0.5, 0.5]).bound == -np.inf
    with pytest.raises(InputError, match="positive"):
        exact_certificate(network, [0.0, 0.5, 0.5])


@given(SEEDS, st.integers(2, 7), st.sampled_from(BOUNDS))
def test_minimize_linear_equals_linprog(seed: int, n: int, bounds: str) -> None:
    network = random_network(n, seed, bounds=bounds)
    cost = np.random.default_rng(seed).integers(-3, 4, n).astype(np.float64)  # with ties
    point = np.array(minimize_linear(cost.tolist(), network.lower.tolist(), network.upper.tolist()))
    box = list(zip(network.lower, network.upper, strict=True))
    best = linprog(cost, A_eq=np.ones((1, n)), b_eq=[1.0], bounds=box, method="highs")
    assert network.violation(point) <= 1e-12
    assert cost @ point == pytest.approx(best.fun, abs=1e-10)


# -------------------------------------------------------------------------------------------------- in exact numbers


def fractions_of(p: FloatArray, network: TaskNetwork) -> list[Fraction]:
    """A mixture in exact numbers that sums to exactly 1: what is missing goes where there is the most room."""
    exact = [Fraction(float(x)) for x in p]
    room = np.minimum(p - network.lower, network.upper - p)
    exact[int(room.argmax())] += 1 - sum(exact)
    return exact


@given(networks(kinds=ALL_KINDS, max_tasks=5), SEEDS)
def test_exact_certificate_agrees_with_float64_and_bounds_every_mixture(network: TaskNetwork, seed: int) -> None:
    scale = energy_scale(network)
    start, *others = feasible_mixtures(network, 6, seed)
    proof, approximate = exact_certificate(network, start), certificate(network, start)
    assert float(proof.energy) == pytest.approx(approximate.energy, abs=1e-13 * scale)
    deficit = network.lam * max(0.0, -network.curvature)
    assert float(proof.gap) == pytest.approx(approximate.gap, abs=1e-11 * scale, rel=1e-9 if deficit == 0.0 else 9.0)
    assert proof.gap == proof.energy - proof.bound
    assert 0 <= proof.violation <= Fraction(1, 10**12)
    for q in others:
        exact = fractions_of(q, network)
        if all(low <= x <= high for x, low, high in zip(exact, network.lower, network.upper, strict=True)):
            assert proof.bound <= energy_in_fractions(network, exact)


@given(networks(taus=(0.05, 1.0), max_tasks=5, scales=(1.0,)), SEEDS)
def test_exact_certificate_with_a_kl_term_agrees_with_float64(network: TaskNetwork, seed: int) -> None:
    p = 0.5 * feasible_mixtures(network, 1, seed)[0] + 0.5 * np.array(solve(network, SimplexQP()).point)
    proof, approximate = exact_certificate(network, p), certificate(network, p)
    assert float(proof.energy) == pytest.approx(approximate.energy, abs=1e-12 * energy_scale(network))
    assert float(proof.gap) == pytest.approx(approximate.gap, abs=1e-11 * energy_scale(network))


@pytest.mark.parametrize("kind", KINDS)
def test_exact_certificate_proves_the_solutions_of_a_larger_network(kind: str) -> None:
    network = balanced(60, 7, kind, bounds="both")
    solution = solve(network, SimplexQP())
    assert solution.point is not None
    assert 0 <= float(exact_certificate(network, solution.point).gap) <= 1e-9 * energy_scale(network)


def test_exact_certificate_of_a_bound_sum_that_is_1_only_after_rounding() -> None:
    network = TaskNetwork(np.arange(10.0), np.eye(10), lower=0.1)
    proof = exact_certificate(network, np.full(10, 0.1))
    assert abs(float(proof.gap)) <= 1e-13


# ------------------------------------------------------------------------------------------------------- SimplexQP


@given(networks(max_tasks=5, scales=(1.0, 1e-3, 1e2)))
@example(random_network(2, 0, "duplicated", utility="zero", beta=0.0))
def test_simplex_qp_reaches_the_least_energy(network: TaskNetwork) -> None:
    solution = solve(network, SimplexQP())
    assert solution.status is Status.optimal
    assert solution.gap <= GAP_TOLERANCE
    assert solution.energy == pytest.approx(least_energy_by_faces(network), abs=1e-9 * energy_scale(network))


@given(networks(max_tasks=30, scales=(1.0, 1e-3), taus=(0.0, 0.05, 1.0)))
@settings(max_examples=60)
def test_simplex_qp_closes_the_gap_on_every_kind(network: TaskNetwork) -> None:
    solution = solve(network, SimplexQP())
    assert solution.status is Status.optimal
    assert judge(network, solution).proved


@pytest.mark.parametrize("tau", [0.0, 0.05])
@pytest.mark.parametrize("bounds", ["none", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_simplex_qp_closes_the_gap_at_100_tasks(kind: str, bounds: str, tau: float) -> None:
    network = balanced(100, 11, kind, bounds=bounds, tau=tau)
    solution = solve(network, SimplexQP())
    assert solution.gap <= GAP_TOLERANCE
    assert network.violation(solution.point) <= 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_simplex_qp_closes_the_gap_at_300_tasks(kind: str) -> None:
    assert solve(balanced(300, 13, kind), SimplexQP()).gap <= GAP_TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bounds", BOUNDS)
def test_two_other_solvers_find_the_same_energy(kind: str, bounds: str) -> None:
    network = balanced(25, 5, kind, bounds=bounds)
    energy, scale = solve(network, SimplexQP()).energy, energy_scale(network)
    assert least_energy_by_osqp(network) == pytest.approx(energy, abs=1e-7 * scale)
    assert least_energy_by_highs(network) == pytest.approx(energy, abs=1e-6 * scale)


@pytest.mark.parametrize("kind", ["identity", "full_rank", "exponential_kernel"])
def test_weights_sit_on_their_bounds_exactly(kind: str) -> None:
    network = balanced(100, 1, kind, bounds="lower")
    p = np.array(solve(network, SimplexQP()).point)
    above = p - network.lower
    assert (above == 0.0).any()
    assert not ((above > 0.0) & (above < 1e-12)).any()


@pytest.mark.parametrize(("tau", "bounds"), [(1e-3, "none"), (1.0, "lower"), (1.0, "upper"), (0.05, "both")])
@pytest.mark.parametrize("kind", ["identity", "exponential_kernel", "negative_distances"])
def test_newton_steps_finish_what_one_solver_leaves_with_a_kl_term(kind: str, tau: float, bounds: str) -> None:
    network = random_network(30, 1, kind, beta=0.3, tau=tau, bounds=bounds)
    assert solve(network, SimplexQP(solvers=("CLARABEL",))).gap <= 1e-11 * energy_scale(network)


@pytest.mark.parametrize("iterations", range(1, 9))
def test_an_inaccurate_solver_is_never_believed(iterations: int) -> None:
    network = balanced(30, 1, "full_rank")
    method = SimplexQP(solvers=("CLARABEL",), polish=False, max_iterations=iterations)
    solution = solve(network, method)
    assert solution.stats["solver_status"]["CLARABEL"] != "optimal" or iterations > 5
    assert (solution.status is Status.optimal) == (solution.gap <= GAP_TOLERANCE)
    assert judge(network, solution).proved == (certificate(network, solution.point).gap <= GAP_TOLERANCE)


def test_a_lying_solver_is_never_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(self: ConvexProgram, problem: TaskNetwork, solver: str, **limits: object) -> tuple[FloatArray, str]:
        return np.full(len(problem), 1.0 / len(problem)), "optimal"

    monkeypatch.setattr(ConvexProgram, "solve", lie)
    network = random_network(6, 2)
    solution = solve(network, SimplexQP(polish=False))
    assert solution.status is Status.bound
    assert solution.gap > 0.1
    forged = Solution("forged", Status.optimal, solution.point, energy=-1e9, bound=-1e9, gap=0.0)
    assert not judge(network, forged).proved


def test_an_indefinite_similarity_is_refused_with_the_eigenvalue() -> None:
    network = random_network(6, 0, "indefinite")
    solution = solve(network, SimplexQP())
    assert solution.status is Status.refused
    assert "not convex" in solution.message
    assert f"{network.curvature:.3g}" in solution.message
    assert solve(random_network(6, 0, "indefinite", lam=0.0), SimplexQP()).status is Status.optimal


@pytest.mark.parametrize("deadline", [0.0, 1e-3, 60.0])
def test_a_deadline_gives_a_timeout_or_a_proof(deadline: float) -> None:
    network = balanced(100, 3, "full_rank")
    solution = solve(network, SimplexQP(polish=False), deadline=deadline)
    assert solution.status in (Status.timeout, Status.optimal)
    assert (solution.status is Status.optimal) == (solution.gap <= GAP_TOLERANCE)
    if deadline == 0.0:
        assert solution.status is Status.timeout
    if deadline == 60.0:
        assert solution.status is Status.optimal


def test_a_missing_solver_is_a_failure_with_its_name() -> None:
    solution = solve(random_network(4, 0), SimplexQP(solvers=("NO_SUCH_SOLVER",)))
    assert solution.status is Status.failed
    assert "NO_SUCH_SOLVER" in solution.message


@pytest.mark.parametrize("seed", range(12))
def test_weights_that_are_fixed_have_a_certificate_under_a_kl_term(seed: int) -> None:
    """A weight that its bounds hold at 0 has an infinite slope, which must not count: it cannot move."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(6, 6))
    upper = np.where(np.arange(6) % 3 == 2, 0.0, 1.0)
    lower = np.where(np.arange(6) == 0, 0.2, 0.0)
    network = TaskNetwork(rng.normal(size=6), features @ features.T / 6, tau=0.1, lower=lower, upper=upper)
    solution = solve(network, SimplexQP())
    assert solution.status is Status.optimal
    assert solution.point is not None
    assert solution.point[2] == solution.point[5] == 0.0
    assert float(exact_certificate(network, solution.point).gap) < 1e-9
    fixed = TaskNetwork(network.utility, network.similarity, tau=0.1, lower=1 / 6, upper=1 / 6)
    assert solve(fixed, SimplexQP()).status is Status.optimal
