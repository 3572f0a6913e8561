"""Training runs without a model: losses come from curves that are known, everything else is as in a real run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taskpgm.adaptive_rule import AdaptiveRule
from taskpgm.decisions import Decision
from taskpgm.drawing import Drawing
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.mixture_ledger import Ledger, Window
from taskpgm.types import FloatArray, IntArray

TARGETS = 20.0
"""Target tokens of an example."""


@dataclass(frozen=True)
class Simulated:
    """A run that is over. counts: (n,) examples drawn of each task."""

    windows: tuple[Window, ...]
    decisions: tuple[Decision, ...]
    counts: IntArray


def simulate(
    rule: AdaptiveRule,
    truth: ExpectedCurves,
    sizes: FloatArray,
    *,
    seed: int = 0,
    change: Callable[[int, FloatArray], FloatArray] | None = None,
    held_out: bool = False,
) -> Simulated:
    """Draw, lose and decide as the callback of a trainer does.

    Args:
        truth: the curves, by examples. sizes: (n,) examples of each task.
        change: given a step and (n,) losses, what they are instead; NaN is not measured.
        held_out: whether the true losses are told too, at every mark.
    """
    rng = np.random.default_rng(seed)
    order = list(rule.names)
    drawing = Drawing(dict(zip(order, map(int, sizes), strict=True)), rule.start, seed)
    place = np.array([order.index(name) for name in drawing.names])  # drawings sort their names
    ledger, sums, batch = Ledger(rule.names), np.zeros((len(order), 5)), rule.examples // rule.steps
    decisions = []
    for step in range(1, rule.steps + 1):
        seen = np.bincount(place[drawing.draw_tasks(batch)], minlength=len(order)).astype(float)
        losses = truth.mean(sums[:, 0] + 0.5 * seen)
        noisy = losses * (1.0 + 0.3 * rng.standard_normal(len(order)) / np.sqrt(np.maximum(seen, 1.0) * TARGETS))
        noisy = noisy if change is None else change(step, noisy)
        measured = np.where((step - 1) % rule.losses_every == 0, seen * TARGETS, 0.0) * np.isfinite(noisy)
        sums = sums + np.column_stack([seen, seen * 30.0, seen * TARGETS, measured, measured * np.nan_to_num(noisy)])
        ledger.set_totals(sums)
        if step % rule.every == 0:
            probed = truth.mean(sums[:, 0]).tolist() if held_out and step // rule.every in rule.marks else None
            ledger.close_window(step, drawing.shares, probed)
            decision = rule(ledger.windows)
            if decision is not None:
                decisions.append(decision)
                drawing.set_shares(decision.mixture.weights, drawing.position + rule.lead * batch)
    counts = np.zeros(len(order), dtype=np.int64)
    counts[place] = drawing.counts
    return Simulated(ledger.windows, tuple(decisions), counts)


def told_decisions(names: tuple[str, ...]) -> tuple[Decision, ...]:
    """Those of a run in which half of what was learned is lost again after half of it."""
    n, rng = len(names), np.random.default_rng(0)
    rule = AdaptiveRule(names, np.full(n, 1.0 / n), 120, 120 * 20)
    truth = ExpectedCurves(names, 1.0, 0.5, rng.uniform(1.0, 3.0, (n, 1)), rng.uniform(10.0, 200.0, (n, 1)), 1.0, 1.0)
    return simulate(rule, truth, np.full(n, 500.0), change=_forgotten).decisions


def save_decided(decisions: tuple[Decision, ...], out: Path) -> Path:
    """A trainer's output folder with them."""
    (out / "mixtures").mkdir(parents=True)
    for decision in decisions:
        decision.mixture.to_json(out / "mixtures" / f"step-{decision.step}.json")
    return out


def _forgotten(step: int, losses: FloatArray) -> FloatArray:
    return losses + np.where((np.arange(len(losses)) % 2 == 0) & (step > 60), 5.0, 0.0)
