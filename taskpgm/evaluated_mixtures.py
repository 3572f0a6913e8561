"""The mixtures that an evaluation trains on, by name: sizes alone, published rules, our two energies, and "ours".

    mixtures_of(("uniform", "sqrt"), tasks)             # {"uniform": {"copy": 0.5, ...}, "sqrt": {...}}
    mixtures_of(("coverage", "mixmin"), tasks, evidence=evidence)

Sizes alone need nothing but the tasks. The others are computed from evidence, for the budget of the final run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskpgm.baselines import BASELINES, Evidence
from taskpgm.coverage import CoverageNetwork
from taskpgm.curves import fit_curves
from taskpgm.inference import CoverageProgram, solve
from taskpgm.mixture import Mixture
from taskpgm.network import DEFAULT_FLOOR
from taskpgm.tokens import TokenTask
from taskpgm.transfer import exposure_transfer
from taskpgm.types import FloatArray, InputError

OURS = "ours"
COVERAGE = "coverage"
POWERS = {"uniform": 0.0, "proportional": 1.0, "sqrt": 0.5}  # of the number of training examples
RULES = {rule.name: rule for rule in BASELINES if rule.name not in POWERS}


def mixtures_of(
    wanted: Sequence[str],
    tasks: Sequence[TokenTask],
    ours: Mixture | None = None,
    evidence: Evidence | None = None,
) -> dict[str, dict[str, float]]:
    """By name, each mixture's shares of the examples.

    Args:
        wanted: "uniform", "proportional" to the number of training examples, "sqrt" of it, "ours", "coverage", or the
            name of one of `taskpgm.baselines`.
        tasks: in the base's tokens.
        ours: what "ours" is; its weights are converted from their unit.
        evidence: what the rules look at; see `evidence_parts`.

    Raises:
        InputError: a name that is not known, or one whose evidence is missing.
    """
    sizes = np.array([len(task.train) for task in tasks], dtype=np.float64)
    names = [task.name for task in tasks]
    found: dict[str, dict[str, float]] = {}
    for name in wanted:
        check_known(name)
        if name == OURS:
            if ours is None:
                raise InputError(f"mixture {OURS!r}: none was computed; leave it out or compute it first.")
            found[name] = ours.shares("examples")
            continue
        shares = sizes ** POWERS[name] / (sizes ** POWERS[name]).sum() if name in POWERS else _by_rule(name, evidence)
        found[name] = dict(zip(names, map(float, shares), strict=True))
    return found


def check_known(name: str) -> None:
    """Refuse a name that no mixture has."""
    known = (*POWERS, OURS, COVERAGE, *RULES)
    if name not in known:
        raise InputError(f"evaluation.mixtures: {name!r} is not known; the mixtures are {', '.join(known)}.")


def evidence_parts(wanted: Sequence[str]) -> frozenset[str]:
    """Which parts of `Evidence` the named mixtures look at; none where sizes alone decide."""
    needed = {need for name in wanted if name in RULES for need in RULES[name].needs}
    return frozenset(needed | ({"curves"} if COVERAGE in wanted else set()))


def depends_on_budget(name: str) -> bool:
    """Whether another length of the final run can give another mixture."""
    return name == COVERAGE or name in RULES


def coverage_of(evidence: Evidence) -> CoverageNetwork:
    """The coverage network with the defaults of the command line, in examples."""
    curves, n = evidence.curves, len(evidence)
    if curves is None:
        raise InputError("coverage: needs curves, the experts' losses while they were trained.")
    transfer = exposure_transfer(curves)
    fitted = fit_curves(curves, transfer, horizon=evidence.budget / n)
    return CoverageNetwork(
        fitted, transfer, evidence.budget, target_weights=evidence.target_weights, lower=DEFAULT_FLOOR / n
    )


def _by_rule(name: str, evidence: Evidence | None) -> FloatArray:
    if evidence is None:
        raise InputError(f"mixture {name!r}: it needs experts, and there are none here; train them first.")
    if name in RULES:
        return RULES[name].mixture(evidence)
    solution = solve(coverage_of(evidence), CoverageProgram())
    if solution.point is None:
        raise InputError(f"coverage: {solution.message}")
    return np.asarray(solution.point, dtype=np.float64)
