"""Real instances with published answers: the OR-Library portfolios (Chang, Meade, Beasley and Sharaiha 2000).

min -mu'w + lam/2 w'Sw over the simplex is a task network; its minimisers must lie on the published frontiers.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from taskpgm.exact import exact_certificate
from taskpgm.exact_path import trade_off
from taskpgm.inference import SimplexQP, solve
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray

PORTFOLIOS = ("port1", "port2", "port3")
POINTS = 40
PRINTED_RETURN = 5e-7  # the data are printed to 6 decimals, the frontier's variances to 9
RELATIVE = 1e-5


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    path = shared_data / "instances" / "orlib_port"
    if not path.is_dir():
        pytest.skip("the OR-Library portfolios (instances/orlib_port) are not in the data folder")
    return path


def read_assets(folder: Path, name: str) -> tuple[FloatArray, FloatArray]:
    """(n,) mean returns and (n, n) covariances."""
    table = np.loadtxt(folder / f"{name}_return_sd.txt")
    means, deviations = table[:, 1], table[:, 2]
    correlation = np.eye(len(means))
    for i, j, value in np.loadtxt(folder / f"{name}_corr.txt"):
        correlation[int(i) - 1, int(j) - 1] = correlation[int(j) - 1, int(i) - 1] = value
    return means, correlation * np.outer(deviations, deviations)


def read_frontier(folder: Path, name: str) -> tuple[FloatArray, FloatArray]:
    """Returns, increasing, and the least variance at each."""
    table = np.loadtxt(folder / f"{name.replace('port', 'portef')}.txt")
    order = np.argsort(table[:, 0])
    return table[order, 0], table[order, 1]


def known_optima(folder: Path, name: str) -> list[dict[str, float]]:
    entries = json.loads((folder.parent / "manifest.json").read_text(encoding="utf-8"))["entries"]
    file = f"orlib_port/{name.replace('port', 'portef')}.txt"
    known = next(entry["known"] for entry in entries if entry["file"] == file)
    return list(known["penalised_optima"])


@pytest.mark.parametrize("name", PORTFOLIOS)
def test_known_penalised_optima(folder: Path, name: str) -> None:
    means, covariance = read_assets(folder, name)
    optima = known_optima(folder, name)
    assert len(optima) >= 6
    for known in optima:
        network = TaskNetwork(means, covariance, lam=known["lam"])
        solution = solve(network, SimplexQP())
        assert solution.point is not None
        assert solution.energy == pytest.approx(known["f_star"], abs=1e-9)
        assert int((solution.point > 1e-6).sum()) == known["support"]
        assert float(exact_certificate(network, solution.point).gap) <= 1e-10


@pytest.mark.parametrize("name", PORTFOLIOS)
def test_minimisers_lie_on_the_published_frontier(folder: Path, name: str) -> None:
    means, covariance = read_assets(folder, name)
    returns, variances = read_frontier(folder, name)
    slopes = np.gradient(variances, returns)  # -dR + lam/2 dV = 0 there: lam = 2 / slope
    found = []
    for row in np.linspace(5, len(returns) - 6, POINTS).astype(int):
        solution = solve(TaskNetwork(means, covariance, lam=2.0 / slopes[row]), SimplexQP())
        w = np.array(solution.point)
        found.append((means @ w, w @ covariance @ w))
    reached, variance = np.array(found).T
    published = np.interp(reached, returns, variances)
    assert (variance >= published * (1.0 - RELATIVE)).all()  # nothing lies below the frontier
    assert (variance <= published * (1.0 + RELATIVE)).all()
    assert np.ptp(reached) > 0.9 * np.ptp(returns)  # they are spread over the whole frontier


@pytest.mark.parametrize("name", PORTFOLIOS)
def test_the_ends_of_the_published_frontier(folder: Path, name: str) -> None:
    means, covariance = read_assets(folder, name)
    returns, variances = read_frontier(folder, name)
    greedy = np.array(solve(TaskNetwork(means, covariance, lam=1e-3), SimplexQP()).point)
    careful = np.array(solve(TaskNetwork(means, 1e3 * covariance, beta=0.0), SimplexQP()).point)
    assert means @ greedy == pytest.approx(returns[-1], abs=PRINTED_RETURN)
    assert greedy @ covariance @ greedy == pytest.approx(variances[-1], rel=RELATIVE)
    assert careful @ covariance @ careful == pytest.approx(variances[0], rel=RELATIVE)


@pytest.mark.parametrize("name", PORTFOLIOS)
def test_the_exact_path_is_the_published_frontier_at_every_point(folder: Path, name: str) -> None:
    means, covariance = read_assets(folder, name)
    returns, variances = read_frontier(folder, name)
    assert len(returns) == 2000
    path = trade_off(TaskNetwork(means, covariance))
    assert path.worst_gap <= 1e-14
    right = np.clip(np.searchsorted(path.utilities, returns), 1, len(path.utilities) - 1)
    low, high = path.utilities[right - 1], path.utilities[right]
    share = ((returns - low) / (high - low))[:, None]
    assert share.min() > -1e-3  # the ends' returns are rounded: a little beyond the path
    assert share.max() < 1.0 + 1e-3
    weights = (1.0 - share) * path.mixtures[right - 1] + share * path.mixtures[right]
    found = np.einsum("ki,ij,kj->k", weights, covariance, weights)
    slopes = 2.0 * (
        (1.0 - share[:, 0]) * path.betas[right - 1] + share[:, 0] * path.betas[right]
    )  # d variance / d return
    printed = 1e-9 * (1.0 + slopes)  # one unit in the last place of the variance, and one of the return
    assert (np.abs(found - variances) <= printed).all()
