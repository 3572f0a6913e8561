"""What is exported, whatever the trainer: every task's share, whole amount and epochs in the unit that it counts.

plan = Plan.of(mixture, "examples", Wish(budget=10_000), places)
for task in plan.tasks:
    print(task.name, task.weight, task.count, task.epochs, task.place.text)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from taskpgm.amounts import whole_counts
from taskpgm.coverage import CoverageNetwork
from taskpgm.exporters.places import Place
from taskpgm.mixture import UNITS, Mixture, Unit
from taskpgm.types import InputError

MANY_EPOCHS = 4.0  # about as far as repeated data is nearly as good as fresh (Muennighoff et al. 2023)
SHOWN_TASKS = 5


@dataclass(frozen=True)
class Wish:
    """What the user asks for: a budget and its unit, each the mixture's own where None."""

    budget: int | None = None
    unit: Unit | None = None


@dataclass(frozen=True)
class PlannedTask:
    """One task of a plan.

    weight: share of what the trainer counts. count: under the budget. available: in the task's training data. Both in
    the plan's unit, None where they are not known.
    """

    name: str
    weight: float
    count: int | None
    available: int | None
    place: Place

    @property
    def epochs(self) -> float | None:
        """Passes over the task's training data."""
        return None if self.count is None or self.available is None else self.count / self.available


