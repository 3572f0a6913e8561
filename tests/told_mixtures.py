"""Mixtures with everything that a page can show, made on the spot, under names that try to be more than names."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from strategies import divergences, random_coverage

from taskpgm.forecasting import forecast
from taskpgm.inference import CoverageProgram, SimplexQP, solve
from taskpgm.mixture import Mixture
from taskpgm.network import TaskNetwork
from taskpgm.storage import canonical_json
from taskpgm.types import Solution, Status, TaskSize

HOSTILE = (
    "</script><img src=x onerror=document.title='broken'>",
    "\"><svg onload=document.title='broken'>",
    "שלום עולם",
    "مهمة طويلة",
    "😀 emoji 👩‍👩‍👧",
    "two\nlines\r\n<!--",
    "a very long task name " * 12,
    "it's 'quoted' \"twice\" & more",
    "${style} {{x}} \\u003c %s",
    "_under$score_ |x| \\frac{1}{2} #1 100% ~^",
    "漢字 half \ud83d of a letter",
    " ",
    "nul\x00 and bell\x07",
)


def told_names(n: int) -> tuple[str, ...]:
    """Hostile ones first, then plain ones."""
    return (*HOSTILE[:n], *(f"task {i:03d}" for i in range(n - len(HOSTILE))))


def told_mixture(
    kind: Literal["pairwise", "coverage"], n: int, seed: int = 0, *, plain: bool = False, solved: bool = True
) -> Mixture:
    """A certified mixture with sizes, divergences, error bars, findings and settings; equal arguments, equal mixtures.

    plain: names without a trap in them. solved: False takes a random mixture instead, which takes no time.
    """
    rng = np.random.default_rng(seed)
    names = tuple(f"task {i:03d}" for i in range(n)) if plain else told_names(n)
    apart = divergences(n, rng)
    network: Any
    if kind == "pairwise":
        network = TaskNetwork(rng.random(n), np.exp(-10.0 * apart), names, beta=1.0 / n, lower=0.2 / n)
        solution = solve(network, SimplexQP()) if solved else unsolved(n, rng)
    else:
        network = random_coverage(n, seed, names=names).changed(lower=0.1 / n)
        solution = solve(network, CoverageProgram()) if solved else unsolved(n, rng)
    point = solution.point
    assert point is not None
    width = rng.uniform(0.0, 0.4, (2, n)) * point
    ends = zip(names, (point - width[0]).tolist(), (point + width[1]).tolist(), strict=True)
    details: dict[str, Any] = {
        "key": "0123456789abcdef",
        "base": "fedcba9876543210",
        "versions": {"numpy": np.__version__},
        "settings": {"training": {"seed": 7, "steps": 100}, "energy": {"kind": kind}},
        "divergence": apart.tolist(),
        "divergence_interval": [(0.9 * apart).tolist(), (1.1 * apart).tolist()],
        "uncertainty": {
            "level": 0.95,
            "interval": {name: [low, high] for name, low, high in ends},
            "undecided": [names[1]],
            "probes_to_halve": None,
        },
        "findings": [{"task": names[0], "kind": "flat", "text": f"{names[0]}: its loss fell little."}],
    }
    if kind == "coverage":
        even = forecast(network, np.full(n, 1.0 / n)).mean
        details["forecast"] = {**forecast(network, solution).as_dict(), "uniform": even, "by_family": False}
    sizes = {
        name: TaskSize(k, 30 * k, 5 * k) for name, k in zip(names, rng.integers(50, 5000, n).tolist(), strict=True)
    }
    return Mixture.from_solution(network, solution, sizes=sizes, details=details)


def unsolved(n: int, rng: np.random.Generator) -> Solution:
    """A mixture within the bounds that nobody has proved anything about."""
    point = 0.2 / n + 0.8 * rng.dirichlet(np.ones(n))
    return Solution("drawn", Status.feasible, point, energy=1.0)


def told_evaluation(names: tuple[str, ...], mixture: str = "ours <b>") -> dict[str, Any]:
    """The file of an evaluation that has one mixture next to uniform."""

    def row(view: str, level: str, measure: str, mean: float | None) -> dict[str, Any]:
        ends = None if mean is None else [mean - 0.02, mean + 0.02]
        wider = None if mean is None else [mean - 0.03, mean + 0.03]
        common = {"steps": 125, "measure": measure, "mixture": mixture, "view": view, "level": level, "seeds": 3}
        return {
            **common,
            "mean": mean,
            "reference_mean": None if mean is None else 1.5,
            "interval": ends,
            "corrected": wider,
        }

    rows = [row("all tasks", "average", "losses", -0.08), row("all tasks", "average", "exact", 0.01)]
    rows += [row(name, "task", "losses", None if i == 1 else 0.01 * i) for i, name in enumerate(names)]
    failed = [{"mixture": mixture, "steps": 125, "seed": 2, "why": "killed"}]
    common = {"format": "taskpgm-evaluation/1", "reference": "uniform", "seeds": [0, 1, 2], "evidence_examples": 44800}
    value = {**common, "differences": rows, "failed": failed}
    assert canonical_json(value)
    return value
