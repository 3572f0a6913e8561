"""MixMin: the mixture of the experts' *distributions* that predicts the targets best, as a convex program.

    minimise over mixtures p   sum_j v_j mean over probes d of task j of -1/|d| log sum_i p_i P_i(d)

P_i(d) is expert i's probability of the whole target sequence of probe d given its prompt, |d| its number of tokens: the
ensemble chooses one expert per sequence, as in the authors' code, and losses are nats per target token. The authors
take a hundred steps of exponentiated gradient; here the program is solved, and its gap is a proof: no mixture has a
loss lower by more than

    max_i sum_d w_d P_i(d) / sum_k p_k P_k(d)  -  sum_d w_d,       w_d = v_j / (probes of j x |d|).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.baselines.baseline import Baseline, given
from taskpgm.baselines.evidence import Evidence
from taskpgm.baselines.solving import on_simplex
from taskpgm.types import FloatArray, InputError, Predictions

GAP = 1e-6
STEPS = 2_000


@dataclass(frozen=True)
class MixMin(Baseline):
    """Needs predictions: the experts are the paper's proxy models, one per task."""

    name: ClassVar[str] = "mixmin"
    paper: ClassVar[str] = "Thudi et al. 2025, MixMin: Finding Data Mixtures via Convex Minimization, arXiv 2502.10510"
    needs: ClassVar[tuple[str, ...]] = ("predictions",)

    def propose(self, evidence: Evidence) -> FloatArray:
        mixture, gap = best_ensemble(*sequences(given(evidence.predictions), evidence.target_weights))
        if not gap <= GAP:
            raise InputError(f"mixmin: its program was solved up to a gap of {gap:.3g} nats only.")
        return mixture


def sequences(predictions: Predictions, target_weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """((n, D) log-probabilities of every probe's whole target in nats, (D,) the probes' weights w_d)."""
    _, first, probe, length = np.unique(
        predictions.context_probe, return_index=True, return_inverse=True, return_counts=True
    )
    logs = np.zeros((len(predictions.names), len(length)))
    np.add.at(logs.T, probe, predictions.target_log_probs.T.astype(np.float64))
    task = predictions.context_task[first]
    return logs, target_weights[task] / (np.bincount(task)[task] * length)


def best_ensemble(log_probs: FloatArray, weights: FloatArray) -> tuple[FloatArray, float]:
    """(mixture, gap) of the program: (n,) weights whose loss is within `gap` nats of the least.

    log_probs: (n, D) in nats. weights: (D,) w_d, not negative.
    """
    probs = np.exp(log_probs - log_probs.max(axis=0))  # a probe's scale moves the loss by a constant
    p = _by_cone_program(probs, weights)
    for _ in range(STEPS):  # each step of expectation-maximisation lowers the loss
        ratios = probs @ (weights / (p @ probs))
        gap = float(ratios.max() - weights.sum())
        if gap <= 1e-3 * GAP:
            break
        p = on_simplex(p * ratios)
    return p, gap


def _by_cone_program(probs: FloatArray, weights: FloatArray) -> FloatArray:
    """(n,) a mixture near the best one, no weight exactly 0; uniform where the solver fails."""
    import cvxpy as cp

    n = len(probs)
    p = cp.Variable(n)
    loss = -(weights / weights.sum()) @ cp.log(probs.T @ p)
    program = cp.Problem(cp.Minimize(loss), [cp.sum(p) == 1.0, p >= 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "solution may be inaccurate": the gap says by how much
        try:
            program.solve(solver=cp.CLARABEL)
        except cp.error.SolverError:
            return np.full(n, 1.0 / n)
    if p.value is None or not np.isfinite(p.value).all():
        return np.full(n, 1.0 / n)
    return on_simplex(np.maximum(p.value, 1e-12))