@dataclass(frozen=True)
class Plan:
    """Tasks of positive weight in the mixture's order, weights adding up to 1.

    unit: what weights and counts count. budget: the sum of the counts; None where no budget is known. budget_text: how
    it came about. other: the shares in the other units, where known. dropped: tasks of weight 0. limits: what the user
    should know about the mixture and its data, whatever the trainer. chat: mixed data has messages.
    """

    unit: Unit
    tasks: tuple[PlannedTask, ...]
    budget: int | None
    budget_text: str
    other: Mapping[Unit, Mapping[str, float]]
    dropped: tuple[str, ...]
    limits: tuple[str, ...]
    chat: bool = False

    @classmethod
    def of(cls, mixture: Mixture, unit: Unit, wish: Wish, places: Mapping[str, Place], chat: bool = False) -> Plan:
        """The plan of a mixture for a trainer that counts in `unit`.

        Raises:
            InputError: the weights cannot be converted, since the tasks' sizes are not known.
        """
        mixture, stated = _as_stated(mixture, unit, wish.unit)
        shares = {name: share for name, share in mixture.shares(unit).items() if share > 0.0}
        budget, counted_in, text = budget_of(mixture, wish)
        counts = None if budget is None else _counts(mixture, shares, unit, budget, counted_in)
        sizes = mixture.sizes
        tasks = tuple(
            PlannedTask(
                name,
                share,
                None if counts is None else counts[name],
                None if sizes is None else getattr(sizes[name], unit),
                places[name],
            )
            for name, share in shares.items()
        )
        known: tuple[Unit, ...] = UNITS if sizes is not None else ()
        return cls(
            unit=unit,
            tasks=tasks,
            budget=None if counts is None else sum(counts.values()),
            budget_text=text,
            other={each: mixture.shares(each) for each in known if each != unit},
            dropped=tuple(name for name in mixture.weights if name not in shares),
            limits=(*stated, *_limits(mixture, tasks)),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that the user should know: the limits, and what is wrong with the amounts."""
        return (*self.limits, *_amount_limits(self.tasks))

    def warned(self, *texts: str) -> Plan:
        """The same plan with more to know about it."""
        return replace(self, limits=(*texts, *self.limits))

    def realised(self, rows: Mapping[str, int], available: Mapping[str, int], place: Place, chat: bool) -> Plan:
        """The plan as it was carried out: so many rows of each task, of those that it has, all in one file."""
        tasks = tuple(
            replace(task, count=rows.get(task.name, 0), available=available[task.name], place=place)
            for task in self.tasks
        )
        return replace(self, tasks=tasks, budget=sum(rows.values()), chat=chat)


def words(unit: Unit) -> str:
    """A unit as people write it."""
    return unit.replace("_", " ")


def listed(names: list[str]) -> str:
    """Some names for a message of one line, the first few of them."""
    more = f" and {len(names) - SHOWN_TASKS} more" if len(names) > SHOWN_TASKS else ""
    return ", ".join(repr(name) for name in names[:SHOWN_TASKS]) + more


def _as_stated(mixture: Mixture, unit: Unit, asked: Unit | None) -> tuple[Mixture, tuple[str, ...]]:
    """A mixture that does not know its tasks' sizes has its weights in the unit that the user says."""
    if mixture.sizes is not None:
        return mixture, ()
    stated = mixture.unit if asked is None else asked
    if stated != unit:
        raise InputError(
            f"the mixture does not know its tasks' sizes, so its weights in {words(stated)} cannot be turned into"
            f" {words(unit)}, which is what counts here; if they are shares of {words(unit)}, say --unit"
            f" {unit.replace('_', '-')}."
        )
    note = f"the tasks' sizes are not known: the weights are taken as shares of {words(unit)}, and epochs are unknown."
    return replace(mixture, unit=stated), (note,)


def budget_of(mixture: Mixture, wish: Wish) -> tuple[int | None, Unit, str]:
    """(amount, its unit, how it came about) of the budget: asked for, or what the mixture was made for, or all."""
    unit = mixture.unit if wish.unit is None else wish.unit
    if wish.budget is not None:
        if wish.budget < 1:
            raise InputError(f"budget {wish.budget}: expected at least 1.")
        return wish.budget, unit, f"{wish.budget} {words(unit)}, as asked for"
    settings = mixture.details.get("settings", {})
    stated = settings.get("mixture", {}).get("budget") if isinstance(settings.get("mixture"), dict) else None
    if isinstance(mixture.network, CoverageNetwork):
        stated = max(1, round(mixture.network.budget))
    if stated is not None:
        return int(stated), mixture.unit, f"{stated} {words(mixture.unit)}, which the mixture was made for"
    if mixture.sizes is not None:
        total = sum(getattr(mixture.sizes[name], unit) for name, weight in mixture.weights.items() if weight > 0.0)
        return total, unit, f"{total} {words(unit)}, as many as the tasks have together"
    return None, unit, "not known; give one with --budget"


def _counts(mixture: Mixture, shares: Mapping[str, float], unit: Unit, budget: int, counted_in: Unit) -> dict[str, int]:
    """Whole amounts in `unit`, by largest remainder, for a budget counted in another unit."""
    total = budget
    if counted_in != unit:
        if mixture.sizes is None:
            raise InputError(f"the mixture does not know its tasks' sizes: give the budget in {words(unit)}.")
        per_unit = {name: getattr(size, counted_in) / getattr(size, unit) for name, size in mixture.sizes.items()}
        total = max(1, round(budget / sum(share * per_unit[name] for name, share in shares.items())))
    return dict(zip(shares, whole_counts(list(shares.values()), total), strict=True))


def _amount_limits(tasks: tuple[PlannedTask, ...]) -> list[str]:
    limits = []
    often = sorted((task for task in tasks if (task.epochs or 0.0) > MANY_EPOCHS), key=lambda task: -(task.epochs or 0))
    if often:
        most = ", ".join(f"{task.name!r} ({task.epochs:.1f})" for task in often[:SHOWN_TASKS])
        more = f" and {len(often) - SHOWN_TASKS} more" if len(often) > SHOWN_TASKS else ""
        limits.append(
            f"repeated more than {MANY_EPOCHS:g} times: {most}{more}; lower the budget, or make the mixture with"
            " feasible: {max_epochs: 4}."
        )
    none = [task.name for task in tasks if task.count == 0]
    if none:
        limits.append(f"too small a share for even one in this budget: {listed(none)}; raise the budget.")
    return limits


def _limits(mixture: Mixture, tasks: tuple[PlannedTask, ...]) -> list[str]:
    limits = []
    unknown = [task.name for task in tasks if not task.place.known]
    if unknown:
        limits.append(f"placeholder paths for {listed(unknown)}; say where the data lies with --data NAME=PATH.")
    reshaped = [task.name for task in tasks if task.place.reshaped]
    if reshaped:
        limits.append(
            f"the run read {listed(reshaped)} through templates, which no trainer knows of: --task-files and"
            " --materialise write the text as the experts saw it."
        )
    if any(task.place.columns for task in tasks) and mixture.details.get("data", {}).get("splits"):
        limits.append(
            "trainers read whole files, with the examples that the run held out for probes and evaluation;"
            " --task-files and --materialise write the training part alone."
        )
    return limits
