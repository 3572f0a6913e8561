"""One contract for every mixture rule in BASELINES, an oracle for each, refusals, and planted bugs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from evidence import make_evidence, make_predictions, planted_law, reordered
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls
from strategies import SEEDS, evidence_arguments

from taskpgm.baselines import (
    BASELINES,
    Ado,
    Baseline,
    Capacity,
    CarefulPairwise,
    Chameleon,
    Evidence,
    LiteralPairwise,
    MixMin,
    PilotRun,
    PmiPairwise,
    Proportional,
    ProxyRuns,
    RegMix,
    SftMixingLaw,
    SmartFacilityLocation,
    SmartGraphCut,
    Temperature,
    Uniform,
    UniMax,
    ado,
    mixing_law,
    mixmin,
    regmix,
)
from taskpgm.baselines.evidence import PARTS
from taskpgm.baselines.fitting import nonnegative_lines
from taskpgm.baselines.pmi_pairwise import scale_free
from taskpgm.baselines.unimax import level
from taskpgm.curvature import convexity
from taskpgm.network import TaskNetwork
from taskpgm.types import Affinity, FloatArray, InputError, IntArray

NAMES = ("b", "a", "d", "c", "e", "f", "g", "h")


def plain(n: int, **parts: Any) -> Evidence:
    """n tasks of 100 examples, a budget of 100, and these parts."""
    return Evidence(NAMES[:n], **({"sizes": [100] * n, "budget": 100} | parts))


def affinity_of(similarity: Any, *, utility: Any = None, gain: Any = None, divergence: Any = None) -> Affinity:
    s = np.array(similarity, dtype=np.float64)
    n = len(s)
    j = np.zeros((n, n)) if divergence is None else np.array(divergence)
    u = np.ones(n) if utility is None else np.array(utility)
    return Affinity(NAMES[:n], u, j, j, j, s, np.eye(n) if gain is None else np.array(gain), "given", "given")


# ------------------------------------------------------------------------------------------------------------- contract


def broken_laws(baseline: Baseline, evidence: Evidence, order: IntArray, moved: Evidence) -> list[str]:
    """Every law of the baseline seam that the rule breaks on this evidence, and on `moved`, the same in that order."""
    if baseline.refuses(evidence) is not None:
        return ["complete evidence is not refused"]
    p = baseline.mixture(evidence)
    if p.shape != (len(evidence),) or p.dtype != np.float64:
        return ["one number for each task"]
    laws = {
        "the numbers are finite": bool(np.isfinite(p).all()),
        "no weight is negative": bool((p >= 0.0).all()),
        "the weights add up to 1": abs(p.sum() - 1.0) <= 1e-9,
        "the same evidence gives the same mixture": np.array_equal(p, baseline.mixture(evidence), equal_nan=True),
        "the answer is read-only": not p.flags.writeable,
        "the mixture follows the tasks": bool(np.allclose(baseline.mixture(moved), p[order], rtol=0.0, atol=1e-5)),
    }
    return [law for law, kept in laws.items() if not kept]


@given(evidence_arguments(), SEEDS)
@settings(max_examples=3)
def test_every_baseline_keeps_the_contract(arguments: dict[str, Any], seed: int) -> None:
    evidence = make_evidence(**arguments)
    order = np.random.default_rng(seed).permutation(len(evidence))
    moved = reordered(evidence, order)
    broken = {baseline.name: broken_laws(baseline, evidence, order, moved) for baseline in BASELINES}
    assert not {name: laws for name, laws in broken.items() if laws}


@dataclass(frozen=True)
class Wrong(Baseline):
    """A rule that is whatever the test makes it."""

    rule: Callable[[Evidence], Any]

    name: ClassVar[str] = "wrong"
    paper: ClassVar[str] = "none"

    def propose(self, evidence: Evidence) -> FloatArray:
        return np.asarray(self.rule(evidence), dtype=np.float64)


@pytest.mark.parametrize(
    ("rule", "law"),
    [
        (lambda e: np.arange(1, len(e) + 1) / np.arange(1, len(e) + 1).sum(), "the mixture follows the tasks"),
        (lambda e: np.full(len(e), 1.0 / (len(e) + 1)), "the weights add up to 1"),
        (lambda e: [1.5, -0.5, *[0.0] * (len(e) - 2)], "no weight is negative"),
        (lambda e: np.full(len(e), np.nan), "the numbers are finite"),
        (lambda e: [1.0], "one number for each task"),
    ],
)
def test_planted_bugs_are_caught(rule: Callable[[Evidence], Any], law: str) -> None:
    evidence = make_evidence(3, 4)
    order = np.array([2, 0, 3, 1])
    assert law in broken_laws(Wrong(rule), evidence, order, reordered(evidence, order))


def test_the_table_is_complete() -> None:
    names = [baseline.name for baseline in BASELINES]
    assert len(set(names)) == len(names) == 16
    for baseline in BASELINES:
        assert set(baseline.needs) <= set(PARTS)
        assert len(baseline.paper) > 20


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)
def test_what_is_missing_is_named(baseline: Baseline) -> None:
    bare = plain(3)
    reason = baseline.refuses(bare)
    if not baseline.needs:
        assert reason is None
        assert baseline.mixture(bare).shape == (3,)
        return
    assert reason is not None
    assert reason.startswith(f"needs {baseline.needs[0]}")
    with pytest.raises(InputError, match=rf"{baseline.name}: needs {baseline.needs[0]}.*has none"):
        baseline.mixture(bare)


def test_fits_with_too_little_to_fit_are_refused() -> None:
    proxies = ProxyRuns(np.full((4, 2), 0.5), np.ones((4, 2)), 10)
    pilot = PilotRun(np.array([0, 5, 10]), np.ones((3, 2)))
    evidence = plain(2, proxies=proxies, pilot=pilot)
    assert SftMixingLaw().refuses(evidence) == "needs at least 5 proxy runs: there are 4"
    assert RegMix().refuses(evidence) is None
    assert Ado().refuses(evidence) == "needs at least 3 snapshots after some training: the pilot run has 2"


def test_what_the_evidence_cost_is_counted() -> None:
    evidence = make_evidence(0, 3, runs=9)
    costs = {baseline.name: baseline.extra_examples(evidence) for baseline in BASELINES}
    expected = {"sft-mixing-law": 9 * 500, "regmix": 9 * 500, "ado": 1000}
    assert costs == {name: expected.get(name, 0) for name in costs}


MIXTURES, LOSSES = np.full((3, 2), 0.5), np.ones((3, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plain(2, sizes=[10, 0]), "size of task 'a' is 0.0"),
        (lambda: plain(2, sizes=[10, 2.5]), "size of task 'a' is 2.5"),
        (lambda: plain(2, sizes=[10, 2, 3]), "names: 2 names for 3"),
        (lambda: plain(2, budget=0), "final run: a budget of 0"),
        (lambda: plain(2, target_weights=[0.5, 0.6]), "target weights: expected 2 numbers"),
        (lambda: plain(2, predictions=make_predictions(0, n=2)), "predictions of .* do not belong"),
        (lambda: plain(3, affinity=affinity_of(np.eye(2))), "affinity of .* do not belong"),
        (lambda: plain(3, proxies=ProxyRuns(MIXTURES, LOSSES, 5)), "proxy runs: losses of 2 tasks, but there are 3"),
        (lambda: ProxyRuns(MIXTURES, LOSSES[:2], 5), "proxy runs: mixtures of shape"),
        (lambda: ProxyRuns(MIXTURES + 0.1, LOSSES, 5), "proxy run 0: its weights"),
        (lambda: ProxyRuns(MIXTURES, -LOSSES, 5), "proxy run 0: a loss of -1.0"),
        (lambda: ProxyRuns(MIXTURES, LOSSES, 0), "proxy runs: a budget of 0"),
        (lambda: PilotRun(np.array([0, 5, 5]), LOSSES), "must rise"),
        (lambda: PilotRun(np.array([0, 5]), LOSSES), "pilot run: 2 exposures"),
        (lambda: PilotRun(np.array([0, 5, 6]), np.nan * LOSSES), "pilot snapshot 0: a loss of nan"),
        (lambda: Temperature(0.0), "temperature = 0.0"),
        (lambda: UniMax(0.0), "max_epochs = 0.0"),
        (lambda: Chameleon(ridge=0.0), "must be positive"),
        (lambda: SmartGraphCut(0.6), "redundancy = 0.6"),
        (lambda: Ado(0), "0 steps"),
        (lambda: RegMix(candidates=5, kept=6), "6 of 5 candidates"),
        (lambda: RegMix(concentration=0.0), "concentration = 0.0"),
    ],
)
def test_bad_input_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_loss_curves_are_checked() -> None:
    curves = make_evidence(0, 3).curves
    assert curves is not None
    with pytest.raises(InputError, match="loss curves: losses of shape"):
        Evidence(curves.names, [5] * 3, 5, curves=replace(curves, losses=curves.losses[:, 1:]))
    with pytest.raises(InputError, match="loss curve of expert 'task 0', snapshot 0: a loss of -3"):
        Evidence(curves.names, [5] * 3, 5, curves=replace(curves, losses=-curves.losses))


# --------------------------------------------------------------------------------------------------- sizes and budgets


def test_temperature_lies_between_proportional_and_uniform() -> None:
    evidence = plain(4, sizes=[4, 100, 900, 2500])
    np.testing.assert_allclose(Temperature(1.0).mixture(evidence), Proportional().mixture(evidence))
    np.testing.assert_allclose(Temperature(2.0).mixture(evidence), np.array([2, 10, 30, 50]) / 92)
    np.testing.assert_allclose(Temperature(1e9).mixture(evidence), Uniform().mixture(evidence), atol=1e-8)


def test_unimax_caps_epochs() -> None:
    np.testing.assert_allclose(UniMax().mixture(plain(3, budget=300)), 1 / 3)  # no cap binds: uniform
    np.testing.assert_allclose(UniMax(4).mixture(plain(3, sizes=[10, 1000, 1000], budget=400)), [0.1, 0.45, 0.45])
    np.testing.assert_allclose(UniMax(1).mixture(plain(3, sizes=[10, 20, 70], budget=400)), [0.1, 0.2, 0.7])


@given(st.integers(2, 8), SEEDS)
def test_levels_are_cut_at_the_caps_and_raised_evenly(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, caps = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n)) * rng.uniform(1.01, 5.0)
    p, base = level(weights, caps), np.minimum(weights, caps)
    assert p.sum() == pytest.approx(1.0)
    assert (p <= caps + 1e-12).all()
    rise, below = p - base, p < caps - 1e-9
    if below.any():
        np.testing.assert_allclose(rise[below], rise.max(), atol=1e-12)


# ------------------------------------------------------------------------------------------------ rules on predictions


def orthogonal_experts(lengths: list[int], targets: list[float]) -> Evidence:
    """Each expert certain of its own task's targets and nearly sure that no other target is right."""
    n = len(lengths)
    task = np.repeat(np.arange(n), lengths)
    base = make_predictions(0, n=n, per_task=1, vocabulary=3)
    true = np.where(task[None, :] == np.arange(n)[:, None], -0.1, -200.0).astype(np.float32)
    predictions = replace(base, names=NAMES[:n], target_log_probs=true, context_task=task, context_probe=task)
    return plain(n, predictions=predictions, target_weights=targets)


