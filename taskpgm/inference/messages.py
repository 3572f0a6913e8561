"""What message-passing methods share: the arrays of a network, its messages, and the best point decoded so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from taskpgm.inference.decoding import within_budget
from taskpgm.inference.icm import NO_START, Descent, starts
from taskpgm.inference.method import Deadline
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray


@dataclass(eq=False)
class MessageState:
    """A network laid out for the kernels, with messages of 0 to begin with; see `message_kernels`."""

    network: PairwiseNetwork
    unary: FloatArray
    tables: FloatArray
    edges: IntArray
    states: IntArray
    messages: FloatArray
    start: IntArray
    edge: IntArray
    side: IntArray

    @classmethod
    def of(cls, network: PairwiseNetwork) -> MessageState:
        from taskpgm.inference.message_kernels import incidence

        padded = network.padded
        messages = np.zeros((len(padded.edges), 2, padded.unary.shape[1]))
        start, edge, side = incidence(padded.edges, len(network))
        return cls(network, padded.unary, padded.tables, padded.edges, padded.states, messages, start, edge, side)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """What the kernels of TRW-S and MPLP take."""
        network = (self.unary, self.tables, self.edges, self.states)
        return (*network, self.messages, self.start, self.edge, self.side)

    def decoded(self) -> IntArray:
        from taskpgm.inference.message_kernels import decode

        return np.asarray(
            decode(self.unary, self.tables, self.states, self.messages, self.edges, self.start, self.edge, self.side)
        )

    def node_energies(self, weights: FloatArray | None = None) -> list[FloatArray]:
        """For each node its energies and all (weighted) messages that come in."""
        from taskpgm.inference.message_kernels import gathered

        w = np.ones(len(self.edges)) if weights is None else weights
        return [
            gathered(self.unary, self.messages, w, self.start, self.edge, self.side, i, -1)[: self.states[i]]
            for i in range(len(self.states))
        ]


@dataclass(eq=False)
class Incumbent:
    """The best feasible point so far, and the best lower bound; both are noted for the anytime trace."""

    network: PairwiseNetwork
    deadline: Deadline
    point: IntArray | None = None
    energy: float = np.inf
    bound: float = -np.inf
    seen: set[bytes] = field(default_factory=set)

    def offer(self, states: IntArray) -> None:
        """Consider a point, brought within the budget."""
        if states.tobytes() in self.seen:
            return
        self.seen.add(states.tobytes())
        point = within_budget(self.network, states)
        if point is not None and (energy := self.network.energy(point)) < self.energy:
            self.point, self.energy = point, energy
            self.deadline.note(point, self.bound if np.isfinite(self.bound) else None)

    def finish(self) -> str:
        """Go downhill from the best point (see `icm`), which no decoding guarantees; says why where there is none."""
        start = self.point if self.point is not None else next(starts(self.network, 0, 0), None)
        if start is None:
            return NO_START
        states, _, _ = Descent(self.network, self.deadline).run(start)
        if (energy := self.network.energy(states)) < self.energy:
            self.point, self.energy = states, energy
            self.deadline.note(states)
        return ""

    def raise_bound(self, bound: float) -> None:
        if bound > self.bound:
            self.bound = bound
            self.deadline.note(self.point, bound)

    def proved(self) -> bool:
        return self.energy - self.bound <= 1e-9 * max(1.0, abs(self.energy))
