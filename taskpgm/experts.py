"""One fine-tuned expert per task: equal budgets, the same seed, and nothing trained twice.

    experts = train_experts(tasks, base="Qwen/Qwen2.5-0.5B", out="runs/a")

Each expert is a folder under the hash of everything that determines it: the base model and its tokenizer, the task's
training data, the settings, and the versions of the libraries that compute. It holds safetensors and `curve.json`: the
losses on every task's probes at about ten points of its training, with the exposure reached (`taskpgm.expert_curves`).
A folder appears only when it is complete, so a run killed at any moment goes on with what is missing. Experts of other
kinds (`taskpgm.expert_settings`) are folders in the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskpgm.adapters import adapted
from taskpgm.base import Base, load_base, load_model, load_model_config, load_tokenizer, locate_base, torch_threads
from taskpgm.config import ProbeSettings, TrainingSettings
from taskpgm.demonstrations import demonstrations_of, keep_demonstrations, read_demonstrations, shown_before
from taskpgm.executors import LOCAL, Executor
from taskpgm.expert_curves import expert_damage, read_curves, stored_weights_hash, unknown_probes
from taskpgm.expert_settings import FINE_TUNED, ExpertSettings
from taskpgm.expert_training import still_to_do, train_missing
from taskpgm.integrity import keep_sound
from taskpgm.linearised import linearised_experts
from taskpgm.multi_task import multi_task_experts
from taskpgm.progress import Progress, silent
from taskpgm.run_lock import locked
from taskpgm.storage import content_hash, remove_partial, versions
from taskpgm.tokens import TokenTask, check_vocabulary, context_window, probes_by_task, tokenize
from taskpgm.types import InputError, LossCurves, Probes, TaskSet

SCHEMA = 3
FEWEST = 2  # experts that are evidence of anything


@dataclass(frozen=True, eq=False)
class Experts:
    """Experts on disk, one per task, and the base that they started from. probes: the key of each task's.

    diverged: the tasks that are left out, which `training.diverged: exclude` asks for.
    """

    names: tuple[str, ...]
    directories: tuple[Path, ...]
    base: Base
    out: Path
    training: TrainingSettings
    probes: tuple[str, ...]
    diverged: tuple[str, ...] = ()
    settings: ExpertSettings = FINE_TUNED
    shared: tuple[Path, ...] = ()
    """Folders of what several of them were made from."""

    def load(self, index: int) -> Any:
        """The expert's model, in evaluation mode."""
        return self.load_from(self.directories[index])

    def load_from(self, directory: Path) -> Any:
        """The model of the expert in a folder; of an in-context one the base, which reads `as_read`."""
        if not self.settings.trained:
            return load_base(self.base, self.training.precision)
        if self.training.lora is None:
            return load_model(directory, self.training.precision, device_map=self.base.device_map)
        return adapted(load_base(self.base, self.training.precision), directory)

    @property
    def on_base(self) -> bool:
        """Whether one base in memory serves all of them."""
        return not self.settings.trained or self.training.lora is not None

    def as_read(self, directory: Path, probes: Probes) -> Probes:
        """Probes as the expert in a folder reads them: its demonstrations come first, where it has any."""
        return probes if self.settings.trained else shown_before(probes, read_demonstrations(directory))

    def fingerprint(self, index: int) -> str:
        """The hash of what the expert predicts with: its weights, the base, and how adapters are applied to it.

        Of an in-context expert it is the base's and its demonstrations', by which its folder is named.
        """
        if not self.settings.trained:
            return self.directories[index].name
        return content_hash(
            {
                "weights": stored_weights_hash(self.directories[index]),
                "base": self.base.fingerprint,
                "lora": None if self.training.lora is None else self.training.lora.model_dump(mode="json"),
            }
        )

    @property
    def have_curves(self) -> bool:
        """Whether all losses of `curves` are known; see `train_experts` for when they are not."""
        return self.settings.have_curves and not any(
            unknown_probes(directory, self.probes) for directory in self.directories
        )

    def curves(self) -> LossCurves:
        """The losses of every expert on every task during its training, in the order of `names`.

        Raises:
            InputError: an expert that was trained before a task came, with curves=False, or a kind that has none.
        """
        if not self.settings.have_curves:
            raise InputError(f"experts of kind {self.settings.kind} have no learning curves; fine_tuned ones do.")
        return read_curves(self.names, self.directories, self.probes)


