"""A cluster as a process that hands out and takes back, one item at a time, and machines that work: an event a step.

    efficiency([2.0] * 1000, 64, Costs(0.004, 0.002), sent=0.1, made=0.4)       # megabytes; 1: no second is lost

The process that asks for items is the only one that writes, so what it does for an item no other machine can take over:
sending it, hearing of its end, checking and writing its bytes. Machines wait for nothing else.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

ROOM = 2  # items a machine that may be waiting or under way, as the executor has it


@dataclass(frozen=True)
class Costs:
    """Seconds of the process that asks: for each item, and for each megabyte that is sent, and that comes back."""

    item: float
    sent: float
    made: float

    def of(self, sent: float, made: float) -> float:
        return self.item + self.sent * sent + self.made * made


def makespan(seconds: Sequence[float], machines: int, costs: Costs, sent: float, made: float) -> float:
    """Seconds until the last item is written, of items that take these seconds on a machine."""
    clock, free, ends = 0.0, [0.0] * machines, list[float]()
    send, receive = 0.5 * costs.item + costs.sent * sent, 0.5 * costs.item + costs.made * made
    for duration in seconds:
        clock += send
        end = max(clock, heapq.heappop(free)) + duration
        heapq.heappush(free, end)
        heapq.heappush(ends, end)
        while len(ends) >= ROOM * machines:
            clock = max(clock, heapq.heappop(ends)) + receive
    while ends:
        clock = max(clock, heapq.heappop(ends)) + receive
    return clock


def efficiency(seconds: Sequence[float], machines: int, costs: Costs, sent: float, made: float) -> float:
    """The share of the machines' time that is work."""
    return sum(seconds) / machines / makespan(seconds, machines, costs, sent, made)


def least_seconds(machines: int, costs: Costs, sent: float, made: float) -> float:
    """How long items must take so that so many machines can be kept busy: the break-even line."""
    return machines * costs.of(sent, made)
