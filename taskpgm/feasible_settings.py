"""From the settings of a run to the bounds and constraints of its network.

lower, upper, constraints = feasible_set(settings, names, sizes, unit="tokens", budget=1_000_000)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from taskpgm.config import FeasibleSettings, TrustSettings
from taskpgm.constraints import Constraint, CostBound, EffectiveTasks, EpochCap, Group, TrustRegion
from taskpgm.types import InputError, TaskSize

Allowed: TypeAlias = tuple[list[float], list[float], tuple[Constraint, ...]]


def feasible_set(
    settings: FeasibleSettings,
    names: Sequence[str],
    sizes: Mapping[str, TaskSize] | None,
    unit: str,
    budget: int | None,
) -> Allowed:
    """(lower bounds, upper bounds, constraints) on the weights of `names`.

    Raises:
        InputError: a task that is not there, or epochs or proportions without what they need.
    """
    for section in ("lower", "upper", "fixed"):
        unknown = [name for name in getattr(settings, section) if name not in names]
        if unknown:
            raise InputError(f"feasible.{section}: {unknown[0]!r} is not a task; the tasks are {', '.join(names)}.")
    floor = settings.floor / len(names)
    lower = [settings.fixed.get(name, max(floor, settings.lower.get(name, 0.0))) for name in names]
    upper = [settings.fixed.get(name, settings.upper.get(name, 1.0)) for name in names]
    found: list[Constraint] = [
        Group(group.tasks, group.lower, group.upper, name) for name, group in settings.groups.items()
    ]
    if settings.max_epochs is not None:
        if budget is None:
            raise InputError("feasible.max_epochs: how often data is repeated depends on mixture.budget; give it.")
        amounts = _amounts(sizes, unit, "feasible.max_epochs")
        found.append(EpochCap(amounts, budget, settings.max_epochs))
    if settings.cost is not None:
        found.append(CostBound(settings.cost.per_unit, settings.cost.most))
    if settings.trust_region is not None:
        found.append(TrustRegion(_centre(settings.trust_region, names, sizes, unit), settings.trust_region.within))
    if settings.effective_tasks is not None:
        found.append(EffectiveTasks(settings.effective_tasks))
    for constraint in found:
        constraint.rows(names)
    return lower, upper, tuple(found)


def _centre(
    settings: TrustSettings, names: Sequence[str], sizes: Mapping[str, TaskSize] | None, unit: str
) -> dict[str, float]:
    if settings.around == "uniform":
        weights = dict.fromkeys(names, 1.0)
    elif settings.around == "proportional":
        weights = _amounts(sizes, unit, "feasible.trust_region.around: proportional")
    else:
        weights = dict(settings.around)
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _amounts(sizes: Mapping[str, TaskSize] | None, unit: str, section: str) -> dict[str, float]:
    if sizes is None:
        raise InputError(f"{section}: the tasks' sizes are not known here.")
    return {name: float(getattr(size, unit)) for name, size in sizes.items()}
