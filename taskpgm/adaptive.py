"""A mixture that learns while it trains: no experts, one run, decided anew from its own training losses.

    mix = AdaptiveMixture(datasets, seed=0)
    trainer = SFTTrainer(model, args=arguments, train_dataset=mix.dataset)
    mix.attach(trainer)
    trainer.train()
    mix.decisions[-1].mixture.weights   # the last plan, with its certificate

The run starts with the prior mixture, the uniform one unless another is given. After 10, 20, ... 80 % of it every
task's learning curve is fitted to the training losses so far, and what is left of the budget is shared out anew. What
this cannot see by itself is that two tasks are one under two names, or that one teaches another: `transfer` tells it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.adaptive_rule import TAU, AdaptiveRule
from taskpgm.callback import MixtureCallback
from taskpgm.checks import Transfer, checked_graph
from taskpgm.constraints import Constraint
from taskpgm.decisions import FOLDER, Decision
from taskpgm.mixture_ledger import Window
from taskpgm.training_mixture import TrainingMixture
from taskpgm.types import FloatArray, InputError


class AdaptiveMixture:
    """The tasks' data as one data set, and what makes a trainer decide its mixture while it trains.

    dataset: give it to the trainer as train_dataset. names: the tasks, sorted.
    """

    def __init__(
        self,
        datasets: Mapping[str, Any],
        *,
        seed: int = 0,
        prior: Mapping[str, float] | None = None,
        target_weights: Mapping[str, float] | None = None,
        floor: float = 0.2,
        tau: float = TAU,
        transfer: Transfer | None = None,
        upper: Mapping[str, float] | float = 1.0,
        max_epochs: float | None = None,
        constraints: Sequence[Constraint] = (),
        held_out: Mapping[str, Any] | None = None,
        examples_per_epoch: int | None = None,
        first: float = 0.1,
        last: float = 0.8,
        decisions: int = 8,
        losses_every: int = 4,
    ) -> None:
        """
        Args:
            datasets: by task name, as for `TrainingMixture`.
            seed: of the order of every task's rows.
            prior: shares of the examples at the start, and what plans are pulled to; uniform where not given.
            target_weights: what each task's loss counts, by name; equal where not given.
            floor: least share of a task, in shares of the prior; upper bounds and epoch caps come first.
            tau: how strongly plans are pulled to the prior, in nats of loss.
            transfer: what an example of one task counts as one of another, from 0 to 1: {task: {other: worth}}, or a
                matrix as `exposure_transfer` gives it, with rows and columns in the order of `datasets`. Without it
                every example counts for its own task alone. Names of one task still count once each: let
                `target_weights` share one task's weight among them.
            upper, constraints: on the shares, as in `FeasibleSet`; where the prior breaks them, the run begins with
                what is nearest to it.
            max_epochs: how often a task's data may be gone through in the whole run, to within an example.
            held_out: by task name, a few examples that are never trained on, in data sets as the others. Where they are
                given, forecasts are checked by their losses, which are measured at each decision; by training losses
                otherwise. Forecasts that did worse than taking losses to stay as they were are not followed.
            examples_per_epoch: what the trainer takes for one epoch; the rows of all data where not given.
            first, last, decisions: the decisions are spread evenly from `first` to `last`, shares of the run.
            losses_every: measure training losses in every so many steps.

        Raises:
            InputError: data and settings that do not fit together.
        """
        self.names = tuple(sorted(datasets))
        self._prior = _scaled(prior, self.names)
        self._settings: dict[str, Any] = {
            "target_weights": target_weights,
            "floor": floor,
            "tau": tau,
            "transfer": _sorted(transfer, tuple(datasets)),
            "upper": upper,
            "max_epochs": max_epochs,
            "constraints": tuple(constraints),
            "first": first,
            "last": last,
            "decisions": decisions,
            "losses_every": losses_every,
        }
        self._rule(steps=10, examples=10)  # what does not fit together is said now, not in the middle of a run
        self._training = TrainingMixture(
            self._named(self._prior),
            datasets,
            seed=seed,
            examples_per_epoch=examples_per_epoch,
            losses_every=losses_every,
            held_out=held_out,
        )
        self.dataset = self._training.dataset
        self._taken: tuple[Decision, ...] = ()

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Those taken so far, in their order; after a resumption those before it too, from the next window on."""
        return self._taken

    def attach(self, trainer: Any) -> MixtureCallback:
        """Make a trainer draw, log, decide and save. Call it once, after the trainer was made.

        Every decision is written to mixtures/step-N.json in the trainer's output folder: `taskpgm verify` proves it,
        and `taskpgm decisions` shows all of them.

        Raises:
            InputError: a trainer or setting that the mixture cannot work with, and what to change.
        """
        plan, steps = self._training.step_plan(trainer), self._training.steps(trainer)
        sizes = np.array(self._training.sizes(trainer), dtype=np.float64)
        rule = self._rule(steps=steps, examples=steps * plan.examples, sizes=sizes, lead=plan.lead)
        folder = Path(trainer.args.output_dir) / FOLDER

        def decide(windows: Sequence[Window]) -> Mapping[str, float] | None:
            step, taken = windows[-1].last_step, self._taken
            if taken and taken[-1].step <= step and len(windows) not in rule.marks:
                return None  # what was decided is known, also of what came before a resumption
            found = rule.replayed(windows)
            for decision in found:
                if decision not in taken and trainer.is_world_process_zero():
                    folder.mkdir(parents=True, exist_ok=True)
                    decision.mixture.to_json(folder / f"step-{decision.step}.json")
            self._taken = found
            return found[-1].mixture.weights if found and found[-1].step == step else None

        training = self._training.with_weights(rule.start)
        callback = training.attach(trainer, decide=decide, decide_every=rule.every, look_at=rule.marks)
        callback.needs_losses = True
        return callback

    def _rule(self, *, steps: int, examples: int, sizes: FloatArray | None = None, lead: int = 1) -> AdaptiveRule:
        return AdaptiveRule(self.names, self._prior, steps, examples, sizes=sizes, lead=lead, **self._settings)

    def _named(self, values: FloatArray) -> dict[str, float]:
        return dict(zip(self.names, values.tolist(), strict=True))


def _sorted(transfer: Transfer | None, given: tuple[str, ...]) -> FloatArray | None:
    """(n, n) the graph with rows and columns sorted by name."""
    if transfer is None:
        return None
    order = sorted(range(len(given)), key=given.__getitem__)
    return checked_graph(transfer, given)[np.ix_(order, order)]


def _scaled(prior: Mapping[str, float] | None, names: tuple[str, ...]) -> FloatArray:
    """(n,) the prior's shares, adding up to 1; a task that it does not name has none."""
    if prior is None:
        return np.full(len(names), 1.0 / max(len(names), 1))
    unknown = [name for name in prior if name not in names]
    if unknown:
        raise InputError(f"prior: there is no data of a task {unknown[0]!r}; give its data too, or leave it out.")
    values = np.array([float(prior.get(name, 0.0)) for name in names])
    if not np.all(np.isfinite(values)) or values.sum() <= 0.0:
        raise InputError("prior: expected finite shares, one for each task.")
    return np.asarray(values / values.sum())