def test_mixmin_of_disjoint_tasks_has_a_closed_form() -> None:
    targets = [0.5, 0.3, 0.2]
    np.testing.assert_allclose(MixMin().mixture(orthogonal_experts([2, 2, 2], targets)), targets, atol=1e-4)
    by_length = np.array([0.5 / 1, 0.3 / 2, 0.2 / 4])  # losses are per token: long targets weigh less
    found = MixMin().mixture(orthogonal_experts([1, 2, 4], targets))
    np.testing.assert_allclose(found, by_length / by_length.sum(), atol=1e-4)


@given(st.integers(2, 6), st.integers(1, 30), SEEDS, st.sampled_from([1e-3, 1.0, 50.0]))
@settings(max_examples=15)
def test_the_gap_of_mixmin_bounds_every_mixture(n: int, probes: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logs, weights = scale * rng.standard_normal((n, probes)) - 20.0, rng.random(probes)

    def loss(p: FloatArray) -> float:
        return -sum(
            w * np.log(sum(p[i] * np.exp(row[i]) for i in range(n))) for w, row in zip(weights, logs.T, strict=True)
        )

    p, gap = mixmin.best_ensemble(logs, weights)
    assert gap + 1e-12 >= 0.0
    assert gap <= mixmin.GAP
    others = [*np.eye(n), *rng.dirichlet(np.full(n, 0.5), size=20), *(0.99 * p + 0.01 * np.eye(n))]
    assert loss(p) - gap <= min(loss(np.maximum(q, 1e-300)) for q in others) + 1e-9


def test_sequences_are_whole_targets() -> None:
    evidence = orthogonal_experts([1, 2, 4], [0.5, 0.3, 0.2])
    assert evidence.predictions is not None
    logs, weights = mixmin.sequences(evidence.predictions, evidence.target_weights)
    np.testing.assert_allclose(np.diag(logs), [-0.1, -0.2, -0.4], rtol=1e-6)
    np.testing.assert_allclose(weights, [0.5, 0.15, 0.05])


def test_capacity_of_equal_experts_is_even_and_of_a_useless_one_nothing() -> None:
    base = make_predictions(0, n=2, per_task=2, vocabulary=4)
    equal = replace(base, names=NAMES[:2], log_probs=base.log_probs[[0, 0]])
    np.testing.assert_allclose(Capacity().mixture(plain(2, predictions=equal)), 0.5)
    rows = np.log(np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]))[:, None, :].astype(np.float32)
    base = make_predictions(0, n=3, per_task=1, vocabulary=2)
    channel = replace(base, names=NAMES[:3], log_probs=rows.repeat(3, axis=1))
    np.testing.assert_allclose(Capacity().mixture(plain(3, predictions=channel)), [0.5, 0.5, 0.0], atol=1e-3)


