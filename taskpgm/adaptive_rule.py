"""When and how a mixture is decided anew inside a training run, from the training losses that are there anyway.

Curves are fitted to each task's training losses so far and averaged over what these leave open (`training_curves`);
the shares of what is left of the budget are those that make the expected losses at the end least (`planning`). A rule
looks at nothing but the windows of the run, so a run that was stopped and goes on decides as it would have.

    rule = AdaptiveRule(names, prior, steps=1_000, examples=32_000)
    decision = rule(windows)            # None between the moments of decision
    decision.mixture.weights, decision.reason
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from taskpgm.constraints import Constraint
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.loss_noise import LEAST_NOISE, training_noise
from taskpgm.mixture import Mixture
from taskpgm.mixture_ledger import Window
from taskpgm.planning import plan_mixture
from taskpgm.training_curves import bin_losses, fit_training_curves
from taskpgm.types import FloatArray, InputError

TAU = 0.1
"""Pull to the prior at the start of the run, in nats of loss; less of it as less of the budget is left."""
WINDOWS = 120
"""About as many windows has a run: a dozen before the first decision."""


@dataclass(frozen=True)
class Decision:
    """What was decided after a step, and why.

    mixture: the shares of the examples that are left, with certificate and evidence. followed is False where the prior
    was taken instead; reason says why.
    """

    step: int
    mixture: Mixture
    followed: bool
    reason: str

    @property
    def expected(self) -> dict[str, float]:
        """By task, the loss expected at the end of the run under this mixture, nats per target token."""
        return {name: float(row["loss"]) for name, row in self.mixture.details["plan"]["tasks"].items()}


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the windows up to a decision say: (T, n) examples, mean losses, measured target tokens."""

    examples: FloatArray
    losses: FloatArray
    tokens: FloatArray

    @classmethod
    def of(cls, windows: Sequence[Window], losses_every: int) -> Evidence:
        examples = np.array([window.examples for window in windows], dtype=np.float64)
        losses = np.array([[np.nan if x is None else x for x in window.loss] for window in windows], dtype=np.float64)
        tokens = np.array([window.target_tokens for window in windows], dtype=np.float64) / losses_every
        known = np.isfinite(losses)
        return cls(examples, np.where(known, losses, 0.0), np.where(known, tokens, 0.0))

    @property
    def seen(self) -> FloatArray:
        """(n,) target tokens whose loss was measured."""
        return np.asarray(self.tokens.sum(axis=0))

    @property
    def start(self) -> FloatArray:
        """(n,) the first loss that was measured of each task."""
        first = (self.tokens > 0.0).argmax(axis=0)
        return np.asarray(np.maximum(self.losses[first, np.arange(self.losses.shape[1])], LEAST_NOISE))

    def mean(self) -> FloatArray:
        """(n,) mean losses of all of it, 0 where nothing was measured."""
        return np.asarray((self.losses * self.tokens).sum(axis=0) / np.maximum(self.seen, 1.0))

    def part(self, first: int, last: int) -> Evidence:
        """The windows from `first` up to, and without, `last`."""
        return Evidence(self.examples[first:last], self.losses[first:last], self.tokens[first:last])


