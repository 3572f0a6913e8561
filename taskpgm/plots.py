"""Pictures of a comparison: how energy and bound came about, who proves how much how fast, and who agrees with whom.

comparison_figure(rows).savefig("compare.png")
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taskpgm.comparison import Row
from taskpgm.judge import ENERGY_TOLERANCE
from taskpgm.types import FloatArray, InputError, Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
LEAST_GAP = 1e-9  # what is proved is drawn here on logarithmic axes
NO_ANSWER = (Status.refused, Status.failed)


def save_comparison(rows: Sequence[Row], path: Path) -> None:
    """Draw a comparison into a PNG, SVG or PDF file.

    Raises:
        InputError: another ending of the file's name, or no method gave an answer.
    """
    from taskpgm.storage import write_atomic

    check_ending(path)
    buffer = io.BytesIO()
    comparison_figure(rows).savefig(buffer, format=path.suffix.lower()[1:], dpi=150)
    write_atomic(path, buffer.getvalue())


def check_ending(path: Path) -> None:
    """Raise an InputError, before any work is done, if the file's name does not say PNG, SVG or PDF."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: plots are written as {', '.join(SUFFIXES)}.")


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
