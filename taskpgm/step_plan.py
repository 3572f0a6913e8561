"""Which of the draws one process trains on in one micro-batch, and how far ahead a loader may have drawn.

plan = StepPlan(batch=8, accumulation=2, world_size=4, rank=1, prefetched=4)
plan.examples                       # 64 draws a step, of all processes together
plan.own(0)                         # slice(8, 16): this process's part of the step's first micro-batch
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepPlan:
    """How a step of the optimiser is made of micro-batches.

    batch: examples of one process in one micro-batch. accumulation: micro-batches in a step. prefetched: micro-batches
    that worker processes load ahead.
    """

    batch: int
    accumulation: int
    world_size: int = 1
    rank: int = 0
    prefetched: int = 0

    @property
    def examples(self) -> int:
        """Draws in a step, of all processes together."""
        return self.batch * self.accumulation * self.world_size

    @property
    def lead(self) -> int:
        """Whole steps beyond a finished one that may be drawn already: a change can begin after these.

        One micro-batch is always fetched ahead, to know whether it is the last, and one more where a main process
        hands batches out.
        """
        return -(-(self.prefetched + 2) // self.accumulation)

    def own(self, micro_batch: int) -> slice:
        """The places among a step's draws that this process trains on in its micro-batch (from 0)."""
        start = (micro_batch * self.world_size + self.rank) * self.batch
        return slice(start, start + self.batch)

    def epoch(self, wanted: int) -> int:
        """So many examples in whole steps, at least one: every step then has the same number of draws."""
        return max(1, wanted // self.examples) * self.examples
