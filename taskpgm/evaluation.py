"""Does a mixture help? The base is trained on each mixture at equal budget, and the held-out losses are compared.

    evaluation = evaluate(base, tasks, {"uniform": {...}, "ours": {...}}, training, seeds=range(5), out=Path("runs/a"))
    evaluation.values("ours", 250, "losses")        # (seeds, n) nats per target token

A mixture is a mapping of task names to shares of the examples. Runs of one seed are paired (see training_run), so that
what is compared is the difference a mixture makes, and not the luck of an order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from taskpgm.base import Base
from taskpgm.config import MeasureSettings, TrainingSettings
from taskpgm.executors import LOCAL, Executor
from taskpgm.progress import Progress, silent
from taskpgm.sampling import check_shares
from taskpgm.storage import remove_partial
from taskpgm.tokens import TokenTask
from taskpgm.training_run import Outcome, TrainingRun, do_missing, held_out, plan_run
from taskpgm.types import FloatArray, InputError
from taskpgm.workers import do_all

Shares: TypeAlias = Mapping[str, float]
Measured: TypeAlias = Literal["losses", "exact"]


@dataclass(frozen=True)
class Run:
    """One training run of an evaluation: so many steps on a mixture, with a seed."""

    mixture: str
    steps: int
    seed: int

    def __str__(self) -> str:
        return f"mixture {self.mixture!r}, {self.steps} steps, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The outcomes of all runs that ended well, and why the others failed."""

    names: tuple[str, ...]
    mixtures: Mapping[str, Shares]
    at_budget: Mapping[int, Mapping[str, Shares]]
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    batch_size: int
    outcomes: Mapping[Run, Outcome]
    failed: Mapping[Run, str]

    def __post_init__(self) -> None:
        for run, outcome in self.outcomes.items():
            if (outcome.seed, outcome.steps) != (run.seed, run.steps):
                raise InputError(f"{run}: its outcome is of seed {outcome.seed} and {outcome.steps} steps; not paired.")

    @property
    def compared(self) -> tuple[str, ...]:
        """The names of all mixtures."""
        return _names(self.mixtures, self.at_budget)

    def shares(self, mixture: str, steps: int) -> Shares:
        """The shares of the examples that a run of so many steps had."""
        return _shares(self.mixtures, self.at_budget, mixture, steps)

    def values(self, mixture: str, steps: int, measured: Measured) -> FloatArray:
        """(seeds, n) losses in nats per target token, or shares of exact answers; a failed run is a row of nan."""
        nothing = np.full(len(self.names), np.nan)
        runs = [self.outcomes.get(Run(mixture, steps, seed)) for seed in self.seeds]
        return np.array([nothing if run is None else getattr(run, measured) for run in runs])


@dataclass(frozen=True)
class _Bench:
    """What all runs of an evaluation share."""

    base: Base
    tasks: tuple[TokenTask, ...]
    mixtures: Mapping[str, Shares]
    at_budget: Mapping[int, Mapping[str, Shares]]
    training: TrainingSettings
    measure: MeasureSettings
    out: Path
    keep_models: bool

    def planned(self, run: Run) -> TrainingRun:
        of = _shares(self.mixtures, self.at_budget, run.mixture, run.steps)
        shares = [of[task.name] for task in self.tasks]
        training = self.training.model_copy(update={"steps": run.steps})
        return plan_run(
            self.base,
            self.tasks,
            shares,
            training,
            seed=run.seed,
            out=self.out,
            measure=self.measure,
            keep_model=self.keep_models,
        )


