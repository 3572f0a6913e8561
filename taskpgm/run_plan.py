"""What `taskpgm plan` says of a configuration: the cost of each stage, and what will not fit, before anything starts.

    plan = plan_of(load_config(Path("run.yaml")), hardware="h100-sxm")
    plan.stages, plan.warnings

Everything that `taskpgm run` would refuse is refused here with the same line. No weight is loaded; of a hub model only
the configuration and the tokenizer are downloaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from taskpgm.base import Base, locate_description
from taskpgm.config import LoraSettings, ModelSettings, RunConfig
from taskpgm.demonstrations import Demonstrations, demonstrations_of
from taskpgm.experts import tokenize_for
from taskpgm.hardware import found_hardware, named_hardware
from taskpgm.model_shape import read_shape
from taskpgm.pipeline import checked_bounds, pinned
from taskpgm.run_costs import UTILISATION, Costing
from taskpgm.stages import Stage
from taskpgm.tasks import tasks_of
from taskpgm.tokens import TokenTask, probes_by_task
from taskpgm.types import InputError

FORMAT = "taskpgm-plan/1"
GB = 1e9
WORTH = 0.97  # of the memory: what saves less is no help


@dataclass(frozen=True, eq=False)
class RunPlan:
    """A configuration's costs. folder: of the model's description. out: where the run would put its files."""

    costing: Costing
    folder: Path
    out: Path
    notes: tuple[str, ...]

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """All stages, the evaluation last; without it where its note says why."""
        found = self._evaluation
        return (*self.costing.stages(), *([found] if isinstance(found, Stage) else []))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What will not fit, and what helps."""
        return (*self._memory_warnings(), *self._disk_warnings())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is worth knowing and no danger."""
        found = self._evaluation
        begun = [f"{self.out} holds experts already; what need not be done again is not subtracted."]
        return (
            *self.notes,
            *(begun if (self.out / "experts").is_dir() else []),
            *([f"No evaluation: {found}"] if isinstance(found, str) else []),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        costing, device = self.costing, self.costing.hardware
        return {
            "format": FORMAT,
            "model": {
                "parameters": costing.shape.parameters,
                "active_in_layers": costing.shape.active,
                "adapter_parameters": costing.shape.adapter,
                "layers": costing.shape.layers,
                "width": costing.shape.width,
                "vocabulary": costing.shape.vocabulary,
            },
            "hardware": {
                "name": device.name,
                "peak_flops": dict(device.rates),
                "memory_bytes": round(device.memory),
                "source": device.source,
                "utilisation": costing.utilisation,
                "devices": costing.devices,
            },
            "final_steps": costing.final_settings.steps,
            "stages": [stage.as_dict() for stage in self.stages],
            "evidence_in_final_runs": costing.share_of_final(),
            "warnings": list(self.warnings),
            "notes": list(self.remarks),
        }

    @cached_property
    def _evaluation(self) -> Stage | str:
        try:
            return self.costing.evaluation()
        except InputError as error:
            return str(error)

    def _memory_warnings(self) -> Iterator[str]:
        device = self.costing.hardware
        for stage in self.stages:
            if stage.on_device and stage.memory > device.memory:
                # an evaluation's runs are final runs: what helps these helps it
                yield (
                    f"{stage.name} needs about {stage.memory / GB:.3g} GB, {device.name} has {device.memory / GB:.3g}."
                    f" {self._what_helps(stage)}"
                )

    def _what_helps(self, stage: Stage) -> str:
        """The settings that need less, each with what it comes to."""
        if not stage.name.startswith(("experts", "final", "evaluation")):
            return "A smaller probes.batch_size needs less, and so does training: {precision: bfloat16}."
        needs = {what: self._with(changed, stage.name) for what, changed in _less_memory(self.costing.config)}
        said = [f"{what}: {need / GB:.3g} GB" for what, need in needs.items() if need < WORTH * stage.memory]
        return f"What helps: {'; '.join(said)}." if said else "A device with more memory helps."

    def _with(self, config: RunConfig, stage: str) -> float:
        """Bytes of memory that the stage needs with other settings."""
        changed = replace(self.costing, config=config, shape=read_shape(self.folder, config.training.lora))
        return changed.evidence()[1].memory if stage == "experts" else changed.final.memory

    def _disk_warnings(self) -> Iterator[str]:
        # the final run is the user's trainer's, wherever that writes
        needed = sum(stage.disk for stage in self.costing.evidence())
        place = next(folder for folder in (self.out, *self.out.absolute().parents) if folder.is_dir())
        free = shutil.disk_usage(place).free
        if needed > free:
            yield (
                f"the run leaves {needed / GB:.3g} GB in {self.out}, where {free / GB:.3g} GB are free. What helps:"
                " training: {lora: {rank: 16}} for experts, a smaller probes.top_k for predictions."
            )


def _less_memory(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    """Settings that need less memory than these, one after the other, and how they are written."""
    training = config.training

    def trained(**changes: Any) -> RunConfig:
        return config.model_copy(update={"training": training.model_copy(update=changes)})

    if training.lora is None:
        yield "training: {lora: {rank: 16}}", trained(lora=LoraSettings())
        yield "the same with precision: bfloat16", trained(lora=LoraSettings(), precision="bfloat16")
    if training.precision == "float32":
        yield "precision: bfloat16", trained(precision="bfloat16")
    if training.lora is not None and config.model.load_in is None:
        yield "model: {load_in: 4bit}", config.model_copy(update={"model": _in_four_bits(config.model)})
    if not training.gradient_checkpointing:
        yield "gradient_checkpointing: true", trained(gradient_checkpointing=True)
    at_a_time = min(training.micro_batch or training.batch_size, training.batch_size)
    if at_a_time > 1:
        yield f"micro_batch: {at_a_time // 2}", trained(micro_batch=at_a_time // 2)


def _in_four_bits(model: ModelSettings) -> ModelSettings:
    return model.model_copy(update={"load_in": "4bit"})


def plan_of(
    config: RunConfig,
    *,
    hardware: str | None = None,
    utilisation: float = UTILISATION,
    devices: int = 1,
    seeds: int = 3,
    out: Path = Path("runs/default"),
) -> RunPlan:
    """The costs of a run.

    Args:
        config: of the run.
        hardware: a name of `taskpgm.hardware.HARDWARE`; what is found here, measured, where not given.
        utilisation: the share of the device's peak that training reaches, an assumption.
        devices: how many of them; time is divided by their number, memory is not.
        seeds: training runs on each mixture of the evaluation.
        out: where the run would put its files.

    Raises:
        InputError: whatever is wrong with the configuration, the tasks, the model or the hardware.
    """
    from taskpgm.evaluated_mixtures import check_known

    named = None if hardware is None else named_hardware(hardware)
    tasks = tasks_of(config)
    folder = locate_description(*pinned(config.model))
    shape = read_shape(folder, config.training.lora)
    tokenised = tokenize_for(tasks, Base(folder, ""), config.probes)
    checked_bounds(tasks, tokenised, config.probes, config.energy, config.feasible, config.mixture)
    for name in config.evaluation.mixtures:
        check_known(name)
    training = config.training
    device = named or found_hardware(training.threads, {training.precision})
    shown = () if config.experts.trained else _shown(config, tokenised, Base(folder, ""))
    costing = Costing(config, tokenised, shape, device, utilisation, devices, seeds, shown)
    return RunPlan(costing, folder, out, _notes(config, tasks.notes))


def _shown(config: RunConfig, tasks: tuple[TokenTask, ...], base: Base) -> tuple[Demonstrations, ...]:
    """What in-context experts are shown."""
    own = probes_by_task(tasks, config.probes.per_task)[1]
    return tuple(demonstrations_of(tasks, base, config.training.seed, config.experts, tuple(own.values())))


def _notes(config: RunConfig, notes: tuple[str, ...]) -> tuple[str, ...]:
    found = list(notes)
    if config.probes.width is not None:
        found.append("probes.width may take more probes than per_task, up to all: predictions then cost more.")
    if config.evaluation.harness is not None:
        found.append("what the harness evaluates is not counted.")
    return tuple(found)
