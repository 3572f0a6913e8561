"""The cost of one stage of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One stage: real tokens read or trained on, operations, seconds, peak bytes of memory, bytes left on disk.

    on_device: whether it runs on the device; divergences are computed on the processor.
    """

    name: str
    tokens: float
    flops: float
    seconds: float
    memory: float
    disk: float
    on_device: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "stage": self.name,
            "tokens": round(self.tokens),
            "flops": self.flops,
            "hours": self.seconds / 3600.0,
            "memory_bytes": round(self.memory),
            "disk_bytes": round(self.disk),
        }


def joined(one: Stage, other: Stage) -> Stage:
    """Two parts of one stage, one after the other."""
    return Stage(
        one.name,
        one.tokens + other.tokens,
        one.flops + other.flops,
        one.seconds + other.seconds,
        max(one.memory, other.memory),
        one.disk + other.disk,
    )
