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

ExpertKind: TypeAlias = Literal["fine_tuned", "in_context"]
ONLY_OF: dict[str, tuple[ExpertKind, ...]] = {"demonstrations": ("in_context",)}


class ExpertSettings(Settings):
    """What an expert is.

    fine_tuned: the base, trained on its task as `training` says. in_context: the base with `demonstrations` examples of
    its task's training part before each probe; nothing is trained.
    """

    kind: ExpertKind = "fine_tuned"
    demonstrations: int = Field(default=8, ge=1)
    """Of in_context alone: how many examples, chosen by training.seed; as many as fit into the context window."""

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

    def examples(self, training: TrainingSettings, tasks: int) -> int:
        """How many examples so many experts are trained on, all together."""
        return tasks * training.steps * training.batch_size if self.trained else 0


FINE_TUNED = ExpertSettings()
