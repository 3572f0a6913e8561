"""What a run needs to know, as a validated YAML file. Every default that matters is written out here.

    tasks: [bbh/*.json, {name: mine, path: mine.jsonl, columns: {prompt: question, completion: answer}}]
    model: {name: path/or/hub-name, revision: a-commit}
    training: {steps: 100, batch_size: 32, learning_rate: 2.0e-4, lora: {rank: 16}}

An unknown key is an error that suggests the nearest known one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from taskpgm.discretion import without_secrets
from taskpgm.energy_settings import EnergySettings
from taskpgm.expert_settings import ExpertSettings
from taskpgm.few_bits import LoadIn
from taskpgm.settings import Settings, Share, suggestion, validated
from taskpgm.storage import is_folder
from taskpgm.types import InputError
from taskpgm.yaml_files import read_yaml

Momentum: TypeAlias = Annotated[float, Field(ge=0.0, lt=1.0)]
ROLES = ("prompt", "completion", "instruction", "input", "output", "target", "messages")


class TaskSource(Settings):
    """Where one task's examples come from, and which columns hold what.

    columns maps a role (prompt and completion; or instruction, input, output; or messages) to the column's name; it is
    guessed from the column names where not given. prompt_template and completion_template are texts with
    roles in braces, for example "Q: {prompt}\\nA:".
    """

    name: str | None = None
    path: str | None = None
    hub: str | None = None
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    columns: dict[str, str] | None = None
    prompt_template: str | None = None
    completion_template: str | None = None
    family: str = ""

    @field_validator("columns")
    @classmethod
    def _known_roles(cls, columns: dict[str, str] | None) -> dict[str, str] | None:
        for role in columns or {}:
            if role not in ROLES:
                raise ValueError(f"unknown role {role!r}{suggestion(role, ROLES)}")
        return columns

    @model_validator(mode="after")
    def _one_origin(self) -> TaskSource:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either path (a file) or hub (a data set's name), not both")
        if self.hub is not None and without_secrets(self.hub) != self.hub:
            told = without_secrets(self.hub)
            raise ValueError(f"hub data set {told!r}: give its name without a token; log in with: hf auth login")
        if self.hub is not None and (self.revision is None or self.split is None):
            raise ValueError(
                f"hub data set {self.hub!r}: pin revision (a commit) and split, so that runs can be repeated"
            )
        return self


class SplitSettings(Settings):
    """Shares of each task's examples that are held out, decided by a hash of each example's content."""

    probe: float = Field(default=0.15, gt=0.0, lt=1.0)
    eval: float = Field(default=0.15, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _leaves_training_data(self) -> SplitSettings:
        if self.probe + self.eval >= 1.0:
            raise ValueError(
                f"probe {self.probe} and eval {self.eval} leave nothing to train on; their sum must be < 1"
            )
        return self


class ModelSettings(Settings):
    """The base model: a local folder, or a hub name with its revision (a commit)."""

    name: str
    revision: str | None = None
    load_in: LoadIn | None = None
    """Few bits a weight (bitsandbytes), for LoRA: the frozen base takes a half to a quarter of the memory."""
    device_map: Literal["auto"] | None = None
    """auto: spread the model over all cards, for one that no card can hold alone."""


class LoraSettings(Settings):
    """Low-rank adapters through peft, instead of full fine-tuning."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0.0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class TrainingSettings(Settings):
    """How every expert is trained: the same budget for all. Loss on target tokens only."""

    steps: int = Field(default=100, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0.0)
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0.0)
    warmup_steps: int = Field(default=10, ge=0)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = Field(default=0, ge=0, lt=2**32)
    threads: int | None = Field(default=None, ge=1)
    """Processor threads for torch, which last digits depend on; OMP_NUM_THREADS or all cores where not given."""
    lora: LoraSettings | None = None
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third more work."""
    micro_batch: int | None = Field(default=None, ge=1)
    """How many of a batch's examples go through the model at a time: all where not given, and half as many whenever
    memory runs out. The loss, its gradient and all settings stay those of the whole batch."""
    diverged: Literal["refuse", "exclude"] = Field(default="refuse", exclude=True)
    """Where an expert's losses are not finite: end with an error, or go on without its task, which is said. It is no
    part of what determines an expert, and so of no dump."""
    snapshots: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
    """Shares of the steps after which the expert's loss on every task's probes is kept."""

    @field_validator("snapshots")
    @classmethod
    def _from_start_to_end(cls, snapshots: tuple[float, ...]) -> tuple[float, ...]:
        if list(snapshots) != sorted(set(snapshots)) or snapshots[:1] != (0.0,) or snapshots[-1:] != (1.0,):
            raise ValueError("expected increasing shares from 0.0 to 1.0")
        return snapshots

    def determining(self) -> dict[str, Any]:
        """The settings that decide what comes out, as JSON values; those that only make it fit change last digits."""
        return self.model_dump(mode="json", exclude={"gradient_checkpointing", "micro_batch"})

    def snapshot_steps(self) -> list[int]:
        """The steps after which to take a snapshot, from 0 to `steps`."""
        return sorted({round(share * self.steps) for share in self.snapshots})


class ProbeSettings(Settings):
    """The held-out examples on which all experts are compared."""

    per_task: int = Field(default=32, ge=1)
    width: float | None = Field(default=None, gt=0.0)
    """The widest 95 % interval of a divergence that will do, in its unit: more than per_task probes are taken for it,
    up to all that there are. For pairwise energies alone."""
    top_k: int | Literal["full"] = 64
    """Size of each context's vocabulary subset (the base's most probable tokens); "full" is exact."""
    batch_size: int = Field(default=32, ge=1)
    too_long: Literal["refuse", "drop"] = "refuse"
    """What to do with examples longer than the model's context window."""

    @field_validator("top_k")
    @classmethod
    def _positive(cls, top_k: int | str) -> int | str:
        if isinstance(top_k, int) and top_k < 1:
            raise ValueError("expected a positive number or 'full'")
        return top_k

    @model_validator(mode="after")
    def _width_of_some(self) -> ProbeSettings:
        if self.width is not None and self.per_task < 2:
            raise ValueError("width starts from per_task probes: one does not tell how much others would differ")
        return self