def evaluate(
    base: Base,
    tasks: Sequence[TokenTask],
    mixtures: Mapping[str, Shares],
    training: TrainingSettings,
    *,
    seeds: Sequence[int],
    out: Path,
    budgets: Sequence[int] = (),
    at_budget: Mapping[int, Mapping[str, Shares]] | None = None,
    measure: MeasureSettings | None = None,
    jobs: int = 1,
    keep_models: bool = False,
    progress: Progress = silent,
    executor: Executor = LOCAL,
) -> Evaluation:
    """Train on every mixture with every seed and budget; runs that are on disk are not done again.

    Args:
        base: where every run starts.
        tasks: in the base's tokens (`tokenize_for`).
        mixtures: by name, each task's share of the examples (scaled to sum 1).
        training: of the final model, but for steps and seed.
        seeds: one run each.
        out: folder of the runs.
        budgets: numbers of steps; those of `training` where empty.
        at_budget: further mixtures, whose shares depend on the budget: by number of steps, then by name.
        measure: on which held-out examples.
        jobs: how many runs go on at a time here, each in a process of its own with one thread (or training.threads).
        keep_models: keep the trained weights too.
        progress: receives (stage, steps done, steps in all, text).
        executor: a cluster that does the runs in place of this machine.

    Raises:
        InputError: a mixture that does not name exactly the tasks or cannot be one, or a task without held-out data.
    """
    budgets, further = tuple(budgets) or (training.steps,), at_budget or {}
    bench = _Bench(base, tuple(tasks), mixtures, further, training, measure or MeasureSettings(), out, keep_models)
    _check(bench, seeds, jobs)
    named = _names(mixtures, further)
    runs = [Run(name, steps, seed) for steps in budgets for seed in seeds for name in named]
    failed = _do_missing(bench, runs, jobs, progress, executor)
    outcomes = {run: outcome for run in runs if (outcome := bench.planned(run).found()) is not None}
    names = tuple(task.name for task in tasks)
    return Evaluation(names, mixtures, further, budgets, tuple(seeds), training.batch_size, outcomes, failed)


def _names(mixtures: Mapping[str, Shares], at_budget: Mapping[int, Mapping[str, Shares]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*mixtures, *(name for further in at_budget.values() for name in further)]))


def _shares(
    mixtures: Mapping[str, Shares], at_budget: Mapping[int, Mapping[str, Shares]], name: str, steps: int
) -> Shares:
    return mixtures[name] if name in mixtures else at_budget[steps][name]


def _do_missing(
    bench: _Bench, runs: Sequence[Run], jobs: int, progress: Progress, executor: Executor
) -> dict[Run, str]:
    """Train what is not on disk; why runs failed. Mixtures that come to the same counts are one run."""
    missing: dict[str, list[Run]] = {}
    for run in runs:
        planned = bench.planned(run)
        if planned.found() is None:
            missing.setdefault(planned.key, []).append(run)
    if not missing:
        return {}
    remove_partial(bench.out)
    todo = [same[0] for same in missing.values()]
    tally = _Tally([run.steps for run in todo], progress)
    if executor.elsewhere:
        why = _do_elsewhere([bench.planned(run) for run in todo], tally, executor)
    else:
        why = do_all(_train, bench, todo, workers=jobs, report=tally.step, ended=tally.end)
    return {run: why[i] for i, same in enumerate(missing.values()) if i in why for run in same}


def _do_elsewhere(runs: Sequence[TrainingRun], tally: _Tally, executor: Executor) -> dict[int, str]:
    """Why runs failed, by index."""
    why: dict[int, str] = {}

    def failed(index: int, text: str) -> None:
        why[index] = text
        tally.end(index)

    do_missing(runs, executor, lambda index, step: tally.end(index), failed)
    return why


def _train(bench: _Bench, run: Run, report: Callable[[int], None]) -> None:
    """One run in whichever process; twenty reports of it are enough."""
    every = max(1, run.steps // 20)
    bench.planned(run).do(lambda step: report(step) if step % every == 0 else None)


class _Tally:
    """Steps done over all runs, for one line of progress."""

    def __init__(self, steps: Sequence[int], progress: Progress) -> None:
        self.steps, self.progress = steps, progress
        self.done, self.ended = [0] * len(steps), 0
        self._tell()

    def step(self, index: int, step: int) -> None:
        self.done[index] = step
        self._tell()

    def end(self, index: int) -> None:
        self.done[index] = self.steps[index]
        self.ended += 1
        self._tell()

    def _tell(self) -> None:
        text = f"{self.ended} of {len(self.steps)} runs"
        self.progress("evaluation", sum(self.done), sum(self.steps), text)


def _check(bench: _Bench, seeds: Sequence[int], jobs: int) -> None:
    """Complain before anything is trained."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds {list(seeds)}: give at least one, each once.")
    if jobs < 1:
        raise InputError(f"jobs {jobs}: expected at least 1.")
    names = {task.name for task in bench.tasks}
    every = [*bench.mixtures.items(), *(pair for each in bench.at_budget.values() for pair in each.items())]
    for mixture, shares in every:
        wrong = sorted(names ^ set(shares))
        if wrong:
            problem = f"no share for task {wrong[0]!r}" if wrong[0] in names else f"{wrong[0]!r} is not a task"
            raise InputError(
                f"mixture {mixture!r}: {problem}; give every task a share of the examples (0 leaves it out)."
            )
        check_shares(list(shares.values()), len(names), f"mixture {mixture!r}")
    held_out(bench.tasks, bench.measure)
