"""Pictures: of a comparison of methods, and of a network's trade-off path.

comparison_figure(rows).savefig("compare.png")
trade_off_figure(trade_off(network), chosen=solution).savefig("path.png")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.choice import Path as Trail
from taskpgm.comparison import Row
from taskpgm.exact_path import TradeOff
from taskpgm.judge import ENERGY_TOLERANCE
from taskpgm.pictures import check_ending, plot_label, save_figure
from taskpgm.types import FloatArray, InputError, Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_GAP = 1e-9  # what is proved is drawn here on logarithmic axes
SHOWN = 16  # tasks with a colour of their own in the picture of a path
SAMPLES = 400
NO_ANSWER = (Status.refused, Status.failed)


def save_comparison(rows: Sequence[Row], path: Path) -> None:
    """Draw a comparison into a PNG, SVG or PDF file.

    Raises:
        InputError: another ending of the file's name, or no method gave an answer.
    """
    check_ending(path)
    save_figure(comparison_figure(rows), path)


def save_trade_off(path: Path, trade_offs: Trail, chosen: ArrayLike | None = None, beta: float | None = None) -> None:
    """Draw a trade-off path into a PNG, SVG or PDF file; see `trade_off_figure`.

    Raises:
        InputError: another ending of the file's name.
    """
    check_ending(path)
    save_figure(trade_off_figure(trade_offs, chosen, beta), path)


def comparison_figure(rows: Sequence[Row]) -> Figure:
    """Four panels: anytime curves of the first problem, performance profile, agreement, and excess energy."""
    from matplotlib.figure import Figure

    answered = [row for row in rows if row.verdict.status not in NO_ANSWER and np.isfinite(row.verdict.energy)]
    if not answered:
        raise InputError("no method gave an answer: there is nothing to draw.")
    methods = list(dict.fromkeys(row.verdict.method for row in answered))
    colours = _colours(methods)
    height = 4.0 + 0.22 * len(methods)
    figure = Figure(figsize=(15.0, 2.0 * height), layout="constrained")
    (top_left, top_right), (bottom_left, bottom_right) = figure.subplots(2, 2)
    first = [row for row in answered if row.problem == answered[0].problem]
    _draw_anytime(top_left, first, colours)
    _draw_profile(top_right, answered, methods, colours)
    _draw_agreement(bottom_left, answered, methods)
    _draw_excess(bottom_right, answered, methods, colours)
    return figure


def _colours(methods: Sequence[str]) -> dict[str, Any]:
    from matplotlib import colormaps

    palette = [colormaps["tab20"](place) for place in np.linspace(0.0, 1.0, 20)]
    return {method: palette[i % 20] for i, method in enumerate(methods)}


def _draw_anytime(axes: Axes, rows: Sequence[Row], colours: dict[str, Any]) -> None:
    """Energy above the best known (solid) and bound below it (dashed) against time, both on logarithmic axes."""
    best = min(row.verdict.energy for row in rows if row.trusted)
    for row in rows:
        seconds, above, below = _anytime(row, best)
        colour = colours[row.verdict.method]
        axes.plot(seconds, above, drawstyle="steps-post", marker=".", color=colour, label=row.verdict.method)
        if np.isfinite(below).any():
            axes.plot(seconds, below, drawstyle="steps-post", marker="x", color=colour, linestyle="--")
    axes.set(xscale="log", yscale="log", xlabel="seconds", ylabel="distance from the best energy")
    title = f" ({rows[0].problem})" if rows[0].problem else ""
    axes.set_title(f"Energy above (solid) and bound below (dashed) the best{title}")
    axes.legend(fontsize="x-small", ncols=2)


def _anytime(row: Row, best: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(seconds, energy - best, best - bound) of a row, its final answer included; never below what can be drawn."""
    end = (row.solution.seconds, row.verdict.energy, row.verdict.bound)
    points = [*((each.seconds, each.energy, each.bound) for each in row.solution.trace), end]
    seconds, energies, bounds = np.array(sorted(points)).T
    above = np.maximum(np.minimum.accumulate(energies) - best, LEAST_GAP)
    below = np.maximum(best - np.maximum.accumulate(bounds), LEAST_GAP)
    above[np.isinf(above)], below[np.isinf(below)] = np.nan, np.nan
    return np.maximum(seconds, 1e-4), above, below


