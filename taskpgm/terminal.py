"""What the commands print for people: tables of mixtures and of comparisons."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from taskpgm.comparison import Row
    from taskpgm.coverage import CoverageNetwork
    from taskpgm.mixture import Mixture
    from taskpgm.network import TaskNetwork
    from taskpgm.types import FloatArray

MOST_PRICES = 5
MOST_FINDINGS = 4
LOG_WIDTH = 200  # in a log: no folding
COMPARISON_COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("method", "left"),
    ("status", "left"),
    ("energy", "right"),
    ("excess", "right"),
    ("bound", "right"),
    ("gap", "right"),
    ("ties", "right"),
    ("seconds", "right"),
    ("MB", "right"),
    ("remark", "left"),
)


def print_comparison(rows: Sequence[Row]) -> None:
    """One table for each problem, best energy first."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    for problem in dict.fromkeys(row.problem for row in rows):
        table = Table(title=Text(f"{problem}: methods, best energy first"))
        for heading, justify in COMPARISON_COLUMNS:
            table.add_column(heading, justify=justify)
        for row in rows:
            if row.problem == problem:
                table.add_row(*map(Text, _comparison_cells(row)))
        console.print(table)


def _comparison_cells(row: Row) -> tuple[str, ...]:
    verdict, solution = row.verdict, row.solution
    found = verdict.energy < float("inf")
    bounded = found and verdict.gap < float("inf")
    remark = verdict.message if row.trusted else f"NOT TRUSTED: {row.reason}"
    return (
        verdict.method,
        "proved" if row.proved else verdict.status.name,
        f"{verdict.energy:.9g}" if found else "",
        f"{verdict.excess:.2g}" if found else "",
        f"{verdict.bound:.9g}" if bounded else "",
        f"{verdict.relative_gap:.1%}" if bounded and verdict.gap > 0.0 else "0" if bounded else "",
        "" if solution.ties is None else f"{solution.ties}",
        f"{solution.seconds:.3f}",
        "" if solution.memory is None else f"{solution.memory / 1e6:.0f}",
        remark,
    )


