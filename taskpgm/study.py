"""What a stored study of the embedded suites found: how much mixtures change the held-out loss against uniform.

    row = studied("easy-redundant", "pairwise-careful", steps=125)
    row["mean"], row["interval"]        # nats per target token; 95 %, for this comparison alone

The record, its plan and the command that regenerates it are in benchmarks/results/mixtures.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

STUDY_FILE = "study.json"
STUDIED_STEPS = 125  # the shorter of its two budgets
DEFAULT_MIXTURE = "coverage-families"
"""The name under which the study has the mixture that a run makes where nothing else is asked for."""


def studied(suite: str, mixture: str, steps: int) -> dict[str, Any] | None:
    """The study's row for a mixture on a suite, or None where it has none."""
    rows = json.loads((resources.files("taskpgm") / STUDY_FILE).read_text(encoding="utf-8"))
    wanted = (suite, mixture, steps)
    return next((row for row in rows if (row["suite"], row["mixture"], row["steps"]) == wanted), None)


def study_line(suite: str, steps: int) -> str | None:
    """One sentence on what the default mixture did on a suite, for those who have just seen one made."""
    row = studied(suite, DEFAULT_MIXTURE, steps)
    if row is None or row["interval"] is None:
        return None
    low, high = row["interval"]
    return (
        f"Study: over {row['seeds']} seeds of this suite, runs of {steps} steps with such mixtures ended with a mean"
        f" loss {row['mean']:+.3f} nats from that with uniform ones (95 % {low:+.3f} to {high:+.3f}). One seed, like"
        " this one, proves nothing: see taskpgm evaluate --suite."
    )