def _draw_profile(axes: Axes, rows: Sequence[Row], methods: Sequence[str], colours: dict[str, Any]) -> None:
    """Dolan & Moré (2002): the share of problems that a method proves within a multiple of the fastest proof's time."""
    problems = list(dict.fromkeys(row.problem for row in rows))
    for method in methods:
        ratios = performance_ratios(rows, method, problems)
        finite = np.sort(ratios[np.isfinite(ratios)])
        if finite.size:
            steps = np.r_[0.0, np.arange(1, finite.size + 1) / len(problems)]
            axes.step(np.r_[1.0, finite], steps, where="post", color=colours[method], marker=".", label=method)
    axes.set(xscale="log", ylim=(-0.03, 1.05), xlabel="time as a multiple of the fastest proof", ylabel="share proved")
    axes.set_title(f"Performance profile over {len(problems)} problem{'s' if len(problems) > 1 else ''}")
    if axes.lines:
        axes.legend(fontsize="x-small")


def performance_ratios(rows: Sequence[Row], method: str, problems: Sequence[str]) -> FloatArray:
    """(problems,) time to a proof over the fastest method's time to one; infinite where the method proves nothing."""
    ratios = np.full(len(problems), np.inf)
    for place, problem in enumerate(problems):
        times = {row.verdict.method: row.solution.seconds for row in rows if row.problem == problem and row.proved}
        if method in times:
            ratios[place] = max(times[method], 1e-4) / max(min(times.values()), 1e-4)
    return ratios


def _draw_agreement(axes: Axes, rows: Sequence[Row], methods: Sequence[str]) -> None:
    shares = agreement(rows, methods)
    image = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="viridis")
    axes.set_xticks(range(len(methods)), methods, rotation=90, fontsize="x-small")
    axes.set_yticks(range(len(methods)), methods, fontsize="x-small")
    axes.set_title("Share of problems on which two methods reach the same energy")
    axes.figure.colorbar(image, ax=axes)


def agreement(rows: Sequence[Row], methods: Sequence[str]) -> FloatArray:
    """(m, m) the share of problems that both methods answered on which their energies agree; nan where none."""
    answered = [row for row in rows if np.isfinite(row.verdict.energy)]
    energies = {(row.problem, row.verdict.method): row.verdict.energy for row in answered}
    problems = list(dict.fromkeys(row.problem for row in rows))
    shares = np.full((len(methods), len(methods)), np.nan)
    for i, one in enumerate(methods):
        for j, other in enumerate(methods):
            pairs = [(energies.get((p, one)), energies.get((p, other))) for p in problems]
            both = [(a, b) for a, b in pairs if a is not None and b is not None]
            if both:
                same = [abs(a - b) <= ENERGY_TOLERANCE * max(1.0, abs(a)) for a, b in both]
                shares[i, j] = float(np.mean(same))
    return shares


def _draw_excess(axes: Axes, rows: Sequence[Row], methods: Sequence[str], colours: dict[str, Any]) -> None:
    """For each method and problem the energy above the best; a filled mark is proved."""
    for place, method in enumerate(methods):
        mine = [row for row in rows if row.verdict.method == method]
        excess = np.maximum([row.verdict.excess for row in mine], LEAST_GAP)
        fill = [colours[method] if row.proved else "none" for row in mine]
        axes.scatter(excess, np.full(len(mine), place), facecolors=fill, edgecolors=[colours[method]])
    axes.set_yticks(range(len(methods)), methods, fontsize="x-small")
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel=f"energy above the best (drawn at least at {LEAST_GAP:.0e})")
    axes.set_title("Excess energy; filled marks are proved")


# --------------------------------------------------------------------------------------------------- the trade-off path