def print_mixture(mixture: Mixture) -> None:
    """One row for each task."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    network, sizes = mixture.network, mixture.sizes
    total = sum(size.tokens for size in sizes.values()) if sizes else 0
    table = Table(title=f"Mixture (shares of the budget in {mixture.unit})" if sizes else "Mixture")
    table.add_column("task", overflow="fold")
    uncertainty = mixture.details.get("uncertainty")
    headings = (*(("examples", "by size") if sizes else ()), "weight", *(("95 %",) if uncertainty else ()))
    own_headings, last_heading, own_columns = _columns(mixture)
    for heading in (*headings, "x uniform", *own_headings):
        table.add_column(heading, justify="right")
    table.add_column(last_heading, overflow="fold")
    for name, (*numbers, partner) in zip(network.names, own_columns, strict=True):
        weight = mixture.weights[name]
        table.add_row(
            Text(name),
            *((f"{sizes[name].examples}", f"{sizes[name].tokens / total:.1%}") if sizes else ()),
            f"{weight:.1%}",
            *((_interval(uncertainty, name),) if uncertainty else ()),
            f"{weight * len(network):.2f}{_mark(uncertainty, name)}",
            *numbers,
            Text(partner),
        )
    Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(table)


def _columns(mixture: Mixture) -> tuple[tuple[str, ...], str, list[tuple[str, ...]]]:
    """(headings of numbers, heading of the task that is nearest, a row of both for each task) of any energy."""
    from taskpgm.coverage import CoverageNetwork
    from taskpgm.forecasting import forecast
    from taskpgm.mixture import most_alike
    from taskpgm.separable import SeparableNetwork
    from taskpgm.transfer_network import TransferNetwork

    network = mixture.network
    if isinstance(network, SeparableNetwork | TransferNetwork):
        point = [mixture.weights[name] for name in network.names]
        spread = network.curves.spread(network.exposures(point))
        helped = isinstance(network, TransferNetwork)
        helpers = (
            _helpers(network.names, network.transfer) if isinstance(network, TransferNetwork) else [""] * len(point)
        )
        columns = zip(network.done, network.losses(point), spread, helpers, strict=True)
        cells: list[tuple[str, ...]] = [
            (f"{e:.4g}", f"{loss:.2f}", f"{s:.2f}", helper) for e, loss, s, helper in columns
        ]
        return ("so far", "expected", "+-"), "learns from" if helped else "", cells
    if not isinstance(network, CoverageNetwork):
        rows = zip(network.utility, most_alike(network.names, network.similarity), strict=True)
        return ("utility",), "most alike", [(f"{u:.3f}", f"{other} ({alike:.2f})") for u, (other, alike) in rows]
    told = forecast(network, list(mixture.weights.values()))
    lines = zip(told.start, told.losses, told.interval, _helpers(network.names, network.transfer), strict=True)
    cells = [
        (f"{start:.2f}", f"{loss:.2f}", f"{low:.2f} to {high:.2f}", helper)
        for start, loss, (low, high), helper in lines
    ]
    return ("left out", "forecast", "95 %"), "learns from", cells


def _helpers(names: Sequence[str], transfer: FloatArray) -> list[str]:
    """For each task the other one whose examples teach it most, and what one is worth; nothing where none does."""
    from taskpgm.mixture import most_alike

    return [f"{other} ({worth:.2f})" if worth >= 0.005 else "" for other, worth in most_alike(names, transfer.T)]


def _interval(uncertainty: Mapping[str, Any], name: str) -> str:
    low, high = uncertainty["interval"][name]
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _mark(uncertainty: Mapping[str, Any] | None, name: str) -> str:
    """A question mark where the evidence does not tell whether a task should get more than a uniform share."""
    if uncertainty is None:
        return ""
    return "?" if name in uncertainty["undecided"] else " "


def print_energy(mixture: Mixture) -> None:
    """What was minimised, and what is proved about the answer."""
    for line in energy_lines(mixture):
        print(line)


def energy_lines(mixture: Mixture) -> Iterator[str]:
    """What `print_energy` says."""
    from taskpgm.coverage import CoverageNetwork
    from taskpgm.diverged import said
    from taskpgm.network import TaskNetwork
    from taskpgm.transfer_network import TransferNetwork

    network = mixture.network
    if excluded := mixture.details.get("excluded"):
        yield f"Beware: {said(excluded)}"
    if isinstance(network, CoverageNetwork):
        yield from _coverage_lines(mixture, network)
    elif not isinstance(network, TaskNetwork):
        pull = f", with a pull of {network.tau:.3g} to the prior" if network.tau > 0.0 else ""
        yield f"Energy: the mean loss expected after what is left of the budget, {network.remaining:.6g}{pull}."
        if isinstance(network, TransferNetwork):
            yield "Tasks teach each other, by a transfer graph: expected losses depend on what they get together."
    else:
        yield from _pairwise_lines(mixture, network)
    yield from _forecast_lines(mixture)
    yield from _uncertainty_lines(mixture.details.get("uncertainty"))
    for answer, about in (("probes_enough", "Probes"), ("interval_effect", "Pooled tokens")):
        if answer in mixture.details:
            yield f"{about}: {mixture.details[answer]['text']}"
    yield from _constraint_lines(mixture.details.get("constraints"), mixture.energy)
    if mixture.status == "optimal":
        yield f"Certified: no feasible mixture has an energy lower by more than {mixture.gap:.2g}."
    elif isinstance(network, TransferNetwork) and mixture.status in ("bound", "timeout"):
        yield (
            f"NOT certified ({mixture.status}): the best of many descents; the envelope bound leaves a gap of"
            f" {mixture.gap:.2g}."
        )
    else:
        yield f"NOT certified ({mixture.status}): the gap is {mixture.gap:.2g}."


def _pairwise_lines(mixture: Mixture, network: TaskNetwork) -> Iterator[str]:
    least = float(network.lower.min())
    utility = mixture.details.get("utility", "supplied")
    similarity = mixture.details.get("similarity", "supplied")
    yield f"Energy: utility {utility}, similarity {similarity}, {_terms(network)}, every weight at least {least:.4g}."
    if "indefinite" in mixture.details:
        yield f"Beware: {mixture.details['indefinite']['text']}."
    choice = mixture.details.get("choice")
    if choice:
        yield f"Chosen by rule: {choice['text']}."
    else:
        yield from _caution_lines(network, utility)


def _coverage_lines(mixture: Mixture, network: CoverageNetwork) -> Iterator[str]:
    least = float(network.lower.min())
    yield (
        f"Energy: expected loss after {network.budget:.4g} {mixture.unit} by learning curves, tau {network.tau:.4g},"
        f" every weight at least {least:.4g}."
    )


def _forecast_lines(mixture: Mixture) -> Iterator[str]:
    """The mean loss that the experts' learning curves promise, next to that of the uniform mixture."""
    from taskpgm.coverage import CoverageNetwork

    told = mixture.details.get("forecast")
    if not told:
        if "no_forecast" in mixture.details:
            yield str(mixture.details["no_forecast"])
        return
    average = " (every family of tasks counts the same)" if told["by_family"] else ""
    yield (
        f"Forecast by the experts' learning curves for {told['budget']:.4g} {mixture.unit}: a mean loss of"
        f" {told['mean']:.4g} nats per target token, {told['uniform']:.4g} with the uniform mixture{average}."
    )
    if told["mean"] > told["uniform"]:
        if isinstance(mixture.network, CoverageNetwork):
            rest = "It knows more than the energy that chose. Compare both with taskpgm evaluate."
        else:
            rest = "Compare both with taskpgm evaluate, or choose by learning curves: energy: {kind: coverage}."
        yield f"Beware: by this forecast uniform would do better. {rest}"
    findings = mixture.details.get("findings", ())
    for finding in findings[:MOST_FINDINGS]:
        yield f"Beware: {finding['text']}"
    if len(findings) > MOST_FINDINGS:
        others = ", ".join(finding["task"] for finding in findings[MOST_FINDINGS:])
        yield f"Beware: of {others} there is something to know, too; mixture.json says what (details, findings)."