@dataclass(frozen=True, eq=False)
class AdaptiveRule:
    """When to decide, and by which plan.

    names: the tasks. prior: (n,) positive shares of the examples, until the first decision and what plans are pulled
    to. steps, examples: of the whole run. first, last: shares of the run after which the first and the last decision
    are taken; decisions: how many. target_weights: what losses count; equal where None. floor: least share of what is
    left, in shares of the prior. tau: the pull to the prior, scaled by the share of the run that is left. sizes: (n,)
    examples of each task. max_epochs: how often a task's data may be gone through in the whole run. upper,
    constraints: on the shares of what is left. losses_every: in every so many steps losses were measured.

    Raises:
        InputError: a task without a share in the prior, or decisions that do not fit into the run.
    """

    names: tuple[str, ...]
    prior: FloatArray
    steps: int
    examples: int
    first: float = 0.1
    last: float = 0.8
    decisions: int = 8
    target_weights: FloatArray | Mapping[str, float] | None = None
    floor: float = 0.2
    tau: float = TAU
    sizes: FloatArray | None = None
    max_epochs: float | None = None
    upper: Mapping[str, float] | float = 1.0
    constraints: tuple[Constraint, ...] = ()
    losses_every: int = 1
    _curves: dict[int, ExpectedCurves] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 < self.first <= self.last < 1.0 or self.decisions < 1:
            raise InputError(
                f"decisions: {self.decisions} from {self.first:g} to {self.last:g} of the run; expected at least one,"
                " and 0 < first <= last < 1."
            )
        if not (np.isfinite(self.floor) and 0.0 <= self.floor <= 1.0):
            raise InputError(f"floor = {self.floor:g}: expected a number from 0 to 1, in shares of the prior.")
        starved = [name for name, share in zip(self.names, self.prior, strict=True) if not share > 0.0]
        if starved:
            raise InputError(f"task {starved[0]!r} has no share in the prior: leave its data out, or give it one.")

    @property
    def every(self) -> int:
        """Steps in a window."""
        return max(1, self.steps // WINDOWS)

    @property
    def marks(self) -> tuple[int, ...]:
        """How many windows are closed at each decision."""
        moments = np.linspace(self.first, self.last, self.decisions) * self.steps / self.every
        return tuple(sorted({max(1, round(moment)) for moment in moments if moment < self.steps / self.every}))

    def __call__(self, windows: Sequence[Window]) -> Decision | None:
        """The decision after the last of the windows; None if that is no moment of decision, or a task is unseen."""
        if len(windows) not in self.marks:
            return None
        evidence = Evidence.of(windows, self.losses_every)
        if not evidence.seen.all():
            return None
        reason = self.drift(evidence)
        plan = self._plan(evidence, self._fit(evidence))
        followed = reason is None
        return Decision(windows[-1].last_step, plan, followed, reason or "the plan for what is left of the budget")

    def shares(self, decision: Decision) -> dict[str, float]:
        """The shares of the examples from a decision on."""
        if decision.followed:
            return dict(decision.mixture.weights)
        return dict(zip(self.names, self.prior.tolist(), strict=True))

    def drift(self, evidence: Evidence) -> str | None:
        """Why the forecasts are not to be followed; None if they did no worse than taking losses to stay as they were.

        What the decision before this one expected of the windows since then is held against what came, and so is the
        last loss that it knew. What sampling alone explains is not held against the forecasts.
        """
        now, earlier = len(evidence.losses), [mark for mark in self.marks if mark < len(evidence.losses)]
        known = evidence.part(0, earlier[-1]) if earlier else None
        if known is None or not known.seen.all():
            return None
        since = evidence.part(earlier[-1], now)
        middle = known.examples.sum(axis=0) + 0.5 * since.examples.sum(axis=0)
        came, forecast = since.mean(), self._fit(known).mean(middle)
        means, counts = bin_losses(known.examples, known.losses, known.tokens)[1:]
        latest = counts.shape[1] - 1 - (counts[:, ::-1] > 0.0).argmax(axis=1)
        stayed = means[np.arange(len(means)), latest]
        weights = np.where(since.seen > 0.0, self._targets(), 0.0)
        allowed = training_noise(came[:, None], np.maximum(since.seen, 1.0)[:, None])[:, 0]
        missed, missed_by_staying = (float(weights @ np.abs(guess - came)) for guess in (forecast, stayed))
        if missed <= missed_by_staying + float(weights @ allowed):
            return None
        return (
            f"forecasts missed the losses since the last decision by {missed:.3g} nats, and taking them to stay as they"
            f" were by {missed_by_staying:.3g}: back to the prior"
        )

    def _targets(self) -> FloatArray:
        """(n,) target weights that add up to 1."""
        n = len(self.names)
        given = self.target_weights
        if given is None:
            return np.full(n, 1.0 / n)
        values = np.array([given[name] for name in self.names] if isinstance(given, Mapping) else given, dtype=float)
        return np.asarray(values / values.sum())

    def _fit(self, evidence: Evidence) -> ExpectedCurves:
        """The curves of all tasks; fitted once for each moment of decision."""
        moment = len(evidence.losses)
        if moment not in self._curves:
            binned = bin_losses(evidence.examples, evidence.losses, evidence.tokens)
            curves = fit_training_curves(*binned, evidence.start, budget=float(self.examples), names=self.names)
            self._curves[moment] = curves
        return self._curves[moment]

    def _plan(self, evidence: Evidence, curves: ExpectedCurves) -> Mixture:
        done = evidence.examples.sum(axis=0)
        left = self.examples - float(done.sum())
        exposures, losses, tokens = bin_losses(evidence.examples, evidence.losses, evidence.tokens)
        capped = self.max_epochs is not None and self.sizes is not None
        told: dict[str, Any] = {
            "exposures": exposures.tolist(),
            "losses": losses.tolist(),
            "tokens": tokens.tolist(),
            "start": evidence.start.tolist(),
        }
        return plan_mixture(
            curves,
            done,
            left,
            target_weights=self.target_weights,
            tau=self.tau * left / self.examples,
            prior=self.prior,
            lower=self.floor * self.prior,
            upper=self.upper,
            sizes=dict(zip(self.names, map(float, self.sizes), strict=True)) if capped else None,  # type: ignore[arg-type]
            epochs=self.max_epochs if capped else None,
            constraints=self.constraints,
            unit="examples",
            details={"evidence": told, "steps": self.steps},
        )
