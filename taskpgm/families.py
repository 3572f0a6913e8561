"""Equal weight for each family of tasks: what to care about where some tasks are variants of one another.

family_weights(("copy", "echo", "sort"), ("copying", "copying", ""))       # (0.25, 0.25, 0.5)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from taskpgm.types import FloatArray, readonly


def owned_families(names: Sequence[str], families: Sequence[str]) -> list[str]:
    """Each task's family; a task without one is a family of its own."""
    return [family or name for family, name in zip(families, names, strict=True)]


def family_weights(names: Sequence[str], families: Sequence[str]) -> FloatArray:
    """(n,) weights that add up to 1, the same for each family, shared equally by its tasks."""
    owned = owned_families(names, families)
    counts = Counter(owned)
    return readonly([1.0 / (len(counts) * counts[family]) for family in owned], np.float64)
