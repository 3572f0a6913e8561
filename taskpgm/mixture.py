"""From a solution to something to train on: weights by name, whole counts, epochs, and a file that can be checked.

For example:

    mixture = Mixture.from_solution(network, solution, sizes=sizes)
    mixture.counts(10_000, unit="examples")         # whole numbers that add up to 10,000
    mixture.to_json("mixture.json")                 # taskpgm verify mixture.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from taskpgm.amounts import whole_counts
from taskpgm.exact import exact_certificate
from taskpgm.expected_energy import ExpectedEnergy
from taskpgm.judge import ENERGY_TOLERANCE, FEASIBILITY_TOLERANCE, GAP_TOLERANCE
from taskpgm.limits import shown
from taskpgm.network_files import Mixed, network_as_dict, network_from_dict
from taskpgm.storage import canonical_json, read_json, write_atomic
from taskpgm.types import FloatArray, InputError, Solution, Status, TaskSize
from taskpgm.whereabouts import checked_origin

Unit: TypeAlias = Literal["tokens", "target_tokens", "examples"]
UNITS: tuple[Unit, ...] = ("tokens", "target_tokens", "examples")
FORMAT = "taskpgm-mixture/3"


@dataclass(frozen=True)
class Check:
    """One line of a verification."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True, eq=False)
