"""Where a run's models are trained and read: in this process, or on a cluster.

A new kind of place is one file with an `Executor`, and one line in `taskpgm.commands.places`.
"""

from __future__ import annotations

from taskpgm.executors.executor import Executor, Item, Job, Source
from taskpgm.executors.local import LOCAL, LocalExecutor

__all__ = ["LOCAL", "Executor", "Item", "Job", "LocalExecutor", "Source"]