class MeasureSettings(Settings):
    """On which held-out examples a training run is measured: up to per_task of each task's part.

    The eval part is for judging mixtures. Runs that help to *choose* a mixture are measured on the probe part.
    """

    part: Literal["eval", "probe"] = "eval"
    per_task: int = Field(default=128, ge=1)
    batch_size: int = Field(default=128, ge=1)
    curve: bool = False
    """Also keep the losses along the run, after the shares of its steps in training.snapshots."""


class GroupSettings(Settings):
    """Bounds on the weights of some tasks together."""

    tasks: tuple[str, ...] = Field(min_length=1)
    lower: Share = 0.0
    upper: Share = 1.0


class CostSettings(Settings):
    """The mean cost of a unit of training is at most `most`; per_unit holds every task's cost."""

    per_unit: dict[str, float]
    most: float


class TrustSettings(Settings):
    """No further than `within` nats (KL divergence) from a mixture: named, or written out."""

    within: float = Field(gt=0.0)
    around: Literal["uniform", "proportional"] | dict[str, Annotated[float, Field(gt=0.0)]] = "uniform"


class FeasibleSettings(Settings):
    """Which mixtures are allowed. floor is in shares of the uniform weight 1/n and holds for every task.

    max_epochs needs mixture.budget, since it is the budget that decides how often a task's data is repeated.
    """

    floor: float = Field(default=0.2, ge=0.0, le=1.0)
    lower: dict[str, float] = Field(default_factory=dict)
    upper: dict[str, float] = Field(default_factory=dict)
    fixed: dict[str, Share] = Field(default_factory=dict)
    groups: dict[str, GroupSettings] = Field(default_factory=dict)
    max_epochs: float | None = Field(default=None, gt=0.0)
    cost: CostSettings | None = None
    trust_region: TrustSettings | None = None
    effective_tasks: float | None = Field(default=None, gt=1.0)


class MixtureSettings(Settings):
    """What a weight means, and the budget that the counts are for (the experts' own budget where not given)."""

    unit: Literal["tokens", "examples"] = "tokens"
    budget: int | None = Field(default=None, ge=1)


