"""Which shares were in force at a step of a run that decides on its own mixture, and whether a run was made by them.

shares_after(120, start, decisions, lead=2)     # those of the last decision that had come into force
check_replay(windows, start, decisions, every=4, lead=2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from taskpgm.decisions import Decision
from taskpgm.mixture_ledger import Window
from taskpgm.types import InputError

TOLERANCE = 1e-6
"""By how much shares may differ that another make of machine decided on."""


def shares_after(
    step: int, start: Mapping[str, float], decisions: Sequence[Decision], lead: int
) -> Mapping[str, float]:
    """The shares of the examples by which a step's successor was drawn.

    Args:
        start: shares until the first decision. decisions: in their order.
        lead: steps after a decision that are drawn by the shares before it.
    """
    return [start, *(each.mixture.weights for each in decisions if each.step + lead <= step)][-1]


def check_replay(
    windows: Sequence[Window], start: Mapping[str, float], decisions: Sequence[Decision], *, every: int, lead: int
) -> None:
    """Hold what a run did against what it would have decided by the settings that it has now.

    Args:
        windows: of the run so far. decisions: what the present settings make of them. every: steps in a window.

    Raises:
        InputError: a run that was begun with other settings.
    """
    for place, window in enumerate(windows, 1):
        wanted = shares_after(window.last_step, start, decisions, lead)
        apart = np.abs(np.array(window.shares) - [wanted[name] for name in window.names]).max()
        if window.last_step != place * every or apart > TOLERANCE:
            raise InputError(
                f"up to step {window.last_step} the run drew by other shares than it would now: it was begun with other"
                " settings or another number of steps. Go on with those of its beginning, or begin anew."
            )
