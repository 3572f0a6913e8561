"""Sparse networks: the strongest couplings stay, and what the others could change lies where it is said to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import energy_scale
from strategies import BOUNDS, SEEDS, SIMILARITIES, feasible_mixtures, random_network

from taskpgm.inference import Exhaustive, solve
from taskpgm.inference.junction_tree import JunctionTree
from taskpgm.sparse import sparsified
from taskpgm.types import InputError, Status

KINDS = [*SIMILARITIES, "indefinite"]


@given(SEEDS, st.integers(2, 8), st.sampled_from(KINDS), st.sampled_from(BOUNDS), st.integers(0, 7))
def test_the_energy_error_lies_where_it_is_said_to(seed: int, n: int, kind: str, bounds: str, keep: int) -> None:
    network = random_network(n, seed, kind, bounds=bounds)
    sparse = sparsified(network, keep)
    scale = energy_scale(network)
    low, high = sparse.error
    for p in feasible_mixtures(network, 30, seed):
        assert low - 1e-12 * scale <= network.energy(p) - sparse.network.energy(p) <= high + 1e-12 * scale
    low, high = sparse.error_free
    rng = np.random.default_rng(seed)
    for p in rng.uniform(network.lower, network.upper, size=(30, n)):
        assert low - 1e-12 * scale <= network.energy(p) - sparse.network.energy(p) <= high + 1e-12 * scale


@given(SEEDS, st.integers(2, 7), st.sampled_from(KINDS), st.integers(0, 6))
def test_what_stays_is_strongest(seed: int, n: int, kind: str, keep: int) -> None:
    network = random_network(n, seed, kind)
    sparse = sparsified(network, keep).network.similarity
    np.testing.assert_array_equal(sparse, sparse.T)
    np.testing.assert_array_equal(np.diag(sparse), np.diag(network.similarity))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        stays = [abs(network.similarity[i, j]) for j in others if sparse[i, j] == network.similarity[i, j]]
        goes = [abs(network.similarity[i, j]) for j in others if sparse[i, j] != network.similarity[i, j]]
        assert len(stays) >= min(keep, n - 1)
        if len(stays) == keep and goes:
            assert min(stays, default=np.inf) >= max(goes)


@given(SEEDS, st.integers(2, 6), st.sampled_from(KINDS))
def test_all_neighbours_are_the_network_itself(seed: int, n: int, kind: str) -> None:
    network = random_network(n, seed, kind)
    sparse = sparsified(network, n - 1)
    np.testing.assert_array_equal(sparse.network.similarity, network.similarity)
    assert sparse.dropped == 0
    assert sparse.error == (0.0, 0.0)
    assert sparse.error_free == (0.0, 0.0)


@given(SEEDS, st.integers(3, 6), st.integers(1, 3), st.booleans())
def test_the_least_energy_of_the_full_network_is_enclosed(seed: int, n: int, keep: int, free: bool) -> None:
    network = random_network(n, seed, "exponential_kernel", beta=0.2)
    sparse = sparsified(network, keep)
    full, thin = (x.levels(None, 2) if free else x.levels(4) for x in (network, sparse.network))
    low, high = sparse.least_energy_between(solve(thin, Exhaustive()), free=free)
    assert low - 1e-9 <= solve(full, Exhaustive()).energy <= high + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_not_vacuous(seed: int) -> None:
    """Two tasks that lost their coupling, in equal parts, reach at least half of what is allowed."""
    network = random_network(8, seed, "exponential_kernel")
    sparse = sparsified(network, 2)
    errors = []
    for i in range(8):
        for j in range(i):
            p = np.zeros(8)
            p[[i, j]] = 0.5
            errors.append(network.energy(p) - sparse.network.energy(p))
    assert max(errors) >= 0.5 * sparse.error[1] > 0.0


def test_sixty_tasks_with_two_neighbours_are_exact_by_elimination() -> None:
    network = random_network(60, 3, "exponential_kernel", beta=0.2)
    sparse = sparsified(network, 1)
    solution = solve(sparse.network.levels(None, 2), JunctionTree())
    assert solution.status is Status.optimal
    low, high = sparse.least_energy_between(solution, free=True)
    assert low <= solution.energy <= high


def test_a_negative_number_of_neighbours_is_refused() -> None:
    with pytest.raises(InputError, match="from 0"):
        sparsified(random_network(3, 1), -1)
