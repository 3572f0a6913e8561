"""The settings of the energy: which of the two, its potentials, and what sets the trade-off."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from taskpgm.settings import Settings, Share

ONLY_OF = {
    "coverage": ("curves",),
    "pairwise": ("divergence", "order", "similarity", "kappa", "utility", "supplied", "lam", "beta", "rho", "choose"),
}


class ChooseSettings(Settings):
    """A rule that chooses beta, instead of a number: exactly one. See `taskpgm.choice`."""

    effective_tasks: float | None = Field(default=None, ge=1.0)
    knee: bool = False
    utility_share: Share | None = None
    nearest_prior: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> ChooseSettings:
        if (self.effective_tasks, self.utility_share, self.nearest_prior).count(None) + (not self.knee) != 3:
            raise ValueError("give exactly one of effective_tasks, knee: true, utility_share and nearest_prior")
        return self


class EnergySettings(Settings):
    """The energy. kind: "coverage" (learning curves and transfer) or "pairwise" (utilities and similarities).

    tau pulls to the prior: 0.05 for coverage, 0 where a pairwise energy does not give it. target_weights say what
    coverage, forecasts and the utility heldout_gain care about; not given, every family of tasks (heldout_gain: every
    task) counts the same. Of a pairwise energy beta is balanced against redundancy by rho where it is neither given nor
    chosen.
    """

    kind: Literal["coverage", "pairwise"] = "coverage"
    curves: Literal["posterior", "least_squares", "envelope"] = "posterior"
    divergence: Literal["jensen_shannon", "hellinger", "total_variation", "kullback_leibler", "renyi_jensen"] = (
        "jensen_shannon"
    )
    order: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Of renyi_jensen alone; 0.5 where not given."""
    similarity: Literal["exponential", "linear"] = "exponential"
    kappa: float = Field(default=10.0, gt=0.0)
    utility: Literal["learnability", "heldout_gain", "representativeness", "supplied"] = "learnability"
    target_weights: dict[str, Annotated[float, Field(ge=0.0)]] | None = None
    supplied: dict[str, float] | None = None
    lam: float = Field(default=1.0, ge=0.0)
    beta: float | None = None
    rho: float = Field(default=0.5, ge=0.0)
    choose: ChooseSettings | None = None
    tau: float | None = Field(default=None, ge=0.0)
    prior: dict[str, Annotated[float, Field(gt=0.0)]] | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> EnergySettings:
        other = "pairwise" if self.kind == "coverage" else "coverage"
        defaults = type(self).model_fields
        foreign = [name for name in ONLY_OF[other] if getattr(self, name) != defaults[name].default]
        if foreign:
            raise ValueError(f"{foreign[0]} belongs to kind: {other}; add that, or leave {foreign[0]} out")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> EnergySettings:
        if (self.utility == "supplied") != (self.supplied is not None):
            raise ValueError("utility: supplied needs supplied: {task: value, ...}, and only it takes them")
        if self.target_weights is not None and self.utility != "heldout_gain" and self.kind != "coverage":
            raise ValueError("target_weights are only used by kind: coverage, and by utility: heldout_gain")
        if self.order is not None and self.divergence != "renyi_jensen":
            raise ValueError("order is only used by divergence: renyi_jensen")
        if self.similarity == "linear" and self.divergence in ("kullback_leibler", "renyi_jensen"):
            raise ValueError(
                f"divergence: {self.divergence} has no largest value, which similarity: linear needs; use exponential"
            )
        if self.choose is not None and self.beta is not None:
            raise ValueError("choose chooses beta; leave beta out")
        if self.choose is not None and self.choose.nearest_prior is not None and self.tau:
            raise ValueError("choose: nearest_prior minimises the divergence from the prior alone; leave tau out")
        return self
