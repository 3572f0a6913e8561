"""The settings of the experts: what it takes to see how a model that knows one task behaves.

    experts: {kind: in_context, demonstrations: 8}

Only "fine_tuned" experts have learning curves, which the coverage energy is made of; every kind gives the predictions
that a pairwise energy compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field, model_validator

from taskpgm.settings import Settings

if TYPE_CHECKING:
    from taskpgm.config import TrainingSettings

ExpertKind: TypeAlias = Literal["fine_tuned", "in_context", "multi_task", "linearised"]
ONLY_OF: dict[str, tuple[ExpertKind, ...]] = {
    "demonstrations": ("in_context",),
    "own_steps": ("multi_task",),
    "examples_each": ("linearised",),
}


class ExpertSettings(Settings):
    """What an expert is.

    fine_tuned: the base, trained on its task as `training` says. in_context: the base with `demonstrations` examples of
    its task's training part before each probe; nothing is trained. multi_task: one run on all tasks together, as
    `training` says, and then `own_steps` more on each task alone. linearised: the same run, and then one step on each
    task, from the gradients of `examples_each` of its examples.
    """

    kind: ExpertKind = "fine_tuned"
    demonstrations: int = Field(default=8, ge=1)
    """Of in_context alone: how many examples, chosen by training.seed; as many as fit into the context window."""

    own_steps: int = Field(default=50, ge=1)
    """Of multi_task alone."""
    examples_each: int = Field(default=64, ge=1)
    """Of linearised alone."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> ExpertSettings:
        for name, kinds in ONLY_OF.items():
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} belongs to kind: {' or '.join(kinds)}; add that, or leave {name} out")
        return self

    @property
    def have_curves(self) -> bool:
        """Whether losses are looked at on the way, so that there are learning curves."""
        return self.kind == "fine_tuned"

    @property
    def trained(self) -> bool:
        """Whether experts have weights of their own; the others are the base, and differ in what it reads."""
        return self.kind != "in_context"

    @property
    def shares_a_run(self) -> bool:
        """Whether all experts start from the end of one run on all tasks."""
        return self.kind in ("multi_task", "linearised")

    def examples(self, training: TrainingSettings, tasks: int) -> int:
        """How many examples so many experts are trained on, all together."""
        if self.kind == "multi_task":
            return (training.steps + tasks * self.own_steps) * training.batch_size
        if self.kind == "linearised":
            return training.steps * training.batch_size + tasks * self.examples_each
        return tasks * training.steps * training.batch_size if self.trained else 0

    def own_training(self, training: TrainingSettings) -> TrainingSettings:
        """How a multi-task expert is trained on its own task: with a warm-up that is shorter as the training is."""
        warmup = training.warmup_steps * self.own_steps // training.steps
        return training.model_copy(update={"steps": self.own_steps, "warmup_steps": warmup})


FINE_TUNED = ExpertSettings()
