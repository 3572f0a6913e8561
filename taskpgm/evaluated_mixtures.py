"""The mixtures that an evaluation trains on, by name.

mixtures_of(("uniform", "sqrt"), tasks)     # {"uniform": {"copy": 0.5, ...}, "sqrt": {...}}
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskpgm.mixture import Mixture
from taskpgm.tokens import TokenTask
from taskpgm.types import InputError

OURS = "ours"
POWERS = {"uniform": 0.0, "proportional": 1.0, "sqrt": 0.5}  # of the number of training examples


def mixtures_of(
    wanted: Sequence[str], tasks: Sequence[TokenTask], ours: Mixture | None = None
) -> dict[str, dict[str, float]]:
    """By name, each mixture's shares of the examples.

    Args:
        wanted: "uniform", "proportional" to the number of training examples, "sqrt" of it, or "ours".
        tasks: in the base's tokens.
        ours: what "ours" is; its weights are converted from their unit.

    Raises:
        InputError: a name that is not known, or "ours" without a mixture.
    """
    sizes = np.array([len(task.train) for task in tasks], dtype=np.float64)
    names = [task.name for task in tasks]
    found: dict[str, dict[str, float]] = {}
    for name in wanted:
        check_known(name)
        if name in POWERS:
            shares = sizes ** POWERS[name] / (sizes ** POWERS[name]).sum()
            found[name] = dict(zip(names, map(float, shares), strict=True))
        elif ours is None:
            raise InputError(f"mixture {OURS!r}: none was computed; leave it out or compute it first.")
        else:
            found[name] = ours.shares("examples")
    return found


def check_known(name: str) -> None:
    """Refuse a name that no mixture has."""
    known = (*POWERS, OURS)
    if name not in known:
        raise InputError(f"evaluation.mixtures: {name!r} is not known; the mixtures are {', '.join(known)}.")
