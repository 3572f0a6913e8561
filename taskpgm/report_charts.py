"""What the page's charts are drawn from, as plain JSON values.

charts(Portrait(mixture), None)["mixture"]["weights"]

Numbers keep six digits: more than a picture can show, and few enough for hundreds of tasks in one file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.arrangement import strongest_pairs
from taskpgm.energy import relative_entropy
from taskpgm.evaluation_file import StoredEvaluation
from taskpgm.forecasting import Forecast
from taskpgm.plots import SHOWN, points_along
from taskpgm.portrait import Portrait
from taskpgm.types import FloatArray

DIGITS = 6
FEW = 60
BUDGETS = 25
PATH_POINTS = 120


def charts(portrait: Portrait, evaluation: StoredEvaluation | None) -> dict[str, Any]:
    """All charts by name; None for those that the mixture has no data for."""
    return {
        "names": list(portrait.names),
        "mixture": _mixture(portrait),
        "order": portrait.order.tolist(),
        "matrices": _matrices(portrait),
        "map": _map(portrait),
        "path": _path(portrait),
        "curves": curves(portrait),
        "energy": _energy(portrait),
        "evaluation": None if evaluation is None else _evaluation(evaluation),
    }


def rounded(values: ArrayLike) -> Any:
    """Nested lists with so many digits; None for what is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        return float(f"{float(array):.{DIGITS}g}") if np.isfinite(array) else None
    return [rounded(row) for row in array]


def _mixture(portrait: Portrait) -> dict[str, Any]:
    interval, sizes = portrait.interval, portrait.by_size
    return {
        "weights": rounded(portrait.weights),
        "interval": None if interval is None else rounded(interval),
        "bySize": None if sizes is None else rounded(sizes),
        "undecided": sorted(portrait.names.index(name) for name in portrait.undecided if name in portrait.names),
    }


def _matrix(key: str, title: str, sentence: str, values: FloatArray, **more: Any) -> dict[str, Any]:
    """A matrix whose cells read: sentence with {row}, {column} and {value}; of a symmetric one the lower triangle."""
    symmetric = bool(np.array_equal(values, values.T))
    rows = [rounded(row[: i + 1] if symmetric else row) for i, row in enumerate(values)]
    return {"key": key, "title": title, "sentence": sentence, "symmetric": symmetric, "rows": rows, **more}


def _matrices(portrait: Portrait) -> list[dict[str, Any]]:
    found, alike = [], portrait.similarity
    if alike is not None:
        found.append(_matrix("similarity", f"How alike: {alike[0]}", "{row} and {column}: {value}", alike[1]))
    if portrait.divergence is not None:
        ends = portrait.divergence_interval
        certain = {} if ends is None else {"low": _lower(ends[0]), "high": _lower(ends[1])}
        title, sentence = "How different: divergence J of the experts", "{row} and {column}: {value} nats"
        found.append(_matrix("divergence", title, sentence, portrait.divergence, **certain))
    if portrait.coverage is not None:
        title, sentence = "Transfer: what examples are worth", "an example of {row} counts as {value} of {column}"
        found.append(_matrix("transfer", title, sentence, portrait.coverage.transfer))
        title = "Contributions: what examples lower"
        sentence = "examples of {row} take {value} nats off {column}'s part of the mean loss"
    else:
        title, sentence = "Redundancy: the energy of pairs", "{row} with {column}: {value} of the energy"
    return [*found, _matrix("shares", title, sentence, portrait.pair_shares)]


def _lower(values: FloatArray) -> Any:
    return [rounded(row[: i + 1]) for i, row in enumerate(values)]


def _map(portrait: Portrait) -> dict[str, Any]:
    kind, coupling = portrait.couplings
    strong = np.maximum(coupling, coupling.T)
    edges = [[i, j, rounded(strong[i, j])] for i, j in strongest_pairs(coupling, edges_each(portrait))]
    return {
        "points": rounded(portrait.task_map.points),
        "share": rounded(portrait.task_map.share),
        "distances": portrait.distances[0],
        "coupling": kind,
        "edges": edges,
    }


