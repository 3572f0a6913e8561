"""What all pictures share: files by their ending, and names of tasks as labels, whatever is in them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from taskpgm.types import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
LONGEST = 40  # characters of a label


def check_ending(path: Path) -> None:
    """Raise an InputError, before any work is done, if the file's name does not say PNG, SVG or PDF."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: plots are written as {', '.join(SUFFIXES)}.")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure by its file's ending, whole or not at all."""
    from taskpgm.storage import write_atomic

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box is drawn in its place
        figure.savefig(buffer, format=path.suffix.lower()[1:], dpi=150)
    write_atomic(path, buffer.getvalue())


def shown_name(name: str) -> str:
    """A task's name as a label: one line, nothing taken for a formula, hidden for its first letter, or endless."""
    whole = name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # no half characters
    line = " ".join(whole.split())
    line = line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
    return f" {line}".replace("$", r"\$")
