"""Templates such as "Q: {prompt}\\nA:": texts with places for other texts, and nothing that computes.

    filled("Q: {prompt}\\nA:", {"prompt": "1 + 1"})

Only names may stand in braces. Python's own format strings also reach into objects ({prompt.__class__}), index them,
and pad to any width ({prompt:>9999999999}); all of that is refused. Braces themselves are written twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

from taskpgm.limits import shown


def filled(template: str, texts: Mapping[str, str]) -> str:
    """The template with every name in braces replaced by its text.

    Raises:
        ValueError: a brace without its other, or more than a name in braces. KeyError: a name that has no text.
    """
    parts = []
    for literal, name, layout, conversion in Formatter().parse(template):
        if name is not None and (layout or conversion or not name.isidentifier()):
            raise ValueError(f"only names may stand in braces, as in {{prompt}}, found {shown(name)}")
        parts += [literal, "" if name is None else texts[name]]
    return "".join(parts)