def _path(portrait: Portrait) -> dict[str, Any] | None:
    path, network = portrait.path, portrait.pairwise
    if isinstance(path, str) or network is None:
        return None
    from taskpgm.exact_path import effective_tasks

    betas, mixtures = points_along(path)
    kept = _spread(len(betas), PATH_POINTS)
    betas, mixtures = betas[kept], mixtures[kept]
    largest = np.argsort(-mixtures.max(axis=0), kind="stable")[:SHOWN]
    return {
        "betas": rounded(betas),
        "tasks": largest.tolist(),
        "weights": rounded(mixtures[:, largest].T),
        "effective": rounded(effective_tasks(mixtures)),
        "utility": rounded(mixtures @ network.utility),
        "beta": rounded(network.beta),
        "chosen": rounded(portrait.weights[largest]),
    }


def _spread(count: int, most: int) -> NDArray[np.intp]:
    """At most so many places of so many, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def edges_each(portrait: Portrait) -> int:
    """How many couplings of each task are drawn: fewer where there are so many tasks that lines would hide them."""
    return 3 if len(portrait.names) <= FEW else 1


def curves(portrait: Portrait) -> dict[str, Any] | None:
    """Losses of every task while a run on the mixture goes on, up to twice its length; None without learning curves."""
    told, even = portrait.forecast, portrait.uniform_forecast
    if told is None or even is None:
        return None
    budget = told.network.budget
    budgets = 2.0 * budget * np.linspace(0.0, 1.0, BUDGETS) ** 2  # losses fall fastest at first
    along = [told.with_budget(max(float(each), 1e-9 * budget)) for each in budgets]
    return {
        "budgets": rounded(budgets),
        "budget": rounded(budget),
        "unit": portrait.mixture.unit.replace("_", " "),
        "loss": rounded(np.array([each.losses for each in along]).T),
        "interval": rounded(np.array([each.interval for each in along]).transpose(1, 0, 2)),
        "uniform": rounded(np.array([_at(even, each.network.budget) for each in along]).T),
        "final": rounded(told.losses),
        "finalInterval": rounded(told.interval),
    }


def _at(told: Forecast, budget: float) -> FloatArray:
    return told.with_budget(budget).losses


def _energy(portrait: Portrait) -> dict[str, Any]:
    """Stacked parts of each task's share; for a coverage energy what its examples take off, next to its loss."""
    own = np.diag(portrait.pair_shares)
    others = portrait.pair_shares.sum(axis=1) - own
    network = portrait.mixture.network
    if portrait.coverage is not None:
        parts = {"its own loss": own, "other tasks' losses": others}
        left = portrait.coverage.target_weights * portrait.coverage.losses(portrait.weights)  # of the energy's own
        found = {name: rounded(part) for name, part in parts.items()}
        return {"kind": "coverage", "parts": found, "losses": rounded(left)}
    parts = {"utility": portrait.utility_shares, "redundancy with itself": own, "redundancy with others": others}
    if network.tau > 0.0:
        parts["pull to the prior"] = network.tau * relative_entropy(portrait.weights, network.prior)
    return {"kind": "pairwise", "parts": {name: rounded(part) for name, part in parts.items()}, "losses": None}


def _evaluation(found: StoredEvaluation) -> list[dict[str, Any]]:
    """One group of intervals for each budget and measure: the averages, by mixture."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in found.differences:
        if row.level == "average" and row.mean is not None:
            one = {"mixture": row.mixture, "view": row.view, "mean": rounded(row.mean), "sure": row.sure}
            interval = None if row.interval is None else rounded(row.interval)
            groups.setdefault((row.steps, row.measure), []).append({**one, "interval": interval})
    return [
        {"steps": steps, "measure": measure, "reference": found.reference, "rows": rows}
        for (steps, measure), rows in groups.items()
    ]