def _uncertainty_lines(uncertainty: Mapping[str, Any] | None) -> Iterator[str]:
    """What the intervals in the table hold, and what would narrow them."""
    if not uncertainty:
        return
    more = uncertainty["probes_to_halve"]
    drawn = "learning curves are drawn from what the snapshots leave open" if more is None else "probes are drawn again"
    yield f"95 %: where weights lie when the {drawn}; what another training run would change is not in it."
    if uncertainty["undecided"]:
        halve = "" if more is None else f" {more} more probes a task would halve the widths."
        yield f"? marks what the evidence leaves open: more or less than uniform.{halve}"


def _constraint_lines(constraints: Mapping[str, Any] | None, energy: float) -> Iterator[str]:
    """Which constraints bind, what loosening them saves, and the best mixture without any."""
    if not constraints:
        return
    for price in constraints["binding"][:MOST_PRICES]:
        yield f"Binds: {price['text']}."
    left = len(constraints["binding"]) - MOST_PRICES
    if left > 0:
        yield f"Binds as well, at less: {left} more."
    without = constraints["without"]
    if constraints["binding"] and without["weights"]:
        largest = sorted(without["weights"].items(), key=_weight, reverse=True)[:MOST_PRICES]
        shown = ", ".join(f"{name} {weight:.1%}" for name, weight in largest)
        yield f"Without bounds and constraints the energy would be lower by {energy - without['energy']:.3g}: {shown}."
    if not constraints["binding"]:
        yield "No constraint binds."


def _weight(item: tuple[str, float]) -> float:
    return item[1]


def _caution_lines(network: TaskNetwork, utility: str) -> Iterator[str]:
    """Say where the utilities tell little, instead of letting the weights look better founded than they are."""
    unlearned = int((network.utility == 0.0).sum())
    if utility == "learnability" and unlearned > len(network) / 2:
        yield (
            f"Beware: {unlearned} of {len(network)} tasks have utility 0: their experts learned nothing yet beyond how"
            " often each answer occurs. More training steps, or a stronger base, would tell hard tasks from noise."
        )
    elif network.beta == 0.0:
        yield "The utilities are all equal, or were given no strength: the weights follow from the similarities alone."


def _terms(network: TaskNetwork) -> str:
    prior = f", tau {network.tau:.4g}" if network.tau > 0.0 else ""
    return f"beta {network.beta:.4g}, lam {network.lam:.4g}{prior}"