# -------------------------------------------------------------------------------------------------- rules on affinities

TWINS = [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("rule", [Chameleon(), SmartGraphCut(), SmartFacilityLocation()])
def test_tasks_that_share_nothing_share_evenly(rule: Baseline) -> None:
    np.testing.assert_allclose(rule.mixture(plain(4, affinity=affinity_of(np.eye(4)))), 0.25)


def test_chameleon_gives_twins_less() -> None:
    p = Chameleon().mixture(plain(3, affinity=affinity_of(TWINS)))
    assert p[0] == pytest.approx(p[1])
    assert p[0] < p[2]


def test_leverage_scores_are_the_diagonal_of_the_ridge_smoother() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((5, 3))
    centred = (features - features.mean(axis=0)) @ (features - features.mean(axis=0)).T
    smoother = centred @ np.linalg.inv(centred + 2.0 * np.trace(centred) / 5 * np.eye(5))
    scores = np.diag(smoother) / np.trace(smoother)
    weights = np.exp(scores / 0.5)
    found = Chameleon(2.0, 0.5).mixture(plain(5, affinity=affinity_of(features @ features.T)))
    np.testing.assert_allclose(found, weights / weights.sum())


def graph_cut(s: FloatArray, chosen: list[int]) -> float:
    covered = sum(s[i, j] for i in range(len(s)) for j in chosen)
    return float(covered - 0.4 * sum(s[i, j] for i in chosen for j in chosen))


def facility_location(s: FloatArray, chosen: list[int]) -> float:
    return float(sum(max((s[i, j] for j in chosen), default=0.0) for i in range(len(s))))


@given(st.integers(2, 6), SEEDS)
@settings(max_examples=20)
def test_gains_of_smart_are_differences_of_the_function(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.random((n, n))
    similarity = 0.5 * (similarity + similarity.T)
    picked = rng.permutation(n)[: rng.integers(0, n)].tolist()
    for rule, function in ((SmartGraphCut(), graph_cut), (SmartFacilityLocation(), facility_location)):
        gains = rule.gains(similarity, picked)
        for task in set(range(n)) - set(picked):
            expected = function(similarity, [*picked, task]) - function(similarity, picked)
            assert gains[task] == pytest.approx(expected, abs=1e-12)


def test_smart_turns_gains_into_weights_and_hands_on_what_a_task_cannot_use() -> None:
    affinity = affinity_of(TWINS)  # named b, a, d: a is picked first (2 new tasks), then d (1), then its twin b (0)
    assert SmartFacilityLocation().mixture(plain(3, affinity=affinity)) == pytest.approx(np.array([1, 5, 2.5]) / 8.5)
    graph_cut_gains = np.array([0.8, 1.6, 0.6])  # a: 2 - 0.4; its twin b: 2 - 0.4 - 0.8; d: 1 - 0.4
    weights = 1.0 + graph_cut_gains + 0.5 * graph_cut_gains**2
    assert SmartGraphCut().mixture(plain(3, affinity=affinity)) == pytest.approx(weights / weights.sum())
    short = plain(3, affinity=affinity, sizes=[100, 40, 100], budget=100)
    surplus = (5 / 8.5 - 0.4) / 2
    expected = [1 / 8.5 + surplus, 0.4, 2.5 / 8.5 + surplus]
    assert SmartFacilityLocation().mixture(short) == pytest.approx(expected)


@pytest.mark.parametrize("gap", [0.0, 0.02, -0.1, 5.0])
def test_pairwise_energies_of_two_tasks_by_hand(gap: float) -> None:
    divergence = np.array([[0.0, 0.3], [0.3, 0.0]])
    gain = [[2.0, 0.7], [0.1, 0.5]]
    similarity = np.exp(-10.0 * divergence)
    affinity = affinity_of(similarity, utility=[1.0 + gap, 1.0], gain=gain, divergence=divergence)
    evidence = plain(2, affinity=affinity)

    def first(s: float, beta: float, floor: float) -> float:
        return float(np.clip(0.5 + beta * gap / (2.0 * (1.0 - s)), floor, 1.0 - floor))

    def balanced(s: float) -> float:
        return 0.0 if gap == 0.0 else 0.5 * (1.0 - s) / (2.0 * abs(gap) / 2.0)

    literal, careful, pmi = 1.0 - 0.3 / np.log(2.0), float(similarity[0, 1]), 0.5 * (0.7 + 0.1) / np.sqrt(2.0 * 0.5)
    assert LiteralPairwise().mixture(evidence)[0] == pytest.approx(first(literal, 1.0, 0.0))
    assert CarefulPairwise().mixture(evidence)[0] == pytest.approx(first(careful, balanced(careful), 0.1))
    assert PmiPairwise().mixture(evidence)[0] == pytest.approx(first(pmi, balanced(pmi), 0.1))


def test_indefinite_gains_are_shifted_and_useless_experts_stand_alone() -> None:
    gain = np.array([[1.0, 0.9, 0.0, 0.3], [0.9, 1.0, 0.9, 0.3], [0.0, 0.9, 1.0, 0.3], [0.3, 0.3, 0.3, -0.2]])
    affinity = affinity_of(np.eye(4), gain=gain)
    similarity = scale_free(gain)
    np.testing.assert_array_equal(similarity[3], [0.0, 0.0, 0.0, 1.0])
    assert not convexity(TaskNetwork(np.ones(4), similarity)).convex
    p = PmiPairwise().mixture(plain(4, affinity=affinity))
    assert p[0] == pytest.approx(p[2])
    assert p[3] > p[0] > p[1] >= 0.05 - 1e-12


# -------------------------------------------------------------------------------------------------------- rules on runs


@given(st.integers(2, 8), SEEDS)
def test_lines_without_negative_parts_are_those_of_scipy(runs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, y = rng.random((3, runs)) * 10.0 ** rng.integers(-3, 3), rng.random(runs)
    intercept, slope, error = nonnegative_lines(z, y)
    for row, a, b, squares in zip(z, intercept, slope, error, strict=True):
        best, norm = nnls(np.stack([np.ones(runs), row], axis=1), y)
        assert squares == pytest.approx(norm**2, abs=1e-9)
        np.testing.assert_allclose([a, b * row.max()], [best[0], best[1] * row.max()], atol=1e-7)


def test_the_mixing_law_is_the_papers_formula_at_every_budget() -> None:
    law, p, budget = planted_law(np.random.default_rng(1), 3), np.array([0.5, 0.3, 0.2]), 500.0
    k = law.kappa * budget ** (1.0 - law.transfer)
    height = law.height * budget**law.decay
    for examples in (500.0, 2000.0):
        own, others = examples * p, examples * (1.0 - p)
        expected = law.floor + height * (own + k * others**law.transfer) ** -law.decay
        np.testing.assert_allclose(law.at(examples / budget).losses(p), expected)
    step = 1e-6
    slopes = [(law.losses(p + step * e)[i] - law.losses(p - step * e)[i]) / (2 * step) for i, e in enumerate(np.eye(3))]
    np.testing.assert_allclose(law.slopes(p), slopes, rtol=1e-5)


def test_a_law_without_transfer_has_a_closed_form() -> None:
    height = np.array([1.0, 2.0, 5.0, 0.1])
    law = mixing_law.Law(np.ones(4), height, np.full(4, 1e-12), np.ones(4), np.full(4, 0.7))
    expected = height ** (1.0 / 1.7)
    np.testing.assert_allclose(mixing_law.least_sum(law.slopes, 4), expected / expected.sum(), atol=1e-9)


def test_flat_functions_share_what_the_others_leave() -> None:
    def slopes(p: FloatArray) -> FloatArray:
        return np.stack([2.0 * (p[..., 0] - 0.4), 0.0 * p[..., 1], 0.0 * p[..., 2]], axis=-1)

    np.testing.assert_allclose(mixing_law.least_sum(slopes, 3), [0.4, 0.3, 0.3], atol=1e-9)


@pytest.mark.parametrize(("n", "seed"), [(2, 24), (3, 1), (4, 5)])
def test_the_mixing_law_finds_the_planted_optimum(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    law, mixtures = planted_law(rng, n), rng.dirichlet(np.ones(n), size=30)
    targets = rng.dirichlet(np.full(n, 3.0))
    proxies = ProxyRuns(mixtures, np.array([law.losses(p) for p in mixtures]), 500)
    found = SftMixingLaw().mixture(plain(n, budget=1500, proxies=proxies, target_weights=targets))

    def loss(p: FloatArray) -> float:
        return float(targets @ law.at(3.0).losses(p))

    sum_to_one = {"type": "eq", "fun": lambda p: p.sum() - 1.0}
    best = minimize(loss, np.full(n, 1.0 / n), bounds=[(1e-9, 1.0)] * n, constraints=[sum_to_one], tol=1e-12)
    assert loss(found) <= best.fun + 1e-6


def test_ado_fits_its_laws_and_mixes_by_the_formula() -> None:
    examples = np.array([100.0, 200.0, 500.0, 1000.0])
    floor, height, exponent = ado.scaling_law(examples, 0.5 + 20.0 * examples**-0.45)
    assert (floor, height, exponent) == pytest.approx((0.5, 20.0, 0.45))
    one = ado.integrate(np.array([[3.0, 1.0]]), np.array([0.5, 0.5]))
    np.testing.assert_allclose(one, [0.525, 0.475])  # 0.1 of the preference (3/4, 1/4), 0.9 of the prior


def test_ado_is_even_among_equal_tasks_and_leaves_a_flat_one() -> None:
    examples = np.array([0, 100, 200, 500, 1000])
    falling = 0.5 + 2.0 * (examples + 1.0) ** -0.3
    equal = plain(3, pilot=PilotRun(examples, np.stack([falling] * 3, axis=1)))
    np.testing.assert_allclose(Ado().mixture(equal), 1 / 3)
    flat = plain(2, pilot=PilotRun(examples, np.stack([falling, np.full(5, 2.0)], axis=1)))
    assert Ado().mixture(flat)[1] < 0.1
    still = plain(2, sizes=[30, 10], pilot=PilotRun(examples, np.full((5, 2), 2.0)))
    np.testing.assert_allclose(Ado().mixture(still), [0.75, 0.25])  # nothing falls: the prior


@pytest.mark.parametrize("kind", ["linear", "quadratic", "exponential"])
def test_regmix_recovers_a_known_law(kind: str) -> None:
    rng = np.random.default_rng(2)
    mixtures, fresh = rng.dirichlet(np.ones(3), size=25), rng.dirichlet(np.ones(3), size=50)
    slope = np.array([2.0, 1.0, 3.0])
    laws: dict[str, Callable[[FloatArray], FloatArray]] = {
        "linear": lambda p: p @ slope,
        "quadratic": lambda p: p @ slope + 4.0 * p[:, 0] * p[:, 2],
        "exponential": lambda p: np.exp(-p @ slope),
    }
    surface = regmix.fit(mixtures, laws[kind](mixtures))
    np.testing.assert_allclose(surface.losses(fresh), laws[kind](fresh), atol=1e-6)


def test_regmix_prefers_what_lowers_the_target_loss() -> None:
    mixtures = np.random.default_rng(3).dirichlet(np.ones(3), size=25)
    losses = np.stack([3.0 - 2.0 * mixtures[:, 0], 3.0 - 2.0 * mixtures[:, 1], 3.0 - 0.0 * mixtures[:, 2]], axis=1)
    proxies = ProxyRuns(mixtures, losses, 10)
    first = RegMix().mixture(plain(3, proxies=proxies, target_weights=[1.0, 0.0, 0.0]))
    assert first[0] > 0.9
    second = RegMix().mixture(plain(3, proxies=proxies, target_weights=[0.1, 0.9, 0.0]))
    assert second[1] > 0.9
