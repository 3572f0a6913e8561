"""A mixture that learns while it trains: no experts, one run, decided anew from its own training losses.

    mix = AdaptiveMixture(datasets, seed=0)
    trainer = SFTTrainer(model, args=arguments, train_dataset=mix.dataset)
    mix.attach(trainer)
    trainer.train()
    mix.decisions[-1].mixture.weights   # the last plan, with its certificate

The run starts with the prior mixture, the uniform one unless another is given. After 10, 20, ... 80 % of it every
task's learning curve is fitted to the training losses so far, and what is left of the budget is shared out anew. What
this cannot see is that two tasks are one under two names: for that, experts and their transfer graph are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.adaptive_rule import TAU, AdaptiveRule, Decision
from taskpgm.callback import MixtureCallback
from taskpgm.constraints import Constraint
from taskpgm.mixture_ledger import Window
from taskpgm.training_mixture import TrainingMixture
from taskpgm.types import FloatArray, InputError

FOLDER = "mixtures"
"""In the trainer's output folder: a mixture file for every decision."""


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
        upper: Mapping[str, float] | float = 1.0,
        max_epochs: float | None = None,
        constraints: Sequence[Constraint] = (),
        examples_per_epoch: int | None = None,
        first: float = 0.1,
        last: float = 0.8,
        decisions: int = 8,
        losses_every: int = 1,
    ) -> None:
        """
        Args:
            datasets: by task name, as for `TrainingMixture`.
            seed: of the order of every task's rows.
            prior: shares of the examples at the start, and what plans are pulled to; uniform where not given.
            target_weights: what each task's loss counts, by name; equal where not given.
            floor: least share of a task in what is left, in shares of the prior.
            tau: how strongly plans are pulled to the prior, in nats of loss.
            upper, constraints: on the shares of what is left, as in `FeasibleSet`.
            max_epochs: how often a task's data may be gone through in the whole run.
            examples_per_epoch: what the trainer takes for one epoch; the rows of all data where not given.
            first, last, decisions: the decisions are spread evenly from `first` to `last`, shares of the run.
            losses_every: measure training losses in every so many steps.

        Raises:
            InputError: data and settings that do not fit together.
        """
        names = tuple(sorted(datasets))
        shares = dict.fromkeys(names, 1.0) if prior is None else dict(prior)
        self._training = TrainingMixture(
            shares, datasets, seed=seed, examples_per_epoch=examples_per_epoch, losses_every=losses_every
        )
        self.names = names
        self.dataset = self._training.dataset
        self._prior = _scaled(shares, names)
        self._sizes = np.array([len(datasets[name]) for name in names], dtype=np.float64)
        self._settings: dict[str, Any] = {
            "target_weights": target_weights,
            "floor": floor,
            "tau": tau,
            "upper": upper,
            "max_epochs": max_epochs,
            "constraints": tuple(constraints),
            "first": first,
            "last": last,
            "decisions": decisions,
            "losses_every": losses_every,
        }
        self._rule(steps=10, examples=10)  # what does not fit together is said now, not in the middle of a run
        self._taken: dict[int, Decision] = {}

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Those taken so far, in their order; after a resumption those before it too, from the next one on."""
        return tuple(self._taken[step] for step in sorted(self._taken))

    def attach(self, trainer: Any) -> MixtureCallback:
        """Make a trainer draw, log, decide and save. Call it once, after the trainer was made.

        Every decision is written to mixtures/step-N.json in the trainer's output folder; `taskpgm verify` proves it.

        Raises:
            InputError: a trainer or setting that the mixture cannot work with, and what to change.
        """
        steps, examples = self._training.steps(trainer)
        rule = self._rule(steps=steps, examples=steps * examples)
        folder = Path(trainer.args.output_dir) / FOLDER

        def decide(windows: Sequence[Window]) -> Mapping[str, float] | None:
            decision = None
            for count in rule.marks:  # those before a resumption too: they are known from their windows
                if count == len(windows) or (count < len(windows) and windows[count - 1].last_step not in self._taken):
                    decision = rule(windows[:count])
                    self._keep(decision, folder if trainer.is_world_process_zero() else None)
            return None if decision is None or decision.step != windows[-1].last_step else rule.shares(decision)

        return self._training.attach(trainer, decide=decide, decide_every=rule.every)

    def _keep(self, decision: Decision | None, folder: Path | None) -> None:
        if decision is None:
            return
        self._taken[decision.step] = decision
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            decision.mixture.to_json(folder / f"step-{decision.step}.json")

    def _rule(self, *, steps: int, examples: int) -> AdaptiveRule:
        return AdaptiveRule(self.names, self._prior, steps, examples, sizes=self._sizes, **self._settings)


def _scaled(shares: Mapping[str, float], names: tuple[str, ...]) -> FloatArray:
    """(n,) the prior's shares, adding up to 1; a task that it does not name has none."""
    values = np.array([float(shares.get(name, 0.0)) for name in names])
    if not np.all(np.isfinite(values)) or values.sum() <= 0.0:
        raise InputError("prior: expected finite shares, one for each task.")
    return np.asarray(values / values.sum())
