"""Entropic mirror descent: weights are multiplied by exp(-step x slope) and scaled back to a sum of 1.

It takes what is smooth relative to the entropy (Lu, Freund & Nesterov 2018): with step 1 / L the energy never rises.
For a channel's capacity and step 1 this is the Blahut-Arimoto iteration (Blahut 1972; Arimoto 1972), whose slopes give
an upper and a lower bound at every step. Larger steps are tried as long as they help (Matz & Duhamel 2004).

The scaled weights are brought back to the feasible set by the projection in relative entropy: with bounds alone they
are clipped, at the scale at which they add up to 1; with constraints on several tasks it is a convex program, which is
translated once, and Newton steps finish what it leaves.

    solve(CapacityMixture(log_probs, lower=0.01), MirrorDescent())
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from taskpgm.capacity import CapacityMixture
from taskpgm.coverage import CoverageNetwork
from taskpgm.inference.constrained import settle
from taskpgm.inference.convex_program import ConvexProgram
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.judge import Problem, certificate
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray

Smooth: TypeAlias = CapacityMixture | CoverageNetwork
FINISH = 20  # steps between two attempts to finish under constraints
LEAST_LOG, LEAST_WEIGHT = -60.0, 1e-26


@dataclass(frozen=True)
class MirrorDescent(Method):
    """Stops at a certified `gap`, in nats; stats["steps"] counts the iterations."""

    gap: float = 1e-8
    steps: int = 20_000

    name: ClassVar[str] = "mirror-descent"
    domain: ClassVar[Domain] = "mixture"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        if isinstance(problem, CapacityMixture | CoverageNetwork):
            return None
        return "takes a CapacityMixture or a CoverageNetwork"

    def run(self, problem: Smooth, deadline: Deadline, seed: int) -> Answer:
        sure = 1.0 / problem.relative_smoothness if problem.relative_smoothness > 0.0 else 1.0
        project = _projection(problem)
        p = project(np.zeros(len(problem)))
        energy, step = problem.energy(p), sure
        for done in range(self.steps):
            slope = problem.gradient(p)
            ended = self._ended(problem, p, done, deadline)
            if ended is not None:
                return ended
            while True:
                with np.errstate(divide="ignore"):
                    q = project(np.log(p) - step * (slope - slope.min()))
                reached = problem.energy(q)
                if reached <= energy or step <= sure:
                    break
                step = max(sure, 0.25 * step)
            p, energy, step = q, reached, 1.5 * step
        return Answer(p, finished=False, message=f"stopped after {self.steps} steps", stats={"steps": self.steps})

    def _ended(self, problem: Smooth, p: FloatArray, done: int, deadline: Deadline) -> Answer | None:
        """The answer, if the mixture is good enough or time is up."""
        if not problem.only_bounds:
            if done % FINISH != 0 and not deadline.passed():
                return None
            p = settle(problem, p)
        proof = certificate(problem, p)
        if done % 100 == 0:
            deadline.note(p, proof.bound)
        if proof.gap <= self.gap:
            return Answer(p, stats={"steps": done})
        return Answer(p, finished=False, stats={"steps": done}) if deadline.passed() else None


def _projection(problem: Smooth) -> Callable[[FloatArray], FloatArray]:
    """From logarithms of weights to the feasible mixture nearest to them in relative entropy."""
    if problem.only_bounds:
        return lambda logs: kl_projection(logs, problem)
    n = len(problem)
    plain = TaskNetwork(np.zeros(n), np.zeros((n, n)), problem.names, beta=0.0, lam=0.0, tau=1.0)
    nearest = plain.changed(feasible=problem.feasible)
    program = ConvexProgram(nearest)

    def project(logs: FloatArray) -> FloatArray:
        weights = np.exp(np.maximum(logs - logs.max(), LEAST_LOG))
        point, verdict = program.solve(nearest.changed(prior=weights / weights.sum()), "CLARABEL")
        if point is None:
            raise RuntimeError(f"CLARABEL does not find the projection: {verdict}")
        return np.asarray(np.clip(point, np.maximum(problem.lower, LEAST_WEIGHT), problem.upper))

    return project


def kl_projection(logs: FloatArray, problem: Smooth) -> FloatArray:
    """(n,) the feasible mixture nearest in relative entropy to weights in proportion to exp(logs): clip(c exp(logs)).

    The sum of the clipped weights grows with log c, so that c is found by bisection.
    """
    lower, upper = problem.lower, problem.upper
    with np.errstate(divide="ignore"):
        ends = np.concatenate([np.log(lower) - logs, np.log(upper) - logs])
    ends = ends[np.isfinite(ends)]
    low = min(float(ends.min()), -float(logs[np.isfinite(logs)].max())) - np.log(len(logs)) - 1.0
    high = float(ends.max()) + 1.0

    def at(scale: float) -> FloatArray:
        return np.asarray(np.clip(np.exp(logs + scale), lower, upper))

    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if at(middle).sum() < 1.0:
            low = middle
        else:
            high = middle
    p = at(high)
    room = p - lower if p.sum() > 1.0 else upper - p
    total = float(room.sum())
    return np.asarray(np.clip(p - (p.sum() - 1.0) * room / total, lower, upper)) if total > 0.0 else p
