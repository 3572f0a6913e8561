"""The page's pictures for papers: PNG, SVG or PDF files drawn by matplotlib.

save_figures(Portrait(mixture), Path("figures"), "pdf")     # mixture.pdf, similarity.pdf, map.pdf, path.pdf ...
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taskpgm.arrangement import strongest_pairs
from taskpgm.pictures import SUFFIXES, plot_label, save_figure
from taskpgm.plots import trade_off_figure
from taskpgm.portrait import Portrait
from taskpgm.report_charts import curves, edges_each
from taskpgm.types import FloatArray, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = tuple(suffix[1:] for suffix in SUFFIXES)
MOST_BARS = 40
MOST_CURVES = 12
MOST_LABELLED = 60
SIDES = (
    ((1, 0), "left", "center"),
    ((-1, 0), "right", "center"),
    ((0, 1), "center", "bottom"),
    ((0, -1), "center", "top"),
)
BLUE, ORANGE = "#3b7dc4", "#b3470b"


def save_figures(portrait: Portrait, folder: Path, form: str = "png") -> list[Path]:
    """Draw every figure that the mixture has data for into a folder, and say where.

    Raises:
        InputError: another format.
    """
    check_format(form)
    made = []
    for name, figure in figures(portrait):
        made.append(folder / f"{name}.{form}")
        save_figure(figure, made[-1])
    return made


def check_format(form: str) -> None:
    """Raise an InputError, before any work is done, for a format that no figure is written in."""
    if form not in FORMATS:
        raise InputError(f"format {form!r}: figures are written as {', '.join(FORMATS)}.")


def figures(portrait: Portrait) -> list[tuple[str, Figure]]:
    """(name, figure) of each; the trade-off of a pairwise energy, the learning curves of a coverage energy."""
    found = [("mixture", mixture_figure(portrait))]
    if portrait.similarity is not None:
        found.append(("similarity", heat_figure(portrait, *portrait.similarity)))
    if portrait.coverage is not None:
        found.append(("transfer", heat_figure(portrait, "transfer, from row to column", portrait.coverage.transfer)))
        found.append(("curves", curves_figure(portrait)))
    found.append(("map", map_figure(portrait)))
    path, network = portrait.path, portrait.pairwise
    if network is not None and not isinstance(path, str):
        found.append(("path", trade_off_figure(path, portrait.weights, network.beta)))
    return found


def mixture_figure(portrait: Portrait) -> Figure:
    """Weights with their intervals, largest first, against uniform and size-proportional ones."""
    order = np.argsort(-portrait.weights, kind="stable")[:MOST_BARS]
    figure, axes = _figure(6.4, 1.3 + 0.22 * len(order))
    places = np.arange(len(order))
    axes.barh(places, portrait.weights[order], height=0.7, color=BLUE, label="weight")
    if portrait.interval is not None:
        ends = portrait.interval[order]
        errors = np.abs(ends - portrait.weights[order][:, None]).T
        error = {"fmt": "none", "color": "black", "elinewidth": 1.0, "capsize": 2.0, "label": "95 %"}
        axes.errorbar(portrait.weights[order], places, xerr=errors, **error)
    even = 1.0 / len(portrait.names)
    axes.axvline(even, color=ORANGE, linestyle="--", linewidth=1.2, label="uniform")
    if portrait.by_size is not None:
        marks = {"facecolors": "white", "edgecolors": "black", "s": 18, "zorder": 3, "label": "by size"}
        axes.scatter(portrait.by_size[order], places, **marks)
    axes.set_yticks(places, [plot_label(portrait.names[i]) for i in order], fontsize="small")
    axes.set(ylim=(len(order) - 0.4, -0.6), xlim=(0.0, None), xlabel="share of the budget")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    left = len(portrait.names) - len(order)
    axes.set_title(
        f"The {len(order)} largest weights of {len(portrait.names)}" if left else "Mixture", fontsize="medium"
    )
    figure.legend(loc="outside lower center", ncols=4, fontsize="small", frameon=False)
    return figure


def heat_figure(portrait: Portrait, title: str, values: FloatArray) -> Figure:
    """A matrix of tasks in the order that puts like ones side by side; its diagonal does not set the colours."""
    order, n = portrait.order, len(portrait.names)
    size = min(9.0, 2.6 + 0.2 * n)
    figure, axes = _figure(size + 0.9, size)
    others = values[~np.eye(n, dtype=bool)]
    image = axes.imshow(values[np.ix_(order, order)], cmap="Blues", vmin=others.min(), vmax=others.max())
    if n <= MOST_LABELLED:
        labels = [plot_label(portrait.names[i]) for i in order]
        small = {"fontsize": "small" if n <= 30 else "xx-small"}
        axes.set_xticks(range(n), labels, rotation=90, **small)
        axes.set_yticks(range(n), labels, **small)
    else:
        axes.set(xticks=[], yticks=[])
    axes.set_title(plot_label(title, 60), fontsize="medium")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def map_figure(portrait: Portrait) -> Figure:
    """Tasks on a map: distance means difference, area means weight, lines are the strongest couplings."""
    figure, axes = _figure(7.0, 5.6)
    points, (kind, coupling) = portrait.task_map.points, portrait.couplings
    strong = np.maximum(coupling, coupling.T)
    pairs = strongest_pairs(coupling, edges_each(portrait))
    most = max((float(strong[i, j]) for i, j in pairs), default=1.0)
    thick = 2.0 * min(1.0, (20.0 / len(portrait.names)) ** 0.5)
    for i, j in pairs:
        part = float(strong[i, j]) / most
        axes.plot(*points[[i, j]].T, color="0.5", alpha=0.2 + 0.5 * part, linewidth=0.5 + thick * part, zorder=1)
    areas = 15.0 + 900.0 * portrait.weights
    axes.scatter(*points.T, s=areas, color=BLUE, edgecolors="white", linewidths=0.8, zorder=2)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.margins(0.14)
    axes.set_title(
        f"Distance: {portrait.distances[0]} ({portrait.task_map.share:.0%} shown). Lines: {kind}", fontsize="small"
    )
    _name_points(figure, axes, portrait, areas)
    return figure


def curves_figure(portrait: Portrait) -> Figure:
    """Forecast losses of the tasks with the largest weights while the run goes on, with their spread."""
    told = curves(portrait)
    if told is None:
        raise InputError("no learning curves: only a coverage energy has them.")
    order = np.argsort(-portrait.weights, kind="stable")[:MOST_CURVES]
    columns = min(4, len(order))
    rows = -(-len(order) // columns)
    figure, panels = _figure(2.2 * columns, 1.0 + 1.7 * rows, rows, columns)
    budgets = np.array(told["budgets"])
    for axes, i in zip(panels.flat, order, strict=False):
        low, high = np.array(told["interval"][i]).T
        axes.fill_between(budgets, low, high, color=BLUE, alpha=0.2, linewidth=0.0, label="95 %")
        axes.plot(budgets, told["uniform"][i], color=ORANGE, linestyle="--", linewidth=1.0, label="uniform")
        axes.plot(budgets, told["loss"][i], color=BLUE, label="this mixture")
        axes.plot([told["budget"]], [told["final"][i]], marker="o", markersize=4, color=BLUE, label="end of the budget")
        axes.set(ylim=(0.0, None), xlim=(0.0, budgets[-1]), xticks=[0.0, told["budget"]])
        axes.set_xticklabels(["0", f"{told['budget']:,.0f}"], fontsize="x-small")
        axes.tick_params(axis="y", labelsize="x-small")
        axes.set_title(plot_label(portrait.names[i], 20), fontsize="small")
    for axes in list(panels.flat)[len(order) :]:
        axes.axis("off")
    figure.supxlabel(told["unit"], fontsize="small")
    figure.supylabel("nats per target token", fontsize="small")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize="small", frameon=False)
    return figure


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of so many inches, and its axes: one, or (rows, columns) of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=rows * columns == 1)


def _name_points(figure: Figure, axes: Axes, portrait: Portrait, areas: FloatArray) -> None:
    """Names of the largest tasks first, each where it covers no other name and no task, or not at all."""
    from matplotlib.patheffects import withStroke

    figure.draw_without_rendering()
    axes.set_autoscale_on(False)
    points, frame = portrait.task_map.points, axes.bbox
    halo = [withStroke(linewidth=2.0, foreground="white")]  # over the lines
    pixel = figure.dpi / 72.0
    centres, radii = axes.transData.transform(points), np.sqrt(areas / np.pi) * pixel
    taken = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(centres, radii, strict=True)]
    for i in np.argsort(-portrait.weights, kind="stable"):
        for (dx, dy), across, up in SIDES:
            away = radii[i] / pixel + 2.0
            style: dict[str, Any] = {
                "ha": across,
                "va": up,
                "fontsize": "small",
                "textcoords": "offset points",
                "path_effects": halo,
            }
            text = axes.annotate(plot_label(portrait.names[i], 18), points[i], (away * dx, away * dy), **style)
            box = text.get_window_extent()
            inside = box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1
            if inside and all(box.x1 < x0 or box.x0 > x1 or box.y1 < y0 or box.y0 > y1 for x0, y0, x1, y1 in taken):
                taken.append((box.x0, box.y0, box.x1, box.y1))
                break
            text.remove()
