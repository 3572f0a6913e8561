"""The mixtures that an evaluation trains on, by name: published rules, the coverage energy, and "ours".

    mixtures_of(("uniform", "sqrt", "mixmin"), evidence)        # {"uniform": {"copy": 0.5, ...}, "sqrt": ...}

Rules that follow the sizes alone need no experts; `evidence_parts` says what the others look at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskpgm.baselines import BASELINES, Baseline, Evidence, Proportional, Temperature, Uniform
from taskpgm.coverage import CoverageNetwork
from taskpgm.inference import solve
from taskpgm.inference.router import convex_method
from taskpgm.least_forecast import least_forecast
from taskpgm.mixture import Mixture
from taskpgm.network import DEFAULT_FLOOR
from taskpgm.types import FloatArray, InputError

OURS = "ours"
COVERAGE = "coverage"
LEAST_FORECAST = "least-forecast"
BY_CURVES = {COVERAGE, LEAST_FORECAST}
RULES: dict[str, Baseline] = {**{rule.name: rule for rule in BASELINES}, "sqrt": Temperature(2.0)}


def mixtures_of(wanted: Sequence[str], evidence: Evidence, ours: Mixture | None = None) -> dict[str, dict[str, float]]:
    """By name, each mixture's shares of the examples.

    Args:
        wanted: "ours", "coverage", "least-forecast" (`taskpgm.least_forecast`), or the name of one of
            `taskpgm.baselines`; "sqrt" is "temperature-2".
        evidence: what the rules look at, for the budget of the final run; see `evidence_parts`.
        ours: what "ours" is; its weights are converted from their unit.

    Raises:
        InputError: a name that is not known, or one whose evidence is missing.
    """
    found: dict[str, dict[str, float]] = {}
    for name in wanted:
        check_known(name)
        if name == OURS:
            if ours is None:
                raise InputError(f"mixture {OURS!r}: none was computed; leave it out or compute it first.")
            found[name] = ours.shares("examples")
        else:
            shares = _by_curves(name, evidence) if name in BY_CURVES else RULES[name].mixture(evidence)
            found[name] = dict(zip(evidence.names, map(float, shares), strict=True))
    return found


def check_known(name: str) -> None:
    """Refuse a name that no mixture has."""
    known = (OURS, COVERAGE, LEAST_FORECAST, *RULES)
    if name not in known:
        raise InputError(f"evaluation.mixtures: {name!r} is not known; the mixtures are {', '.join(known)}.")


def evidence_parts(wanted: Sequence[str]) -> frozenset[str]:
    """Which parts of `Evidence` the named mixtures look at; none where sizes alone decide."""
    needed = {need for name in wanted if name in RULES for need in RULES[name].needs}
    return frozenset(needed | (set() if BY_CURVES.isdisjoint(wanted) else {"curves"}))


def depends_on_budget(name: str) -> bool:
    """Whether another length of the final run can give another mixture."""
    return name in BY_CURVES or (name in RULES and not isinstance(RULES[name], Uniform | Proportional | Temperature))


def coverage_of(evidence: Evidence) -> CoverageNetwork:
    """The coverage network with the defaults of the command line, in examples."""
    if evidence.curves is None:
        raise InputError("coverage: needs curves, the experts' losses while they were trained.")
    lower = DEFAULT_FLOOR / len(evidence)
    return CoverageNetwork.from_losses(
        evidence.curves,
        evidence.budget,
        target_weights=evidence.target_weights,
        interplay=evidence.interplay,
        lower=lower,
    )


def _by_curves(name: str, evidence: Evidence) -> FloatArray:
    network = coverage_of(evidence)
    solution = solve(network, convex_method(network))
    if solution.point is None:
        raise InputError(f"coverage: {solution.message}")
    point = np.asarray(solution.point, dtype=np.float64)
    if name == COVERAGE:
        return point
    return least_forecast(network, [point, np.full(len(point), 1.0 / len(point))])
