"""Rules for the trade-off give what they name, on exact and on sampled paths; the nearest prior is the tilted one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evidence import make_predictions
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from strategies import SEEDS, networks, random_network

import taskpgm as tp
from taskpgm.affinity import estimate_affinity
from taskpgm.choice import Rule, apply_rule, path_of
from taskpgm.exact_path import TradeOff, effective_tasks, trade_off
from taskpgm.inference import SimplexQP, solve
from taskpgm.network import TaskNetwork
from taskpgm.plots import save_trade_off, trade_off_figure
from taskpgm.sampled_path import sampled_path
from taskpgm.types import FloatArray, InputError, Status
from taskpgm.utilities import HeldoutGain


def chosen_mixture(choice: object) -> FloatArray:
    solution = solve(choice.network, SimplexQP())  # type: ignore[attr-defined]
    assert solution.status is Status.optimal
    return np.array(solution.point)


def lively(seed: int, n: int = 6) -> TaskNetwork:
    return random_network(n, seed, "full_rank", beta=0.3)


# ------------------------------------------------------------------------------------------------------------ the rules


@given(SEEDS, st.floats(0.1, 0.9))
@settings(max_examples=25)
def test_rules_on_the_exact_path_keep_their_promise(seed: int, share: float) -> None:
    network, path = lively(seed), trade_off(lively(seed))
    count = float(path.effective_tasks.min() + share * np.ptp(path.effective_tasks))
    p = chosen_mixture(tp.choose(network, effective_tasks=count))
    assert float(effective_tasks(p)) == pytest.approx(count, abs=1e-5)
    p = chosen_mixture(tp.choose(network, utility_share=share))
    wanted = path.utilities[0] + share * (path.utilities[-1] - path.utilities[0])
    assert network.utility @ p == pytest.approx(wanted, abs=1e-7)
    assert tp.choose(network, knee=True).network.beta == path.knee()


@pytest.mark.parametrize("kind", ["kl term", "constraints"])
def test_rules_on_a_sampled_path_keep_their_promise(kind: str) -> None:
    plain = lively(3)
    group = [tp.Group(plain.names[:3], lower=0.5, upper=0.7)]
    network = plain.changed(tau=0.05) if kind == "kl term" else plain.changed(constraints=group)
    choice = tp.choose(network, effective_tasks=4.0)
    assert float(effective_tasks(chosen_mixture(choice))) == pytest.approx(4.0, abs=1e-5)
    assert "effective tasks leave room for" in str(choice)
    path = sampled_path(network, points=16)
    assert path.worst_gap <= 1e-8
    assert (np.diff(path.utilities) >= -1e-8).all()
    assert (np.diff(path.costs) >= -1e-8).all()
    beta = path.with_utility_share(0.6)
    reached = network.utility @ path.at(beta)
    assert reached == pytest.approx(path.utilities[0] + 0.6 * (path.most - path.utilities[0]), abs=1e-6)
    assert path.knee() in path.betas
    with pytest.raises(InputError, match="mixtures have"):
        path.with_effective_tasks(6.0)


def test_all_the_utility_is_beyond_the_end_of_a_path_with_a_kl_term() -> None:
    path = sampled_path(TaskNetwork([1.0, 0.0], np.eye(2), tau=1.0))  # logarithms keep every weight positive
    with pytest.raises(InputError, match="no finite beta has it"):
        path.with_utility_share(1.0)


@given(networks(max_tasks=6, scales=(1.0,), bounds=("none", "both")))
@settings(max_examples=6)
def test_a_sampled_path_lies_on_the_exact_one(network: TaskNetwork) -> None:
    exact, sampled = trade_off(network), sampled_path(network, points=16)
    for beta, p in zip(sampled.betas[::3], sampled.mixtures[::3], strict=True):
        there = network.changed(beta=float(beta))
        assert there.energy(p) == pytest.approx(there.energy(exact.at(float(beta))), abs=1e-7 * (1.0 + float(beta)))
    assert sampled.most == pytest.approx(float(exact.utilities[-1]), abs=1e-9)


# ---------------------------------------------------------------------------------------------------- the nearest prior


def tilted(network: TaskNetwork, goal: float) -> FloatArray:
    """argmin KL(p || q) with u'p = goal is q exp(theta u), scaled (Csiszar 1975): theta by root finding."""
    u, q = network.utility, network.prior

    def at(theta: float) -> FloatArray:
        p = q * np.exp(theta * (u - u.max()))
        return np.asarray(p / p.sum())

    high = 1.0
    while u @ at(high) < goal:
        high *= 2.0
    return at(brentq(lambda theta: float(u @ at(theta)) - goal, 0.0, high, xtol=1e-14))


