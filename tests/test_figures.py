"""Figures for papers: drawn for every mixture, in every format, whatever the tasks are called, without a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from told_mixtures import HOSTILE, told_mixture

from taskpgm.exact_path import trade_off
from taskpgm.figures import curves_figure, heat_figure, map_figure, mixture_figure, save_figures
from taskpgm.pictures import MISSING_GLYPH, plot_label
from taskpgm.plots import trade_off_figure
from taskpgm.portrait import Portrait
from taskpgm.types import InputError

STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
FIGURES = {
    "pairwise": ["mixture", "similarity", "map", "path"],
    "coverage": ["mixture", "similarity", "transfer", "curves", "map"],
}


@pytest.mark.parametrize(
    ("kind", "form"), [("pairwise", "png"), ("coverage", "png"), ("pairwise", "pdf"), ("coverage", "svg")]
)
def test_every_figure_is_written_in_every_format(tmp_path: Path, kind: Any, form: str) -> None:
    made = save_figures(Portrait(told_mixture(kind, 13 if form == "png" else 3)), tmp_path / "figures", form)
    assert [path.stem for path in made] == FIGURES[kind]
    for path in made:
        assert path.suffix == f".{form}"
        assert path.read_bytes().startswith(STARTS[form])


def test_another_format_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format 'gif': figures are written as png, svg, pdf"):
        save_figures(Portrait(told_mixture("pairwise", 3)), tmp_path, "gif")
    assert not list(tmp_path.iterdir())


def test_bars_are_the_weights_and_lines_their_intervals() -> None:
    portrait = Portrait(told_mixture("pairwise", 6))
    axes = mixture_figure(portrait).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(sorted(portrait.weights, reverse=True))
    assert portrait.interval is not None
    (lines,) = (each for each in axes.collections if isinstance(each, LineCollection) and len(each.get_segments()) == 6)
    drawn = np.array([segment[:, 0] for segment in lines.get_segments()])
    assert drawn == pytest.approx(portrait.interval[np.argsort(-portrait.weights)])


def test_a_heat_map_is_in_the_order_of_its_labels() -> None:
    portrait = Portrait(told_mixture("pairwise", 9, plain=True))
    alike = portrait.similarity
    assert alike is not None
    axes = heat_figure(portrait, *alike).axes[0]
    image = np.asarray(axes.images[0].get_array())
    places = [portrait.names.index(label.get_text()) for label in axes.get_yticklabels()]
    assert image == pytest.approx(alike[1][np.ix_(places, places)])


def test_names_on_the_map_do_not_overlap() -> None:
    figure = map_figure(Portrait(told_mixture("pairwise", 40)))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 10
    for i, one in enumerate(boxes):
        assert not any(one.shrunk(0.9, 0.9).overlaps(other.shrunk(0.9, 0.9)) for other in boxes[:i])


def test_learning_curves_are_for_a_coverage_energy() -> None:
    with pytest.raises(InputError, match="only a coverage energy"):
        curves_figure(Portrait(told_mixture("pairwise", 3)))


def test_labels_are_short_plain_and_never_mathematics() -> None:
    for name in HOSTILE:
        label = plot_label(name)
        assert len(label.replace("\\$", "$").strip()) <= 26
        assert "\n" not in label
        assert "$" not in label.replace("\\$", "")
    assert plot_label("a\x07b\ud83d") == f"a{MISSING_GLYPH}b{MISSING_GLYPH}"


def test_every_task_is_in_the_legend_of_a_path() -> None:
    mixture = told_mixture("pairwise", 13)
    portrait = Portrait(mixture)
    assert portrait.pairwise is not None
    figure = trade_off_figure(trade_off(portrait.pairwise))
    figure.draw_without_rendering()
    assert len(figure.legends[0].get_texts()) == 13