class Mixture:
    """Task weights with everything needed to check them again.

    weights: by task name, sum 1, as shares of the training budget counted in `unit`. sizes: the tasks' training data,
    where known. details: what the weights rest on (settings, evidence, versions), kept in the file.
    """

    network: Mixed
    weights: Mapping[str, float]
    energy: float
    bound: float
    gap: float
    status: str
    method: str
    unit: Unit = "tokens"
    sizes: Mapping[str, TaskSize] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_solution(
        cls,
        network: Mixed,
        solution: Solution,
        *,
        unit: Unit = "tokens",
        sizes: Mapping[str, TaskSize] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Mixture:
        """The mixture at a solution of a TaskNetwork, a CoverageNetwork, a SeparableNetwork or a TransferNetwork.

        Raises:
            InputError: the solution has no point, or is of another kind of problem.
        """
        if solution.point is None:
            raise InputError(f"{solution.method} gave no mixture ({solution.status.name}): {solution.message}.")
        if network.violation(solution.point) > FEASIBILITY_TOLERANCE:
            raise InputError("the solution is not a mixture of this network; divide levels by their quanta first.")
        weights = dict(zip(network.names, map(float, solution.point), strict=True))
        return cls(
            network,
            weights,
            solution.energy,
            solution.bound,
            solution.gap,
            solution.status.name,
            solution.method,
            unit,
            sizes,
            details or {},
        )

    def with_details(self, more: Mapping[str, Any]) -> Mixture:
        """The same mixture with more told about what it rests on."""
        return replace(self, details={**self.details, **more})

    # ------------------------------------------------------------------------------------------------------- amounts

    def shares(self, unit: Unit | None = None) -> dict[str, float]:
        """The weights as shares of a budget counted in another unit, by each task's mean example length.

        Raises:
            InputError: the sizes are not known.
        """
        unit = self._known_unit(unit)
        if unit == self.unit:
            return dict(self.weights)
        sizes = self._known_sizes()
        raw = {
            name: weight * getattr(sizes[name], unit) / getattr(sizes[name], self.unit)
            for name, weight in self.weights.items()
        }
        total = sum(raw.values())
        if not np.isfinite(total) or total <= 0.0:
            raise InputError("the weights are no mixture: expected finite numbers, none negative and not all 0.")
        return {name: value / total for name, value in raw.items()}

    def counts(self, budget: int, unit: Unit | None = None) -> dict[str, int]:
        """Whole amounts that add up to the budget, by largest remainder (ties go to the earlier task).

        Args:
            budget: how many units the training run takes in all.
            unit: tokens, target_tokens or examples; the mixture's own unit where not given.
        """
        if budget < 1:
            raise InputError(f"budget {budget}: expected at least 1.")
        shares = self.shares(unit)
        if not all(np.isfinite(share) and share >= 0.0 for share in shares.values()) or not any(shares.values()):
            raise InputError("the weights are no mixture: expected finite numbers, none negative and not all 0.")
        return dict(zip(shares, whole_counts(list(shares.values()), budget), strict=True))

    def epochs(self, budget: int, unit: Unit | None = None) -> dict[str, float]:
        """How often each task's training data will be repeated under a budget."""
        sizes, unit = self._known_sizes(), self._known_unit(unit)
        return {name: count / getattr(sizes[name], unit) for name, count in self.counts(budget, unit).items()}

    def interleave(self, datasets: Mapping[str, Any], seed: int = 0, stopping_strategy: str = "first_exhausted") -> Any:
        """The tasks' Hugging Face data sets drawn in these proportions, through datasets.interleave_datasets.

        Rows are drawn by example, so weights in tokens are converted by the tasks' mean lengths. Each data set is
        shuffled first, since its rows are taken in order; tasks of weight 0 are left out, since with "all_exhausted"
        they would never end.

        Raises:
            InputError: a task has no data set, or the sizes needed for the conversion are not known.
        """
        from datasets import interleave_datasets

        missing = [name for name, weight in self.weights.items() if weight > 0.0 and name not in datasets]
        if missing:
            raise InputError(f"interleave: no data set for task {missing[0]!r}; key them by task name.")
        shares = {name: share for name, share in self.shares("examples").items() if share > 0.0}
        probabilities = np.array(list(shares.values()))
        return interleave_datasets(
            [datasets[name].shuffle(seed=seed) for name in shares],
            probabilities=(probabilities / probabilities.sum()).tolist(),
            seed=seed,
            stopping_strategy=stopping_strategy,
        )

    # --------------------------------------------------------------------------------------------------------- files

    def to_json(self, path: str | Path) -> None:
        """Write the mixture, its network and its certificate; the same mixture always gives the same bytes."""
        write_atomic(Path(path), (canonical_json(self.as_dict()) + "\n").encode("utf-8", "surrogatepass"))

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {
            "format": FORMAT,
            "weights": dict(self.weights),
            "unit": self.unit,
            "certificate": {
                "energy": self.energy,
                "bound": _finite_or_none(self.bound),
                "gap": _finite_or_none(self.gap),
                "status": self.status,
                "method": self.method,
            },
            "network": network_as_dict(self.network),
            "sizes": None if self.sizes is None else {name: asdict(size) for name, size in self.sizes.items()},
            "details": dict(self.details),
        }

    @classmethod
    def from_json(cls, path: str | Path) -> Mixture:
        """Read what to_json wrote.

        Raises:
            InputError: not a mixture file, another version's, or one whose parts do not fit together.
        """
        value = read_json(Path(path))
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, dict) else type(value).__name__
            raise InputError(f"{path}: not a {FORMAT} file (found {found!r}).")
        try:
            network, proof, sizes = network_from_dict(value["network"]), value["certificate"], value["sizes"]
            weights = {str(name): float(weight) for name, weight in value["weights"].items()}
            mixture = cls(
                network,
                {name: weights[name] for name in network.names if name in weights},
                float(proof["energy"]),
                -np.inf if proof["bound"] is None else float(proof["bound"]),
                np.inf if proof["gap"] is None else float(proof["gap"]),
                str(proof["status"]),
                str(proof["method"]),
                value["unit"],
                None if sizes is None else {name: _size(sizes[name]) for name in network.names},
                _checked_details(value["details"]),
            )
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise InputError(f"{path}: damaged mixture file ({type(error).__name__}: {error}).") from error
        if set(weights) != set(network.names) or mixture.unit not in UNITS:
            raise InputError(
                f"{path}: damaged mixture file (weights and network name different tasks, or no known unit)."
            )
        return mixture

    def verify(self) -> tuple[Check, ...]:
        """Prove the weights again in exact rational arithmetic, from the stored network alone.

        Of an energy that need not be convex the claim may be a bound with a gap: that the gap is no wider is proved.
        """
        point = np.array([self.weights[name] for name in self.network.names])
        if not np.all(np.isfinite(point)):
            return (Check("feasible", False, "a weight is not a finite number"),)
        try:
            with np.errstate(all="ignore"):  # what overflows is told by a check that does not pass
                violation, exact = self.network.violation(point), exact_certificate(self.network, point)
        except InputError:
            raise
        except (ArithmeticError, ValueError, AssertionError) as error:
            return (Check("feasible", False, f"numbers too extreme to compute with ({type(error).__name__})"),)
        checks = [
            Check(
                "feasible",
                violation <= FEASIBILITY_TOLERANCE,
                f"the weights break no constraint by more than {violation:.2g}",
            )
        ]
        scale = max(1.0, abs(self.energy))
        difference = abs(float(exact.energy) - self.energy)
        checks.append(
            Check(
                "energy",
                difference <= ENERGY_TOLERANCE * scale,
                f"stated {self.energy:.12g}, exact {float(exact.energy):.12g}",
            )
        )
        gap, least, claims = float(exact.gap), GAP_TOLERANCE, {Status.optimal.name}
        open_ended = {Status.bound.name, Status.timeout.name}
        if isinstance(self.network, ExpectedEnergy) and self.status in open_ended:
            least, claims = self.gap + ENERGY_TOLERANCE * scale, open_ended  # not convex: a gap may remain
        checks.append(Check("gap", gap <= least, f"no feasible mixture has an energy lower by more than {gap:.3g}"))
        honest = self.bound <= float(exact.energy) + ENERGY_TOLERANCE * scale and self.status in claims
        checks.append(Check("claim", honest, f"stated as {self.status}, with a gap of {self.gap:.3g}"))
        return tuple(checks)

    def _known_unit(self, unit: Unit | None) -> Unit:
        if unit is not None and unit not in UNITS:
            raise InputError(f"unit {unit!r}: use one of {', '.join(UNITS)}.")
        return self.unit if unit is None else unit

    def _known_sizes(self) -> Mapping[str, TaskSize]:
        if self.sizes is None:
            raise InputError(
                f"the tasks' sizes are not known, so weights in {self.unit} cannot be converted; give sizes, or state"
                " the weights in the unit you need."
            )
        return self.sizes


def _size(values: Any) -> TaskSize:
    size = TaskSize(**values)
    if not all(type(count) is int and 0 < count < 2**62 for count in asdict(size).values()):
        raise ValueError(f"sizes: expected whole numbers, found {shown(values)}")
    return size


def _checked_details(details: Any) -> Mapping[str, Any]:
    if not isinstance(details, dict):
        raise TypeError(f"details: expected an object, found {type(details).__name__}")
    checked_origin(details.get("data", {}))
    return details


def most_alike(names: Sequence[str], likeness: FloatArray) -> Sequence[tuple[str, float]]:
    """For each task (row of the (n, n) likeness) the other task that is most like it, and how much."""
    others = likeness - np.diag(np.full(len(names), np.inf))
    return [(names[int(row.argmax())], float(row.max())) for row in others]


def _finite_or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