class HarnessSettings(Settings):
    """Tasks of EleutherAI's evaluation harness (lm_eval, an extra) to run on every trained model.

    folder: with task files of your own (YAML, as the harness takes them), besides the harness's. limit: examples each.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    folder: str | None = None
    limit: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=8, ge=1)


class EvaluationSettings(Settings):
    """What `taskpgm evaluate` trains on and compares. All else of these runs is as in `training`.

    steps: one number, or several budgets. mixtures: the first is what the others are compared with. target_weights:
    what you care about, by task; every task the same where not given.
    """

    steps: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(250,), min_length=1)
    mixtures: tuple[str, ...] = Field(default=("uniform", "proportional", "sqrt", "ours"), min_length=2)
    eval_per_task: int = Field(default=128, ge=1)
    batch_size: int = Field(default=128, ge=1)
    target_weights: dict[str, Annotated[float, Field(ge=0.0)]] | None = None
    harness: HarnessSettings | None = None

    @field_validator("steps", mode="before")
    @classmethod
    def _one_budget_is_a_list(cls, steps: Any) -> Any:
        return (steps,) if isinstance(steps, int) else steps

    @field_validator("steps", "mixtures")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("expected each only once")
        return values


class RunConfig(Settings):
    """A whole run: from data sets to a certified mixture."""

    tasks: tuple[TaskSource, ...]
    model: ModelSettings
    splits: SplitSettings = SplitSettings()
    experts: ExpertSettings = ExpertSettings()
    training: TrainingSettings = TrainingSettings()
    probes: ProbeSettings = ProbeSettings()
    energy: EnergySettings = EnergySettings()
    feasible: FeasibleSettings = FeasibleSettings()
    mixture: MixtureSettings = MixtureSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _width_of_divergences(self) -> RunConfig:
        if self.probes.width is not None and self.energy.kind != "pairwise":
            raise ValueError(
                "probes.width is for divergences, which only energy: {kind: pairwise} weighs; add that, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _coverage_of_curves(self) -> RunConfig:
        if self.training.diverged == "exclude" and self.experts.kind != "fine_tuned":
            raise ValueError("training.diverged: exclude is for experts.kind: fine_tuned; leave one of the two out")
        if self.energy.kind == "coverage" and not self.experts.have_curves:
            raise ValueError(
                f"experts.kind: {self.experts.kind} leaves no learning curves, which energy: {{kind: coverage}} is made"
                " of; add energy: {kind: pairwise}"
            )
        return self

    @model_validator(mode="after")
    def _few_bits_are_frozen(self) -> RunConfig:
        if self.model.load_in is not None and self.training.lora is None and self.experts.trained:
            raise ValueError(
                f"model.load_in: {self.model.load_in} is for a frozen base; add training: {{lora: {{rank: 16}}}}, or"
                " leave it out"
            )
        return self

    @field_validator("tasks", mode="before")
    @classmethod
    def _paths_are_sources(cls, tasks: Any) -> Any:
        return as_sources(tasks)


def as_sources(tasks: Any) -> Any:
    """A list of sources in which a plain string stands for a file or a pattern of files."""
    listed = [tasks] if isinstance(tasks, str) else tasks
    if not isinstance(listed, list | tuple):
        return listed
    return [{"path": item} if isinstance(item, str) else item for item in listed]


def load_config(path: Path) -> RunConfig:
    """The configuration in a YAML file; paths in it are relative to the file.

    Raises:
        InputError: not YAML, or a missing, unknown or wrong setting, named with its place.
    """
    config = validated(RunConfig, read_yaml(path), str(path))
    local = path.parent / config.model.name
    model = config.model.model_copy(update={"name": str(local)}) if is_folder(local) else config.model
    tasks = tuple(resolve_path(task, path.parent) for task in config.tasks)
    evaluation = config.evaluation
    if evaluation.harness is not None and evaluation.harness.folder is not None:
        folder = path.parent / evaluation.harness.folder
        if not is_folder(folder):
            raise InputError(f"{path}: evaluation.harness.folder: {folder} is not a folder of harness task files.")
        harness = evaluation.harness.model_copy(update={"folder": str(folder)})
        evaluation = evaluation.model_copy(update={"harness": harness})
    return config.model_copy(update={"model": model, "tasks": tasks, "evaluation": evaluation})


def resolve_path(source: TaskSource, relative_to: Path) -> TaskSource:
    """The source with its file path taken relative to a folder."""
    if source.path is None:
        return source
    return source.model_copy(update={"path": str(relative_to / source.path)})
