"""Error bars: redrawn evidence is the evidence on average, intervals cover the truth as often as they say."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from evidence import make_predictions
from hypothesis import given, settings
from scripts import benchmark
from strategies import SEEDS

from taskpgm.affinity import estimate_affinity
from taskpgm.blocks import evidence_blocks
from taskpgm.divergences import jensen_shannon, jensen_shannon_reference
from taskpgm.divergences.streaming import EXACT_WORK
from taskpgm.network import TaskNetwork
from taskpgm.types import InputError, Predictions
from taskpgm.uncertainty import Spread, bootstrap, divergence_of
from taskpgm.utilities import HeldoutGain, Learnability

SIMULATION = benchmark("parts/evidence_simulation")
RULE = SIMULATION.RULE


def with_probes(predictions: Predictions, per_probe: int) -> Predictions:
    return replace(predictions, context_probe=np.arange(len(predictions.weights)) // per_probe)


@given(SEEDS)
@settings(max_examples=20)
def test_all_blocks_once_are_the_affinity(seed: int) -> None:
    predictions = with_probes(make_predictions(seed, n=4, per_task=12), 3)
    affinity = estimate_affinity(predictions)
    blocks = affinity.blocks
    assert blocks is not None
    once = divergence_of(blocks, np.ones(len(blocks.stratum), dtype=np.int64))
    np.testing.assert_allclose(once, jensen_shannon(predictions.log_probs, predictions.weights), atol=1e-12)
    np.testing.assert_allclose(once, affinity.divergence, atol=1e-12)
    assert blocks.mass.sum() == pytest.approx(1.0)
    for block in range(len(blocks.stratum)):  # no probe in two blocks, no block of two tasks
        probes = np.unique(predictions.context_probe[blocks.members == block])
        assert not np.isin(probes, predictions.context_probe[blocks.members != block]).any()
        assert set(predictions.context_task[blocks.members == block]) == {blocks.stratum[block]}


@given(SEEDS)
@settings(max_examples=20)
def test_a_draw_is_the_affinity_of_the_repeated_contexts(seed: int) -> None:
    predictions = make_predictions(seed, n=3, per_task=6)
    blocks = evidence_blocks(predictions)
    rng = np.random.default_rng(seed)
    picked = np.concatenate([rng.choice(np.flatnonzero(blocks.stratum == t), size=6) for t in range(3)])
    times = np.bincount(picked, minlength=len(blocks.stratum))
    contexts = np.concatenate([np.flatnonzero(blocks.members == b) for b in picked])
    expected = jensen_shannon(predictions.log_probs[:, contexts], np.ones(len(contexts)))
    np.testing.assert_allclose(divergence_of(blocks, times), expected, atol=1e-12)


@pytest.mark.parametrize(("n", "fits", "groups"), [(12, 16, 2), (5, 8, 1), (5, 10, 5), (12, 1, 1)])
def test_blocks_that_do_not_fit_are_shared_by_groups_of_tasks_and_said_so(n: int, fits: int, groups: int) -> None:
    predictions = make_predictions(n, n=n, per_task=20)
    said: list[str] = []
    blocks = evidence_blocks(
        predictions, memory=fits * 8 * n * n, progress=lambda stage, done, total, text: said.append(text)
    )
    assert len(np.unique(blocks.stratum)) == groups
    assert len(blocks.stratum) <= max(fits, 8)
    assert bool(blocks.note) == (groups < n) == (said[-1] == blocks.note)
    np.testing.assert_allclose(
        blocks.divergence.sum(axis=0), jensen_shannon(predictions.log_probs, predictions.weights), atol=1e-12
    )
    for block, stratum in enumerate(blocks.stratum):  # every task of a group is in all of the group's blocks
        inside = set(predictions.context_task[blocks.members == block])
        assert inside == set(
            predictions.context_task[np.isin(blocks.members, np.flatnonzero(blocks.stratum == stratum))]
        )
    masses = np.bincount(blocks.stratum, weights=blocks.mass)
    assert masses.sum() == pytest.approx(1.0)


def test_coarse_blocks_give_about_the_same_error_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = SIMULATION.drawn(SIMULATION.population(3), 60, 7)
    fine, network = SIMULATION.evidence(drawn)
    n = len(fine.names)
    monkeypatch.setattr("taskpgm.affinity.evidence_blocks", partial(evidence_blocks, memory=8 * 8 * n * n))
    coarse, _ = SIMULATION.evidence(drawn)
    assert coarse.blocks is not None
    assert len(coarse.blocks.stratum) == 8
    widths = [
        float(
            np.diff(bootstrap(each, network, replicates=200, utility=HeldoutGain(), similarity=RULE).interval()).mean()
        )
        for each in (fine, coarse)
    ]
    assert 0.6 < widths[1] / widths[0] < 1.5


def test_draws_of_evidence_computed_in_float32_stay_convex() -> None:
    predictions = make_predictions(2, n=8, per_task=12, vocabulary=3000)
    assert EXACT_WORK < 36 * 96 * 3000
    affinity = estimate_affinity(predictions)
    assert affinity.divergence[0, 1] != jensen_shannon_reference(predictions.log_probs)[0, 1]
    spread = bootstrap(affinity, TaskNetwork.from_affinity(affinity), replicates=20, rho=0.5)
    assert len(spread.replicates) == 20


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    assert 0.85 <= SIMULATION.coverage(repetitions=20, replicates=100) <= 1.0


@pytest.mark.slow
def test_coverage_of_95_percent_intervals() -> None:
    assert 0.90 <= SIMULATION.coverage(repetitions=400, replicates=400) <= 0.98


def test_more_probes_narrow_the_intervals() -> None:
    parts = SIMULATION.population(3)
    widths = []
    for count in (30, 120):
        affinity, network = SIMULATION.evidence(SIMULATION.drawn(parts, count, 7))
        spread = bootstrap(affinity, network, replicates=300, utility=HeldoutGain(), similarity=RULE, rho=0.5)
        widths.append(float(np.diff(spread.interval()).mean()))
        assert spread.probes_to_halve == 3 * count
    assert 0.3 < widths[1] / widths[0] < 0.75  # four times the probes: about half the width


def test_the_same_seed_gives_the_same_spread_and_the_network_keeps_its_bounds() -> None:
    affinity = estimate_affinity(make_predictions(3, n=5, per_task=8))
    network = TaskNetwork.from_affinity(affinity, floor=0.5, upper=0.4)
    one, same, other = (bootstrap(affinity, network, replicates=20, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.replicates, same.replicates)
    assert not np.array_equal(one.replicates, other.replicates)
    assert (one.replicates >= 0.1 - 1e-9).all()
    assert (one.replicates <= 0.4 + 1e-9).all()
    np.testing.assert_allclose(one.replicates.sum(axis=1), 1.0, atol=1e-9)


def test_several_trainings_add_their_own_spread() -> None:
    first = [np.arange(100)] * SIMULATION.TASKS
    trained = [SIMULATION.evidence(SIMULATION.sampled(SIMULATION.population(seed), first)) for seed in (3, 4)]
    affinities, network = [affinity for affinity, _ in trained], trained[0][1]
    alone = bootstrap(affinities[0], network, replicates=60, utility=HeldoutGain(), similarity=RULE)
    both = bootstrap(affinities, network, replicates=60, utility=HeldoutGain(), similarity=RULE)
    assert np.ptp(both.replicates, axis=0).mean() > 2.0 * np.ptp(alone.replicates, axis=0).mean()


def test_a_kl_term_is_solved_too() -> None:
    affinity = estimate_affinity(make_predictions(5, n=4, per_task=8))
    network = TaskNetwork(affinity.utility, affinity.similarity, affinity.names, tau=0.1)
    assert bootstrap(affinity, network, replicates=5).replicates.min() > 0.0


def spread_of(replicates: list[list[float]], mixture: list[float]) -> Spread:
    network = TaskNetwork(np.zeros(len(mixture)), np.eye(len(mixture)), lower=0.1)
    return Spread(network, np.array(mixture), np.array(replicates), 10.0)


def test_what_a_spread_says_by_hand() -> None:
    draws = [[0.7, 0.2, 0.1], [0.6, 0.25, 0.15], [0.8, 0.1, 0.1], [0.3, 0.6, 0.1]]
    spread = spread_of(draws, [0.7, 0.2, 0.1])
    np.testing.assert_allclose(spread.at_floor, [0.0, 0.25, 0.75])
    np.testing.assert_allclose(spread.ahead[0], [0.5, 0.75, 1.0])
    np.testing.assert_allclose(spread.ahead + spread.ahead.T, 1.0)
    assert spread.ahead[1, 2] == 0.875
    assert spread.undecided == ("task 0", "task 1")
    assert spread.rank_stability == pytest.approx((1.0 + 1.0 + 0.8660254 + 0.5) / 4.0)
    assert spread.as_dict()["rank_stability"] == spread.rank_stability
    assert spread_of([[0.5, 0.5]], [0.5, 0.5]).as_dict()["rank_stability"] is None
    assert spread.interval(0.5)[0, 0] >= 0.5
    with pytest.raises(InputError, match="between 0 and 1"):
        spread.interval(1.0)


def test_evidence_that_does_not_fit_is_named() -> None:
    affinity = estimate_affinity(make_predictions(1, n=3), utility=Learnability())
    network = TaskNetwork.from_affinity(affinity)
    with pytest.raises(InputError, match="no blocks"):
        bootstrap(replace(affinity, blocks=None), network)
    with pytest.raises(InputError, match="other tasks"):
        bootstrap(affinity, TaskNetwork([0.0, 1.0], np.eye(2)))
