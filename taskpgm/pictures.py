"""What all pictures share: files by their ending, and names of tasks as labels, whatever is in them."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from taskpgm.types import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
LABEL = 26  # letters of a name that a picture has room for
MISSING_GLYPH = "\u25a1"


def check_ending(path: Path) -> None:
    """Raise an InputError, before any work is done, if the file's name does not say PNG, SVG or PDF."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: plots are written as {', '.join(SUFFIXES)}.")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure by its file's ending, whole or not at all."""
    from taskpgm.storage import write_atomic

    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower()[1:], dpi=150)
    write_atomic(path, buffer.getvalue())


def plot_label(name: str, most: int = LABEL) -> str:
    """A name as a picture can show it: one line, not long, no mathematics, a box for what the font does not have."""
    letters = (
        "".join(letter if _has_glyph(letter) else MISSING_GLYPH for letter in " ".join(name.split())) or MISSING_GLYPH
    )
    short = letters if len(letters) <= most else letters[: most - 1] + "\u2026"
    return (" " if short.startswith("_") else "") + short.replace("$", r"\$")  # matplotlib leaves _x out of legends


@cache
def _has_glyph(letter: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return bool(get_font(findfont(FontProperties())).get_char_index(ord(letter)))