def trade_off_figure(path: Trail, chosen: ArrayLike | None = None, beta: float | None = None) -> Figure:
    """Weights stacked over beta, with effective tasks and utility below, and the chosen mixture as a bar beside them.

    Args:
        path: from `trade_off`, or a sampled one.
        chosen: (n,) a mixture to show; it need not lie on the path.
        beta: where it lies on the path, if it does.
    """
    from matplotlib.figure import Figure

    betas, mixtures = points_along(path)
    largest = np.argsort(-mixtures.max(axis=0), kind="stable")[:SHOWN]
    figure = Figure(figsize=(13.0, 8.0), layout="constrained")
    axes = figure.subplots(2, 2, gridspec_kw={"width_ratios": (12, 1), "height_ratios": (3, 2)})
    colours = _stack(axes[0, 0], betas, mixtures, largest, path.network.names)
    _draw_chosen(axes[0, 1], chosen, largest, colours)
    _draw_counts(axes[1, 0], path, betas, mixtures)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[1, 1].axis("off")
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper", fontsize="small")
    for each in axes[:, 0]:
        each.set(xscale="log", xlim=(betas[0], betas[-1]))
        if beta is not None:
            each.axvline(np.clip(beta, betas[0], betas[-1]), color="black", linestyle="--", linewidth=1.5)
    return figure


def points_along(path: Trail) -> tuple[FloatArray, FloatArray]:
    """((m,) increasing positive betas, (m, n) mixtures) to draw: every corner of a path, and points between them."""
    positive = path.betas[path.betas > 0.0]
    if not len(positive):  # utilities that are all equal: one mixture for every beta
        return np.array([0.1, 1.0]), np.repeat(path.mixtures[-1:], 2, axis=0)
    low, high = float(positive[0]) / 20.0, float(positive[-1]) * 1.5
    if not isinstance(path, TradeOff):  # already drawn out to where nothing changes any more
        low = float(positive[0]) / 1.5
        return np.r_[low, positive, high], np.vstack([path.mixtures[0], path.mixtures[1:], path.mixtures[-1]])
    between = np.geomspace(low, high, SAMPLES)
    betas, mixtures = np.r_[positive, between], [*path.mixtures[path.betas > 0.0], *map(path.at, between.tolist())]
    order = np.argsort(betas, kind="stable")
    return betas[order], np.array(mixtures)[order]


def _stack(
    axes: Axes, betas: FloatArray, mixtures: FloatArray, largest: Any, names: Sequence[str]
) -> list[tuple[float, ...]]:
    """Draw the weights; returns the colours of the tasks that have one, then of all others together."""
    from matplotlib import colormaps

    palette = colormaps["tab20"]
    colours: list[tuple[float, ...]] = [palette((2 * i) % 20 + (2 * i) // 20) for i in range(len(largest))]
    parts, labels = list(mixtures[:, largest].T), [plot_label(names[i]) for i in largest]
    left = mixtures.shape[1] - len(largest)
    if left:
        parts.append(1.0 - mixtures[:, largest].sum(axis=1))
        labels.append(f"{left} others")
    colours.append((0.8, 0.8, 0.8, 1.0))
    axes.stackplot(betas, *parts, labels=labels, colors=colours)
    axes.set(ylim=(0.0, 1.0), ylabel="weight", title="Mixtures from diversity alone (left) to utility alone (right)")
    return colours


def _draw_chosen(axes: Axes, chosen: ArrayLike | None, largest: Any, colours: list[tuple[float, ...]]) -> None:
    if chosen is None:
        axes.axis("off")
        return
    p = np.asarray(chosen, dtype=np.float64)
    parts = [*p[largest], max(0.0, 1.0 - float(p[largest].sum()))]
    below = np.r_[0.0, np.cumsum(parts)[:-1]]
    axes.bar([0.0], parts, bottom=below, color=colours, width=1.0)
    axes.set(xlim=(-0.5, 0.5), ylim=(0.0, 1.0), xticks=[], yticks=[], title="chosen")


def _draw_counts(axes: Axes, path: Trail, betas: FloatArray, mixtures: FloatArray) -> None:
    """Effective tasks on the left axis, the share of the utility's range on the right one."""
    from taskpgm.exact_path import effective_tasks

    utilities, (least, most) = mixtures @ path.network.utility, (path.utilities[0], path.utilities[-1])
    gained = (utilities - least) / (most - least) if most > least else np.zeros(len(betas))
    (counts,) = axes.plot(betas, effective_tasks(mixtures), color="tab:blue", label="effective tasks")
    axes.set(xlabel="beta, the weight of the utility", ylabel="effective tasks", ylim=(0.0, None))
    right = axes.twinx()
    (shares,) = right.plot(betas, gained, color="tab:red", linestyle="-.", label="share of the utility")
    right.set(ylabel="share of the way to the most utility", ylim=(-0.02, 1.05))
    axes.legend(handles=[counts, shares], loc="center left")