def train_experts(
    tasks: TaskSet,
    base: str | Path | Base,
    out: str | Path,
    *,
    training: TrainingSettings | None = None,
    probes: ProbeSettings | None = None,
    revision: str | None = None,
    curves: bool = True,
    experts: ExpertSettings | None = None,
    progress: Progress = silent,
    executor: Executor = LOCAL,
) -> Experts:
    """Train, or find on disk, one expert per task.

    Args:
        tasks: what to train on; each expert sees its own task's training part only.
        base: a local folder or a hub name (with `revision`, a commit) of a causal language model.
        out: folder for the artefacts; experts that are already there are not trained again.
        training: the budget and optimiser, the same for every expert.
        probes: on what the learning curves are measured.
        curves: whether learning curves are needed. Then a task that is new has all other experts trained once more, as
            their losses on it are seen only while they are trained; else it costs its own expert.
        experts: of another kind than fine-tuned ones: cheaper, and without learning curves.
        progress: receives (stage, done, total, text).
        executor: where they are trained: here, or on a cluster (`taskpgm.ray_cluster`).

    Raises:
        InputError: an unknown model, an example longer than the context window, or another process at work in `out`.
    """
    training, probes = training or TrainingSettings(), probes or ProbeSettings()
    base = base if isinstance(base, Base) else locate_base(base, revision)
    tokenised = tokenize_for(tasks, base, probes)
    with locked(Path(out)):
        return train_tokenised(
            tokenised, base, Path(out), training, probes, progress, executor, curves=curves, settings=experts
        )


def tokenize_for(tasks: TaskSet, base: Base, probes: ProbeSettings) -> tuple[TokenTask, ...]:
    """The tasks in the base model's tokens."""
    tokenizer, config = load_tokenizer(base), load_model_config(base).get_text_config()
    tokenised = tokenize(tasks, tokenizer, context_window(config, tokenizer), too_long=probes.too_long)
    check_vocabulary(tokenised, int(config.vocab_size))
    return tokenised


def train_tokenised(
    tasks: Sequence[TokenTask],
    base: Base,
    out: Path,
    training: TrainingSettings,
    probes: ProbeSettings,
    progress: Progress,
    executor: Executor = LOCAL,
    *,
    curves: bool = True,
    settings: ExpertSettings | None = None,
) -> Experts:
    """`train_experts` for tasks that are already token ids."""
    keys, own = probes_by_task(tasks, probes.per_task)
    settings, names = settings or FINE_TUNED, tuple(task.name for task in tasks)
    if settings.kind == "in_context":
        chosen = demonstrations_of(tasks, base, training.seed, settings, tuple(own.values()))
        found = keep_demonstrations(chosen, base, out)
        return Experts(names, tuple(found), base, out, training, tuple(keys), settings=settings)
    if settings.shares_a_run:
        make = multi_task_experts if settings.kind == "multi_task" else linearised_experts
        found, point = make(tasks, base, out, training, settings, progress, executor)
        return Experts(names, tuple(found), base, out, training, tuple(keys), settings=settings, shared=(point,))
    directories = [out / "experts" / _expert_key(task, base, training) for task in tasks]
    for directory in dict.fromkeys(directories):
        if directory.is_dir():
            keep_sound(directory, expert_damage)
    if any(still_to_do(directory, keys, curves, training.diverged) for directory in directories):
        remove_partial(out)
        with torch_threads(training.threads):
            train_missing(tasks, directories, base, own, training, probes, curves, progress, executor)
    kept = [i for i, directory in enumerate(directories) if directory.is_dir()]
    diverged = tuple(task.name for i, task in enumerate(tasks) if i not in kept)
    if diverged and len(kept) < FEWEST:
        raise InputError(
            f"the experts of {len(diverged)} of {len(tasks)} tasks diverged; lower training.learning_rate."
        )
    folders = tuple(directories[i] for i in kept)
    return Experts(tuple(names[i] for i in kept), folders, base, out, training, tuple(keys[i] for i in kept), diverged)


def _expert_key(task: TokenTask, base: Base, training: TrainingSettings) -> str:
    """The hash of everything that determines an expert; the other tasks are no part of it."""
    return content_hash(
        {
            "schema": SCHEMA,
            "base": base.fingerprint,
            "train": [[list(row.ids), row.target_start] for row in task.train],
            "training": training.determining(),
            "versions": versions("torch", "transformers", "peft", "accelerate"),
        }
    )
