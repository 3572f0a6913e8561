"""Mixtures that are decided inside the run that they are for, and fixed ones in the same order of draws.

All draw by `taskpgm.drawing`, where every batch is as near to the mixture as whole examples can be; the other mixtures
of the study are shuffled. "uniform-even" is the uniform mixture so drawn: it says what the order alone does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import taskpgm as tp
from taskpgm.baselines.ado import LEAST, RECENT, scaling_law
from taskpgm.config import MeasureSettings
from taskpgm.experts import train_tokenised
from taskpgm.families import family_weights
from taskpgm.fine_tuning import fine_tune, trainable
from taskpgm.mixture_ledger import Window
from taskpgm.progress import silent
from taskpgm.suite import DEMO_PROBES
from taskpgm.tokens import make_probes
from taskpgm.training_run import held_out

Array = NDArray[np.float64]
Record = dict[str, Any]

INSIDE = (
    "uniform-even",
    "families-even",
    "adaptive",
    "adaptive-families",
    "adaptive-families-once",
    "adaptive-families-default",
    "ado-online",
)
GRAPHS = ("adaptive-graph-12", "adaptive-families-graph-12")
"""Adaptive mixtures that are told the transfer between tasks as experts of twelve steps show it."""
EVERY_INSIDE = (*INSIDE, *GRAPHS)
GRAPH_STEPS = 12
ADO_WINDOWS = 120
ADO_START = 0.1  # of the run on the prior, as the adaptive mixture


class OnlineAdo:
    """ADO's rule on a run's own training losses: laws fitted anew at every window, from a tenth of the run on."""

    def __init__(self, prior: Array, steps: int) -> None:
        self.prior, self.steps = prior, steps
        self.mean, self.credit, self.count = prior.copy(), prior.copy(), 0

    def __call__(self, windows: Sequence[Window]) -> Mapping[str, float] | None:
        last = windows[-1]
        if last.last_step < ADO_START * self.steps:
            return None
        losses = np.array([[np.nan if x is None else x for x in window.loss] for window in windows])
        seen = np.cumsum([sum(window.examples) for window in windows]).astype(np.float64)
        slopes = np.zeros(len(self.prior))
        for k, own in enumerate(losses.T):
            known = np.isfinite(own)
            if known.sum() >= 3:
                _, height, exponent = scaling_law(seen[known], own[known])
                slopes[k] = height * exponent * seen[-1] ** (-exponent - 1.0)
        preference = self.prior * np.sqrt(self.credit) * slopes
        preference = preference / preference.sum() if preference.sum() > 0.0 else self.prior
        preference = np.maximum(preference, LEAST)
        preference /= preference.sum()
        mixture = RECENT * preference + (1.0 - RECENT) * self.mean
        self.count += 1
        self.mean += (preference - self.mean) / (self.count + 1)
        self.credit = RECENT * mixture + (1.0 - RECENT) * self.credit
        return dict(zip(last.names, mixture.tolist(), strict=True))


def inside_run(name: str, bench: Any) -> Record:
    """Losses, exact answers, and the shares that came of it, in the order of the suite's tasks."""
    from taskpgm.base import torch_threads
    from taskpgm.forward import task_scores

    final, tasks = bench.final, bench.tokenised
    data = {task.name: task.train for task in tasks}
    with torch_threads(final.threads):
        model = trainable(bench.base, final)
        mix, attach = _mixture(name, bench, data)
        callback: list[Any] = []
        fine_tune(model, mix.dataset, final, _nothing, lambda trainer: callback.append(attach(trainer)))
        measure = MeasureSettings()
        probes = make_probes(held_out(tasks, measure), measure.per_task, measure.part)
        losses, exact = task_scores(model, probes, measure.batch_size)
    counts = dict(zip(callback[0].ledger.names, callback[0].ledger.sums[:, 0], strict=True))
    drawn = np.array([counts[task.name] for task in tasks])
    found = {"shares": (drawn / drawn.sum()).tolist(), "losses": losses.tolist(), "exact": exact.tolist()}
    decisions = getattr(mix, "decisions", ())
    if decisions:
        found["decisions"] = [[each.step, each.followed, each.mixture.status, each.mixture.gap] for each in decisions]
    return found


def _mixture(name: str, bench: Any, data: Mapping[str, Any]) -> tuple[Any, Callable[[Any], Any]]:
    """(the mixture, what attaches it to a trainer)."""
    names, seed = tuple(sorted(data)), bench.final.seed
    families = {task.name: task.family for task in bench.tasks}
    by_family = dict(zip(names, family_weights(names, [families[each] for each in names]).tolist(), strict=True))
    even = dict.fromkeys(names, 1.0)
    if name in ("uniform-even", "families-even"):
        fixed = tp.TrainingMixture(even if name == "uniform-even" else by_family, data, seed=seed)
        return fixed, fixed.attach
    if name == "ado-online":
        mix = tp.TrainingMixture(even, data, seed=seed, losses_every=1)
        sizes = np.array([len(data[each]) for each in names], dtype=np.float64)
        rule = OnlineAdo(sizes / sizes.sum(), bench.final.steps)
        return mix, lambda trainer: mix.attach(
            trainer, decide=rule, decide_every=max(1, bench.final.steps // ADO_WINDOWS)
        )
    settings: dict[str, Any] = {} if name.endswith("default") else {"losses_every": 1}
    if "families" in name:
        settings["target_weights"] = by_family
    if name.endswith("once"):
        settings |= {"first": 0.3, "last": 0.3, "decisions": 1}
    if name in GRAPHS:
        settings["transfer"] = _graph(bench)
    adaptive = tp.AdaptiveMixture(data, seed=seed, **settings)
    return adaptive, adaptive.attach


def _graph(bench: Any) -> dict[str, dict[str, float]]:
    """What an example of one task counts as one of another, by experts of a few steps."""
    training = bench.final.model_copy(update={"steps": GRAPH_STEPS})
    losses = train_tokenised(bench.tokenised, bench.base, bench.folder, training, DEMO_PROBES, silent).curves()
    rows = tp.exposure_transfer(losses).tolist()
    return {name: dict(zip(losses.names, row, strict=True)) for name, row in zip(losses.names, rows, strict=True)}


def _nothing(step: int) -> None:
    """Report no step."""
