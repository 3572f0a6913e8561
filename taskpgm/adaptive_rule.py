"""When and how a mixture is decided anew inside a training run, from the training losses that are there anyway.

Curves are fitted to each task's training losses so far and averaged over what these leave open (`training_curves`);
the shares of what is left of the budget are those that make the expected losses at the end least (`planning`). A rule
looks at nothing but the windows of the run, so a run that was stopped and goes on decides as it would have.

    rule = AdaptiveRule(names, prior, steps=1_000, examples=32_000)
    rule.start                          # shares until the first decision
    decision = rule(windows)            # None between the moments of decision
    decision.mixture.weights, decision.reason
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import (
    Bound,
    Transfer,
    checked_bound,
    checked_graph,
    checked_names,
    checked_scalar,
    checked_targets,
)
from taskpgm.constraints import Constraint
from taskpgm.decisions import Decision
from taskpgm.drift import Drift
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.feasible import FeasibleSet
from taskpgm.judge import FEASIBILITY_TOLERANCE
from taskpgm.mixture import Mixture
from taskpgm.mixture_ledger import Window
from taskpgm.planning import plan_mixture
from taskpgm.replay import check_replay, shares_after
from taskpgm.run_evidence import Evidence
from taskpgm.transfer_network import counted
from taskpgm.types import FloatArray, InputError, readonly

TAU = 0.1
"""Pull to the prior at the start of the run, in nats of loss; less of it as less of the budget is left."""
WINDOWS = 120
"""About as many windows has a run: a dozen before the first decision."""
SLACK = 1.0
"""Examples beyond an epoch cap: by so many draws may differ from shares, and no run must end for want of them."""
PLANNED = "the plan for what is left of the budget"


@dataclass(frozen=True, eq=False)
class AdaptiveRule:
    """When to decide, and by which plan.

    names: the tasks. prior: (n,) positive shares of the examples: the start, and what plans are pulled to. steps,
    examples: of the whole run. first, last: shares of the run after which the first and the last decision are taken;
    decisions: how many. target_weights: what losses count; equal where None. floor: least share of a task, in shares of
    the prior; upper bounds and epoch caps come first. tau: the pull to the prior, scaled by the share of the run that
    is left. transfer: (n, n) what an example of one task counts as one of another, or by names; where None, it counts
    for its own task alone. sizes: (n,) examples of each task. max_epochs: how often a task's data may be gone through
    in the whole run, to within an example. upper, constraints: on the shares of what is left, the prior's at the start
    too. losses_every: in every so many steps losses are measured. lead: steps after a decision that are drawn by the
    shares before it, at least one.

    Raises:
        InputError: one task only, a task without a share in the prior, decisions that do not fit into the run, or
            bounds and constraints that no mixture keeps.
    """

    names: tuple[str, ...]
    prior: FloatArray
    steps: int
    examples: int
    first: float = 0.1
    last: float = 0.8
    decisions: int = 8
    target_weights: ArrayLike | Mapping[str, float] | None = None
    floor: float = 0.2
    tau: float = TAU
    transfer: Transfer | None = None
    sizes: FloatArray | None = None
    max_epochs: float | None = None
    upper: Bound = 1.0
    constraints: tuple[Constraint, ...] = ()
    losses_every: int = 1
    lead: int = 1
    _known: dict[tuple[Window, ...], Decision | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked_names(self.names, len(self.names))
        if not 0.0 < self.first <= self.last < 1.0 or self.decisions < 1:
            raise InputError(
                f"decisions: {self.decisions} from {self.first:g} to {self.last:g} of the run; expected at least one,"
                " and 0 < first <= last < 1."
            )
        if not (np.isfinite(self.floor) and 0.0 <= self.floor <= 1.0):
            raise InputError(f"floor = {self.floor:g}: expected a number from 0 to 1, in shares of the prior.")
        if self.max_epochs is not None and not (np.isfinite(self.max_epochs) and self.max_epochs > 0.0):
            raise InputError(f"max_epochs = {self.max_epochs:g}: expected a positive number.")
        checked_scalar(self.tau, "tau", 0.0)
        starved = [name for name, share in zip(self.names, self.prior, strict=True) if not share > 0.0]
        if starved:
            raise InputError(f"task {starved[0]!r} has no share in the prior: leave its data out, or give it one.")
        self._targets, self._graph, self._feasible  # noqa: B018  what no mixture keeps is said now, not in the middle of a run

    # ----------------------------------------------------------------------------------------------------- the moments

    @property
    def every(self) -> int:
        """Steps in a window: whole rounds of `losses_every`, so that losses were measured in all windows alike."""
        return self.losses_every * max(1, self.steps // (WINDOWS * self.losses_every))

    @property
    def marks(self) -> tuple[int, ...]:
        """How many windows are closed at each decision; none where no step is left that it could change."""
        moments = np.linspace(self.first, self.last, self.decisions) * self.steps / self.every
        counts = {max(1, round(moment)) for moment in moments.tolist()}
        return tuple(sorted(count for count in counts if count * self.every + self.lead < self.steps))

    # --------------------------------------------------------------------------------------------------- the decisions

    @cached_property
    def start(self) -> dict[str, float]:
        """What the run begins with: the prior, or what is nearest to it of all that may be trained on."""
        if self._feasible.violation(self.prior) <= FEASIBILITY_TOLERANCE:
            return dict(zip(self.names, self.prior.tolist(), strict=True))
        return dict(self._near_prior(np.zeros(len(self.names)), slack=0.0).weights)

    def __call__(self, windows: Sequence[Window]) -> Decision | None:
        """The decision after the last of the windows; None if that is no moment of decision, or a task is unseen."""
        if len(windows) not in self.marks:
            return None
        seen = tuple(windows)
        if seen not in self._known:
            self._known[seen] = self._decide(seen)
        return self._known[seen]

    def history(self, windows: Sequence[Window]) -> tuple[Decision, ...]:
        """All decisions up to the last of the windows, in their order."""
        return tuple(each for count in self.marks if count <= len(windows) and (each := self(windows[:count])))

    def replayed(self, windows: Sequence[Window]) -> tuple[Decision, ...]:
        """The same, if these windows were drawn by them; an InputError if another rule began the run."""
        found = self.history(windows)
        check_replay(windows, self.start, found, every=self.every, lead=self.lead)
        return found

    def _decide(self, windows: tuple[Window, ...]) -> Decision | None:
        evidence = Evidence.of(windows, self._graph)
        if not evidence.seen.all():
            return None
        drift = self._drift(windows, evidence)
        reason = None if drift is None else drift.reason()
        curves, settled = self._curves(evidence), self._settled(windows, evidence)
        plan = self._plan(curves, settled, self._graph) if reason is None else self._near_prior(settled)
        told = {
            "step": windows[-1].last_step,
            "steps": self.steps,
            "followed": reason is None,
            "reason": reason or PLANNED,
            "evidence": evidence.told(),
            "drift": None if drift is None else {"forecast": drift.forecast, "staying": drift.staying},
        }
        return Decision(plan.with_details({"decision": told | self._foreseen(plan, curves, settled, evidence)}))

    def _drift(self, windows: tuple[Window, ...], evidence: Evidence) -> Drift | None:
        """How the forecasts of the decision before did; None where there was none, or nothing to forecast from."""
        earlier = [count for count in self.marks if count < len(windows)]
        before = Evidence.of(windows[: earlier[-1]], self._graph) if earlier else None
        if before is None or not before.seen.all():
            return None
        return Drift.of(self._curves(before), before, evidence.part(earlier[-1]), self._targets)

    def _curves(self, evidence: Evidence) -> ExpectedCurves:
        """The expected curves of all tasks, over what an even share of the run counts as."""
        worth = 1.0 if self._graph is None else float(self._graph.sum()) / len(self.names)
        return evidence.curves(self.names, worth * self.examples)

    def _settled(self, windows: tuple[Window, ...], evidence: Evidence) -> FloatArray:
        """(n,) examples trained on, and those of the next steps, which no decision can change any more."""
        now, settled = windows[-1].last_step, evidence.done
        before = self.history(windows[:-1])
        for step in range(now, now + self.lead):
            shares = shares_after(step, self.start, before, self.lead)
            settled = settled + self.examples / self.steps * np.array([shares[name] for name in self.names])
        return settled

    def _foreseen(
        self, mixture: Mixture, curves: ExpectedCurves, settled: FloatArray, evidence: Evidence
    ) -> dict[str, object]:
        """The losses expected at the end under a mixture of what is left, as plain JSON values."""
        weights = np.array([mixture.weights[name] for name in self.names])
        at = settled + (self.examples - settled.sum()) * weights
        at = at if self._graph is None else counted(at, self._graph)
        losses, spread = curves.mean(at), curves.spread(at)
        columns = {
            "done": evidence.done.tolist(),
            "exposure": at.tolist(),
            "latest": evidence.latest.tolist(),
            "expected": losses.tolist(),
            "spread": spread.tolist(),
        }
        rows = zip(*columns.values(), strict=True)
        tasks = {name: dict(zip(columns, row, strict=True)) for name, row in zip(self.names, rows, strict=True)}
        mean_spread = float(np.linalg.norm(self._targets * spread))
        return {"mean": float(self._targets @ losses), "mean_spread": mean_spread, "tasks": tasks}

    # -------------------------------------------------------------------------------------------------------- planning

    @cached_property
    def _targets(self) -> FloatArray:
        """(n,) target weights that add up to 1."""
        return checked_targets(self.target_weights, self.names)

    @cached_property
    def _graph(self) -> FloatArray | None:
        """(n, n) the transfer graph, where one was given."""
        return None if self.transfer is None else checked_graph(self.transfer, self.names)

    @cached_property
    def _feasible(self) -> FeasibleSet:
        """Where mixtures of the whole run lie: every mixture in it, once begun, can be gone on with to the end."""
        upper = np.array(checked_bound(self.upper, self.names, "upper", 1.0))
        if self._caps is not None:
            if self._caps.sum() < self.examples:
                raise InputError(
                    f"max_epochs = {self.max_epochs:g}: that is {self._caps.sum():.6g} examples of all tasks, and the"
                    f" run takes {self.examples}; allow more epochs, or shorten the run."
                )
            upper = np.minimum(upper, self._caps / self.examples)
        return FeasibleSet(self.names, np.minimum(self.floor * self.prior, upper), upper, self.constraints)

    @property
    def _caps(self) -> FloatArray | None:
        """(n,) examples of each task that the whole run may take, where epochs are limited."""
        if self.max_epochs is None or self.sizes is None:
            return None
        return readonly(self.max_epochs * self.sizes, np.float64)

    def _near_prior(self, settled: FloatArray, slack: float = SLACK) -> Mixture:
        """The mixture of what is left with the least divergence from the prior: flat curves ask for no more."""
        flat = ExpectedCurves(self.names, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0)
        return self._plan(flat, settled, None, tau=1.0, slack=slack)

    def _plan(
        self,
        curves: ExpectedCurves,
        settled: FloatArray,
        transfer: FloatArray | None,
        *,
        tau: float | None = None,
        slack: float = SLACK,
    ) -> Mixture:
        left, caps = self.examples - float(settled.sum()), self._caps
        sizes = None if caps is None else dict(zip(self.names, (caps + slack).tolist(), strict=True))
        return plan_mixture(
            curves,
            settled,
            left,
            target_weights=self._targets,
            tau=self.tau * left / self.examples if tau is None else tau,
            prior=self.prior,
            lower=self._feasible.lower,
            upper=self.upper,
            sizes=sizes,
            epochs=None if sizes is None else 1.0,
            constraints=self.constraints,
            transfer=transfer,
            unit="examples",
        )
