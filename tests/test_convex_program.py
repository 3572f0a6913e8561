"""The convex program term by term: values against plain sums before any solve, wrong signs named, nothing translated
twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import energy_by_loops, energy_scale
from strategies import SEEDS, coverages, networks, random_network
from test_constraints import constrained, random_constraints

import taskpgm as tp
from taskpgm.coverage import CoverageNetwork
from taskpgm.inference import SimplexQP, solve, solve_many
from taskpgm.inference.convex_program import ConvexProgram
from taskpgm.inference.coverage_program import COVERAGE_PARTS, LOSSES
from taskpgm.inference.nearby import mixture_near
from taskpgm.inference.program_parts import CONSTRAINTS, ENERGY, FACTORED_PARTS, PARTS, PRIOR, Part, Written, check
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, Solution, Status

PART = {part.name: part for part in PARTS}


# --------------------------------------------------------------------------------------- values, before any solve


def divergence(p: FloatArray, q: FloatArray) -> float:
    return sum(float(a) * math.log(float(a) / float(b)) for a, b in zip(p, q, strict=True) if a > 0.0)


def term_by_hand(name: str, network: TaskNetwork, p: FloatArray) -> float:
    """A term of the energy from the definition: the other two are switched off."""
    off = {"beta": 0.0, "lam": 0.0, "tau": 0.0}
    kept = {"the utility": "beta", "the redundancy": "lam", "the prior's term": "tau"}[name]
    return energy_by_loops(network.changed(**(off | {kept: getattr(network, kept)})), p.tolist())


def limits_by_hand(name: str, network: TaskNetwork, p: FloatArray) -> Any:
    if name == "the sum":
        return sum(p.tolist()) - 1.0
    if name == "the lower bounds":
        return [low - x for low, x in zip(network.lower, p, strict=True)]
    if name == "the upper bounds":
        return [x - high for high, x in zip(network.upper, p, strict=True)]
    if name == "the half-spaces":
        return [math.fsum((row.coefficients * p).tolist()) - row.limit for row in network.halfspaces]
    return [divergence(p, ball.centre) - ball.limit for ball in network.balls]


@given(constrained(), networks(taus=(0.0, 0.5)), SEEDS, st.booleans())
@settings(max_examples=60)
def test_every_part_has_the_value_of_its_formula(
    bounded: TaskNetwork, free: TaskNetwork, seed: int, plain: bool
) -> None:
    network = free if plain else bounded
    program = ConvexProgram(network, FACTORED_PARTS if seed % 2 else PARTS)
    program.set(network)
    rng, scale, whole = np.random.default_rng(seed), energy_scale(network), 0.0
    for p in (rng.dirichlet(np.ones(len(network))), np.eye(len(network))[rng.integers(len(network))]):
        program.p.value = p
        whole = 0.0
        for part in ENERGY:
            if part.name in program.written:
                value = float(program.written[part.name].expression.value)
                assert value == pytest.approx(term_by_hand(part.name, network, p), abs=1e-12 * scale)
                whole += value
        assert whole == pytest.approx(network.energy(p), abs=1e-11 * scale)
        for part in CONSTRAINTS:
            if part.name in program.written:
                found = program.written[part.name].expression.value
                np.testing.assert_allclose(found, limits_by_hand(part.name, network, p), atol=1e-12)
    absent = {"the redundancy": network.lam, "the prior's term": network.tau}
    assert all((name in program.written) == (weight > 0.0) for name, weight in absent.items())


@given(coverages(), SEEDS)
@settings(max_examples=25)
def test_the_parts_of_a_coverage_energy_add_up_to_it(network: CoverageNetwork, seed: int) -> None:
    program = ConvexProgram(network, COVERAGE_PARTS)
    program.set(network)
    program.p.value = np.random.default_rng(seed).dirichlet(np.ones(len(network)))
    terms = [program.written[part.name].expression for part in (LOSSES, PRIOR) if part.name in program.written]
    assert all(term.is_convex() and term.is_dpp() for term in terms)
    assert float(terms[0].value) == pytest.approx(network.smooth(program.p.value), abs=1e-7)
    assert sum(float(term.value) for term in terms) == pytest.approx(network.energy(program.p.value), abs=1e-7)
    assert program.fits(network.changed(tau=2.0 * network.tau))
    assert not program.fits(network.changed(budget=2.0 * network.budget))


@given(constrained())
@settings(max_examples=20)
def test_every_part_is_convex_with_its_numbers_as_parameters(network: TaskNetwork) -> None:
    program = ConvexProgram(network)
    for name, written in program.written.items():
        assert written.expression.is_convex(), name
        assert written.expression.is_dpp(), name
    assert program.problem.is_dcp(dpp=True)


# --------------------------------------------------------------------------------------------------- planted mistakes


def everything() -> TaskNetwork:
    plain = random_network(5, 3, tau=0.2)
    inside = np.full(5, 0.2)
    return plain.changed(constraints=random_constraints(plain.names, inside, ["group", "cost", "trust"], 1))


def turned(part: Part) -> Part:
    def write(p: Any, network: Any) -> Written:
        written = part.write(p, network)
        return replace(written, expression=-written.expression)

    return replace(part, write=write)


@pytest.mark.parametrize("name", ["the redundancy", "the prior's term", "the KL balls"])
def test_a_turned_sign_is_found_in_the_part_that_has_it(name: str) -> None:
    parts = [turned(part) if part.name == name else part for part in PARTS]
    with pytest.raises(InputError, match=rf"{name} is not convex\. Look at its sign: ") as caught:
        ConvexProgram(everything(), parts)
    assert PART[name].mistake in str(caught.value)


def test_divergences_in_the_place_of_similarities_are_named() -> None:
    with pytest.raises(InputError, match=r"the redundancy is not convex.*divergences in their place"):
        ConvexProgram(TaskNetwork(np.zeros(4), 1.0 - np.eye(4)))


def test_what_is_not_affine_or_multiplies_parameters_is_named() -> None:
    p, weight = cp.Variable(3), cp.Parameter(3)
    with pytest.raises(InputError, match="the sum is not affine"):
        check(PART["the sum"], cp.sum_squares(p) - 1.0)
    with pytest.raises(InputError, match="the utility is not affine in its parameters"):
        check(PART["the utility"], cp.Parameter(nonneg=True) * (weight @ p))


# ------------------------------------------------------------------------------------------- one program, many networks


def others(network: TaskNetwork, seed: int) -> list[TaskNetwork]:
    """Networks with the same S and kinds of constraints, everything else changed in turn."""
    rng = np.random.default_rng(seed)
    n = len(network)
    prior = rng.dirichlet(np.full(n, 5.0)) + 0.01
    moved = [network.changed(beta=2.0 * network.beta), network.changed(lam=0.5 * network.lam)]
    features = rng.standard_normal((n, n))
    moved += [network.changed(similarity=weight * features @ features.T) for weight in (0.1, 1.0)]
    moved.append(network.changed(utility=rng.standard_normal(n), prior=prior / prior.sum()))
    if network.tau > 0.0:
        moved.append(network.changed(tau=3.0 * network.tau))
    inside = np.array(solve(network, SimplexQP()).point)
    moved.append(network.changed(lower=0.5 * inside, upper=np.minimum(1.0, inside + 0.3)))
    return moved


@given(constrained(), SEEDS)
@settings(max_examples=4)
def test_networks_in_a_row_are_solved_as_each_alone(network: TaskNetwork, seed: int) -> None:
    row = [network, *others(network, seed)]
    program = ConvexProgram(network, FACTORED_PARTS)
    assert all(program.fits(other) for other in row)
    for other, found in zip(row, solve_many(row), strict=True):
        alone, scale = solve(other, SimplexQP()), energy_scale(other)
        assert found.status is Status.optimal
        assert found.energy == pytest.approx(alone.energy, abs=found.gap + alone.gap + 1e-9 * scale)


@given(constrained(), SEEDS)
@settings(max_examples=6)
def test_a_mixture_nearby_is_a_start_and_never_an_answer(network: TaskNetwork, seed: int) -> None:
    rng, scale = np.random.default_rng(seed), energy_scale(network)
    moved = network.changed(utility=network.utility + 0.05 * rng.standard_normal(len(network)))
    best = solve(moved, SimplexQP())
    for start in (np.array(solve(network, SimplexQP()).point), np.array(network.prior)):
        found = mixture_near(moved, start)
        assert moved.violation(found) <= 1e-8
        assert moved.energy(found) == pytest.approx(best.energy, abs=1e-7 * scale)


def test_a_row_is_translated_once() -> None:
    network = everything()
    program = ConvexProgram(network)
    translated = []
    for beta in (0.1, 1.0, 10.0):
        point, status = program.solve(network.changed(beta=beta), "CLARABEL")
        assert (point is not None, status) == (True, "optimal")
        translated.append(program.problem._cache.param_prog)  # what cvxpy keeps of its translation
    assert translated[0] is not None
    assert all(each is translated[0] for each in translated)


def test_what_needs_another_program_gets_one() -> None:
    network = everything()
    program = ConvexProgram(network)
    fewer = network.changed(constraints=network.constraints[:1])
    for other in (
        network.changed(similarity=network.similarity + np.eye(5)),
        network.changed(tau=0.0),
        network.changed(lam=0.0),
        fewer,
        random_network(4, 1),
    ):
        assert not program.fits(other)
        expected = solve(other, SimplexQP())
        assert solve(other, SimplexQP(program=program)).energy == expected.energy
    row: list[TaskNetwork] = [network, fewer, random_network(5, 2, "indefinite"), random_network(4, 1), network]
    found: list[Solution] = list(solve_many(row))
    assert [each.status for each in found] == [Status.optimal, Status.optimal, Status.refused, *[Status.optimal] * 2]


def test_a_time_limit_does_not_outlast_its_network() -> None:
    network = random_network(60, 1)
    program = ConvexProgram(network)
    assert program.solve(network, "CLARABEL", max_iterations=1)[1] != "optimal"
    assert program.solve(network, "CLARABEL")[1] == "optimal"


# --------------------------------------------------------------------------------------------------- one more term


@dataclass(frozen=True)
class Curves:
    """Losses sum_j v_j (1 + (A'p)_j)^-alpha, as another energy may have them."""

    names: tuple[str, ...]
    exposure: FloatArray
    worth: FloatArray
    lower: FloatArray
    upper: FloatArray
    halfspaces: tuple[Any, ...] = ()
    balls: tuple[Any, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def energy(self, p: FloatArray) -> float:
        return float(self.worth @ (1.0 + self.exposure.T @ p) ** -0.7)


def losses(sign: float) -> Callable[[Any, Curves], Written]:
    def write(p: Any, problem: Curves) -> Written:
        worth = cp.Parameter(len(problem), nonneg=True)
        curves = cp.power(1.0 + problem.exposure.T @ p, -0.7)
        return Written(
            sign * worth @ curves, [(worth, lambda each: each.worth)], [(problem.exposure, lambda each: each.exposure)]
        )

    return write


def test_another_energy_is_one_more_function() -> None:
    rng = np.random.default_rng(2)
    problem = Curves(("a", "b", "c"), 5.0 * rng.random((3, 3)), rng.random(3), np.full(3, 0.05), np.full(3, 0.8))
    term = Part("the losses", "energy", lambda each: 1, losses(1.0), "losses fall with exposure and flatten out")
    program = ConvexProgram(problem, (term, *CONSTRAINTS))
    for worth in (problem.worth, problem.worth[::-1].copy()):
        other = replace(problem, worth=worth)
        assert program.fits(other)
        point, status = program.solve(other, "CLARABEL")
        assert status == "optimal"
        assert point is not None
        assert program.problem.value == pytest.approx(other.energy(point), abs=1e-8)
        inside = [p for p in rng.dirichlet(np.ones(3), size=3000) if p.min() >= 0.05 and p.max() <= 0.8]
        assert other.energy(point) <= min(map(other.energy, inside)) + 1e-8
    with pytest.raises(InputError, match="the losses is not convex"):
        ConvexProgram(problem, (replace(term, write=losses(-1.0)), *CONSTRAINTS))


def test_the_public_solve_uses_it_and_stays_exact() -> None:
    network = everything()
    solution = tp.solve(network, tp.SimplexQP(program=ConvexProgram(network)))
    assert solution.status is Status.optimal
    assert float(tp.exact_certificate(network, solution.point).gap) <= 1e-9