@given(SEEDS, st.integers(2, 7), st.floats(0.02, 0.95), st.floats(-5.0, 5.0), st.sampled_from([1e-2, 1.0, 1e2]))
@settings(max_examples=40)
def test_the_nearest_prior_is_the_tilted_prior(seed: int, n: int, share: float, shift: float, unit: float) -> None:
    plain = random_network(n, seed)
    network = plain.changed(utility=unit * (plain.utility + shift))
    choice = tp.choose(network, nearest_prior=share)
    start, most = float(network.utility @ network.prior), float(network.utility.max())
    expected = tilted(network, start + share * (most - start))
    p = chosen_mixture(choice)
    np.testing.assert_allclose(p, expected, atol=2e-5)
    divergence = float((p * np.log(p / network.prior)).sum())
    assert choice.network.energy(p) == pytest.approx(divergence, abs=1e-12)
    assert network.utility @ p >= start + share * (most - start) - 1e-8 * unit


def test_the_nearest_prior_keeps_the_feasible_set_and_proves_itself(tmp_path: Path) -> None:
    plain = lively(5)
    network = plain.changed(lower=0.04, constraints=[tp.Group(plain.names[:2], upper=0.3), tp.EffectiveTasks(3.0)])
    choice = tp.choose(network, nearest_prior=0.7)
    solution = solve(choice.network, SimplexQP())
    assert network.violation(solution.point) <= 1e-9
    mixture = tp.Mixture.from_solution(choice.network, solution, details={"choice": choice.as_dict()})
    mixture.to_json(tmp_path / "mixture.json")
    again = tp.Mixture.from_json(tmp_path / "mixture.json")
    assert all(check.passed for check in again.verify())
    assert again.details["choice"]["rule"] == {"nearest_prior": 0.7}
    assert isinstance(again.network.constraints[-1], tp.UtilityFloor)
    rng, best = np.random.default_rng(0), choice.network.energy(solution.point)
    near = 0.9 * np.array(solution.point) + 0.1 * rng.dirichlet(np.full(6, 2.0), size=5_000)
    others = [p for p in near if choice.network.violation(p) <= 1e-9]
    assert len(others) > 10
    assert all(choice.network.energy(p) >= best - 1e-9 for p in others)


def test_a_prior_that_is_not_allowed_is_replaced_by_the_nearest_that_is() -> None:
    network = TaskNetwork([1.0, 0.0, 0.5], np.eye(3), upper=[1.0, 0.2, 1.0], prior=[0.1, 0.8, 0.1])
    p = chosen_mixture(tp.choose(network, nearest_prior=0.0))
    np.testing.assert_allclose(p, [0.4, 0.2, 0.4], atol=1e-5)


# ----------------------------------------------------------------------------------------------------- what is refused

WRONG: tuple[tuple[dict[str, object], str], ...] = (
    ({}, "exactly one .*found none"),
    ({"knee": True, "utility_share": 0.5}, "found knee and utility_share"),
    ({"effective_tasks": 0.5}, "expected 1 or more"),
    ({"effective_tasks": float("nan")}, "expected 1 or more"),
    ({"utility_share": 1.5}, "from 0 to 1"),
    ({"nearest_prior": 1.0}, "from 0 to below 1"),
)


