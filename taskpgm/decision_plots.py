"""A picture of a run's decisions: weights, and losses with what was expected of them.

save_decisions(read_decisions("runs/a/mixtures"), Path("decisions.png"))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from taskpgm.decisions import Decision
from taskpgm.pictures import check_ending, plot_label, save_figure
from taskpgm.plots import SHOWN
from taskpgm.types import FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Colour = tuple[float, float, float, float]


def save_decisions(decisions: Sequence[Decision], path: Path) -> None:
    """Draw a run's decisions into a PNG, SVG or PDF file; see `decisions_figure`.

    Raises:
        InputError: another ending of the file's name.
    """
    check_ending(path)
    save_figure(decisions_figure(decisions), path)


def decisions_figure(decisions: Sequence[Decision]) -> Figure:
    """Three panels over the steps of the run, and a colour for each task.

    Above the weights, stacked, each decision in force until the next (hatched where it is as near to the prior as is
    allowed). Below on the left the training losses as they were known, and dotted what each decision expected at the
    end; on the right the mean loss expected at the end, with the spread of what is believed.
    """
    from matplotlib.figure import Figure

    names = decisions[0].mixture.network.names
    weights = _table(decisions, names, "weights")
    largest = np.argsort(-weights.max(axis=0), kind="stable")[:SHOWN]
    colours = _colours(len(largest))
    figure = Figure(figsize=(13.0, 9.0), layout="constrained")
    panels: dict[str, Axes] = figure.subplot_mosaic([["weights", "weights"], ["losses", "mean"]], height_ratios=(3, 3))
    _draw_weights(panels["weights"], decisions, weights, largest, colours)
    _draw_losses(panels["losses"], decisions, names, largest, colours)
    _draw_mean(panels["mean"], decisions)
    handles, labels = panels["weights"].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper", fontsize="small")
    for axes in panels.values():
        axes.set(xlim=(0, decisions[0].steps), xlabel="step")
    return figure


def _draw_weights(
    axes: Axes, decisions: Sequence[Decision], weights: FloatArray, largest: IntArray, colours: list[Colour]
) -> None:
    names = decisions[0].mixture.network.names
    edges = np.array([*(each.step for each in decisions), decisions[0].steps], dtype=float)
    parts, labels = list(weights[:, largest].T), [plot_label(names[i]) for i in largest]
    left = len(names) - len(largest)
    if left:
        parts.append(np.maximum(1.0 - np.sum(parts, axis=0), 0.0))
        labels.append(f"{left} others")
    below = np.zeros(len(decisions))
    for part, label, colour in zip(parts, labels, [*colours, (0.8, 0.8, 0.8, 1.0)], strict=False):
        axes.stairs(below + part, edges, baseline=below, fill=True, color=colour, label=label)
        below = below + part
    for decision, end in zip(decisions, edges[1:], strict=True):
        axes.axvline(decision.step, color="white", linewidth=0.8)
        if not decision.followed:
            axes.axvspan(decision.step, end, facecolor="none", edgecolor="black", hatch="//", alpha=0.4, linewidth=0.0)
    axes.set(ylim=(0.0, 1.0), ylabel="share of the examples")
    axes.set_title("What each decision shares out (blank: the start; hatched: back to the prior)")


def _draw_losses(
    axes: Axes, decisions: Sequence[Decision], names: Sequence[str], largest: IntArray, colours: list[Colour]
) -> None:
    steps = [each.step for each in decisions]
    latest, expected = _table(decisions, names, "latest"), _table(decisions, names, "expected")
    for place, colour in zip(largest, colours, strict=True):
        axes.plot(steps, latest[:, place], color=colour, marker=".")
        axes.plot(steps, expected[:, place], color=colour, linestyle=":")
    axes.set(ylabel="nats per target token", ylim=(0.0, None))
    axes.set_title("Training losses; dotted: expected at the end")


def _draw_mean(axes: Axes, decisions: Sequence[Decision]) -> None:
    steps, means = [each.step for each in decisions], np.array([each.mean for each in decisions])
    wide = np.array([each.mean_spread for each in decisions])
    axes.fill_between(steps, means - 2.0 * wide, means + 2.0 * wide, color="tab:blue", alpha=0.2, linewidth=0.0)
    axes.plot(steps, means, color="tab:blue", marker=".")
    axes.set(ylabel="nats per target token")
    axes.set_title("Mean loss expected at the end, +- two deviations")


def _table(decisions: Sequence[Decision], names: Sequence[str], key: str) -> FloatArray:
    """(decisions, n) one of the numbers that a decision has for every task."""
    return np.array([[each.as_dict()[key][name] for name in names] for each in decisions], dtype=np.float64)


def _colours(count: int) -> list[Colour]:
    from matplotlib import colormaps

    palette = colormaps["tab20"]
    return [palette((2 * i) % 20 + (2 * i) // 20) for i in range(count)]
