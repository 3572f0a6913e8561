"""What each stage of a run will cost, before anything starts.

    costing = Costing(config, tasks, shape, named_hardware("h100-sxm"))
    costing.stages()                    # base on probes, experts, predictions, divergences, final run
    costing.share_of_final()            # what the evidence costs, in final runs

Tokens are counted on the tasks' own examples, in the model's tokens; operations, memory and disk follow by the formulas
of `taskpgm.costs`; seconds are operations over a share of the device's peak, `utilisation`, which is an assumption.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from taskpgm.config import RunConfig, TrainingSettings
from taskpgm.costs import (
    FILES,
    ModelShape,
    Precision,
    Saving,
    Work,
    activation_bytes,
    expert_disk,
    pair_operations,
    passing_bytes,
    prediction_disk,
    reading_bytes,
    reading_flops,
    state_bytes,
    subset_disk,
    training_bytes,
    training_flops,
)
from taskpgm.demonstrations import Demonstrations
from taskpgm.expert_settings import FINE_TUNED, ExpertSettings
from taskpgm.hardware import Hardware
from taskpgm.run_work import (
    expert_work,
    final_training,
    measuring,
    mixed_work,
    reading,
    reading_in_context,
    shared_run_work,
)
from taskpgm.stages import Stage, joined
from taskpgm.tokens import TokenTask, probes_by_task
from taskpgm.types import InputError, Probes

UTILISATION = 0.35
PAIRS_A_SECOND = 1e9  # x log x of pairs on one core, measured with the compiled kernel; see `pair_operations`
STEP_OVERHEAD = 0.005  # seconds a batch takes besides computing, measured on tiny models
FINAL, EVALUATION = "final run", "evaluation"


@dataclass(frozen=True, eq=False)
class Costing:
    """Everything that the cost of a run depends on. seeds: training runs on each mixture of the evaluation.

    shown: what each task's expert is shown before the probes, where experts are in-context ones.
    """

    config: RunConfig
    tasks: tuple[TokenTask, ...]
    shape: ModelShape
    hardware: Hardware
    utilisation: float = UTILISATION
    devices: int = 1
    seeds: int = 3
    shown: tuple[Demonstrations, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.utilisation <= 1.0:
            raise InputError(f"utilisation {self.utilisation:g}: expected a share of the peak, above 0 and at most 1.")
        if self.devices < 1:
            raise InputError(f"devices {self.devices}: expected at least 1.")

    def stages(self) -> tuple[Stage, ...]:
        """Of a run and the final run that it is for, in their order."""
        return (*self.evidence(), self.final)

    def evidence(self, training: TrainingSettings | None = None, *, graph: bool = True) -> tuple[Stage, ...]:
        """What comes before the final run, with experts fine-tuned by these settings, or the configuration's experts.

        graph: whether experts read the probes of all tasks, or their own task's alone and predict nothing.
        """
        kind = FINE_TUNED if training is not None else self.config.experts
        training = training or self.config.training
        stages = (self._base(), self._experts(training, graph, kind))
        return (*stages, self._predictions(training, kind), self._divergences()) if graph else stages

    def share_of_final(self, stages: Sequence[Stage] | None = None) -> float:
        """The operations of the evidence over those of the final run."""
        return sum(each.flops for each in stages or self.evidence()) / self.final.flops

    @cached_property
    def final(self) -> Stage:
        """One training run on the mixture."""
        training = self.final_settings
        work = mixed_work(self.tasks, training)
        memory = training_bytes(self.shape, work, training.precision, self.saving)
        kept = expert_disk(self.shape, 0, 0)
        return self._stage(FINAL, work, training_flops(self.shape, work, self.saving), memory, kept, training.precision)

    @cached_property
    def final_settings(self) -> TrainingSettings:
        """The settings of the final run."""
        config = self.config
        return final_training(self.tasks, config.training, config.mixture, config.evaluation)

    @cached_property
    def saving(self) -> Saving:
        """What the configuration does to make the model fit."""
        return Saving(self.config.model.load_in, self.config.training.gradient_checkpointing)

    @cached_property
    def _probes(self) -> tuple[dict[str, Probes], tuple[str, ...]]:
        """(the probes by key, the key of each task's)."""
        keys, own = probes_by_task(self.tasks, self.config.probes.per_task)
        return own, tuple(keys)

    @cached_property
    def _reading(self) -> Work:
        return reading(self._probes[0].values(), self.config.probes.batch_size)

    @property
    def _contexts(self) -> int:
        return sum(len(own.targets) for own in self._probes[0].values())

    @property
    def _kept(self) -> int:
        top_k = self.config.probes.top_k
        return self.shape.vocabulary if top_k == "full" else min(top_k, self.shape.vocabulary)

    @cached_property
    def different(self) -> tuple[int, ...]:
        """The first of the tasks that share an expert, since they have the same training data."""
        return tuple({task.train: i for i, task in reversed(list(enumerate(self.tasks)))}.values())[::-1]

    def _base(self) -> Stage:
        """The base reads the probes twice: for its losses, and for its most probable tokens."""
        work, precision = self._reading.times(2), self.config.training.precision
        shape = replace(self.shape, adapter=0)
        disk = subset_disk(self._contexts, self._kept, shape.vocabulary)
        memory = reading_bytes(shape, work, precision, self.saving)
        return self._stage("base on probes", work, reading_flops(shape, work), memory, disk, precision)

    def _experts(self, training: TrainingSettings, graph: bool, kind: ExpertSettings) -> Stage:
        """Training, and looking at the probes of all tasks at every snapshot but the first."""
        if not kind.trained:
            return Stage("experts", 0.0, 0.0, 0.0, 0.0, len(self.different) * FILES)
        shape, precision = self.shape, training.precision
        looks = len(training.snapshot_steps()) - 1 if kind.have_curves else 0
        own, keys = self._probes
        work = look = Work()
        if kind.shares_a_run:
            work, look = shared_run_work(self.tasks, [self.tasks[i] for i in self.different], training, kind)
        for i in self.different if kind.have_curves else ():
            work += expert_work(self.tasks[i], training)
            read = self._reading if graph else reading([own[keys[i]]], self.config.probes.batch_size)
            look += read.times(looks)
        kept = activation_bytes(shape, work.most_positions, work.most_outputs, precision, self.saving)
        memory = state_bytes(shape, precision, self.saving) + max(kept, passing_bytes(shape, look, precision))
        models = len(self.different) + kind.shares_a_run  # that run leaves one as well
        disk = models * expert_disk(shape, looks + 1, len(self.tasks))
        trained = self._stage("experts", work, training_flops(shape, work, self.saving), memory, disk, precision)
        looked = self._stage("experts", look, reading_flops(shape, look), 0.0, 0.0, precision)
        return joined(trained, looked)

    def _predictions(self, training: TrainingSettings, kind: ExpertSettings) -> Stage:
        count, precision, shape = len(self.different), training.precision, self.shape
        work = self._reading.times(count)
        if not kind.trained:
            shown = [self.shown[i] for i in self.different]
            work, shape = reading_in_context(shown, self._probes[0], self.config.probes), replace(shape, adapter=0)
        disk = count * prediction_disk(self._contexts, self._kept)
        memory = reading_bytes(shape, work, precision, self.saving)
        return self._stage("predictions", work, reading_flops(shape, work), memory, disk, precision)

    def _divergences(self) -> Stage:
        n, kept = len(self.tasks), self._kept
        pairs = pair_operations(n, self._contexts, kept)
        threads = self.config.training.threads or os.cpu_count() or 1
        memory = 8.0 * n * n + 2.0 * max(64e6, 4.0 * n * (kept + 1)) + 40.0 * n * self._contexts
        return Stage("divergences", 0.0, 0.0, pairs / PAIRS_A_SECOND / threads, memory, 0.0, on_device=False)

    def evaluation(self) -> Stage:
        """All runs of `taskpgm evaluate`, those included by which published rules choose their mixture.

        Raises:
            InputError: a task without held-out examples, which `taskpgm run` does not need.
        """
        settings = self.config.evaluation
        read = measuring(self.tasks, settings)
        total: Stage | None = None
        for steps in settings.steps:
            runs = self.seeds * len(settings.mixtures) + _short_runs(settings.mixtures, len(self.tasks))
            training = self.config.training.model_copy(update={"steps": steps})
            work = mixed_work(self.tasks, training).times(runs)
            memory = training_bytes(self.shape, work, training.precision, self.saving)
            trained = self._stage(
                EVALUATION, work, training_flops(self.shape, work, self.saving), memory, 0.0, training.precision
            )
            judged = read.times(runs)
            looked = self._stage(EVALUATION, judged, reading_flops(self.shape, judged), 0.0, 0.0, training.precision)
            done = joined(trained, looked)
            total = done if total is None else joined(total, done)
        assert total is not None
        kept = settings.harness is not None
        models = self.seeds * len(settings.mixtures) * len(settings.steps) if kept else 0
        return replace(total, disk=models * expert_disk(self.shape, 0, 0))

    def _stage(self, name: str, work: Work, flops: float, memory: float, disk: float, precision: Precision) -> Stage:
        computing = flops / (self.hardware.rate(precision) * self.utilisation)
        seconds = (computing + STEP_OVERHEAD * work.batches) / self.devices
        return Stage(name, work.tokens, flops, seconds, memory, disk)


def _short_runs(mixtures: Sequence[str], tasks: int) -> float:
    """In final runs, what the pilot and proxy runs of the published rules among the mixtures cost."""
    from taskpgm.evaluated_mixtures import evidence_parts
    from taskpgm.evidence_runs import PILOT_SHARE, PROXIES_PER_TASK, PROXY_SHARE

    needs = evidence_parts(mixtures)
    proxies = PROXY_SHARE * (1 + PROXIES_PER_TASK * tasks) if "proxies" in needs else 0.0
    return proxies + (PILOT_SHARE if "pilot" in needs else 0.0)