@pytest.mark.parametrize(("given_", "message"), WRONG)
def test_a_wrong_rule_is_one_clear_line(given_: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tp.choose(lively(1), **given_)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["effective_tasks=3.5", "effective-tasks=3.5"])
def test_rules_can_be_written_as_a_word(text: str) -> None:
    assert Rule.parse(text) == Rule(effective_tasks=3.5)
    assert Rule.parse("knee") == Rule(knee=True)
    assert Rule.parse("nearest-prior=0.8") == Rule(nearest_prior=0.8)
    for wrong, message in (("elbow", "expected effective_tasks=NUMBER"), ("knee=1", "expected effective_tasks=NUMBER")):
        with pytest.raises(InputError, match=message):
            Rule.parse(wrong)
    with pytest.raises(InputError, match="'much' is not a number"):
        Rule.parse("utility_share=much")


def test_what_no_rule_can_choose_is_said() -> None:
    with pytest.raises(InputError, match="utilities that differ"):
        tp.choose(TaskNetwork([0.5, 0.5], np.eye(2)), nearest_prior=0.5)
    with pytest.raises(InputError, match="not convex"):
        tp.choose(random_network(4, 1, "indefinite"), knee=True)
    assert tp.choose(TaskNetwork([0.5, 0.5], np.eye(2), tau=0.1), knee=True).network.beta == 0.0


# ----------------------------------------------------------------------------------------------------------- error bars


@pytest.mark.parametrize("rule", [Rule(effective_tasks=3.0), Rule(nearest_prior=0.6)])
def test_every_draw_chooses_anew(rule: Rule) -> None:
    affinity = estimate_affinity(make_predictions(3, n=5, per_task=8), utility=HeldoutGain())
    network = TaskNetwork.from_affinity(affinity)
    spread = tp.bootstrap(affinity, network, replicates=8, rule=rule, utility=HeldoutGain())
    np.testing.assert_allclose(spread.mixture, chosen_mixture(apply_rule(network, rule)), atol=1e-6)
    assert np.ptp(spread.replicates, axis=0).max() > 1e-3
    if rule.effective_tasks is not None:
        np.testing.assert_allclose(effective_tasks(spread.replicates), 3.0, atol=1e-4)


def test_a_sampled_path_keeps_the_beta_of_all_evidence() -> None:
    affinity = estimate_affinity(make_predictions(4, n=4, per_task=8), utility=HeldoutGain())
    network = TaskNetwork.from_affinity(affinity).changed(tau=0.01)
    spread = tp.bootstrap(affinity, network, replicates=5, rule=Rule(effective_tasks=3.0), utility=HeldoutGain())
    assert float(effective_tasks(spread.mixture)) == pytest.approx(3.0, abs=1e-4)
    assert np.ptp(effective_tasks(spread.replicates)) > 1e-6


# ------------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("kind", ["exact", "sampled", "one point", "jump"])
def test_the_picture_holds_the_path_and_the_chosen_mixture(tmp_path: Path, kind: str) -> None:
    network = random_network(20, 1, "exponential_kernel", beta=0.1)
    if kind == "sampled":
        network = lively(2).changed(tau=0.1)
    elif kind == "one point":
        network = TaskNetwork([0.5, 0.5, 0.5], np.eye(3))
    elif kind == "jump":
        network = TaskNetwork([0.5, 0.6, 0.1], [[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 1.0]])
    path, p = path_of(network), np.array(solve(network, SimplexQP()).point)
    assert isinstance(path, TradeOff) == (kind != "sampled")
    figure = trade_off_figure(path, p, network.beta)
    stack, bar = figure.axes[0], figure.axes[1]
    shown = min(16, len(network))
    assert len(stack.collections) == shown + (len(network) > shown)
    heights = [patch.get_height() for patch in bar.patches]
    assert sum(heights) == pytest.approx(1.0)
    assert max(heights) == pytest.approx(max(p.max(), 1.0 - sum(sorted(p)[-shown:])), abs=1e-9)
    low, high = stack.get_xlim()
    assert low < high
    counts = figure.axes[2].lines[0].get_ydata()
    assert max(counts) <= len(network) + 1e-6
    file = tmp_path / ("path.png" if kind == "exact" else "path.svg")
    save_trade_off(file, path, p)
    assert file.stat().st_size > 10_000
    with pytest.raises(InputError, match="plots are written as"):
        save_trade_off(tmp_path / "path.txt", path)
