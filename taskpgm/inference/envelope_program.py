"""The convex envelopes of expected losses as a program in cvxpy, and a descent from its answer and from others.

The greatest convex function below each task's term, at points of a grid, is a maximum of lines; with them in the terms'
place the problem is a linear program, and with divergences among the constraints a conic one. Its mixture is where the
energy would be least if it were convex. From there and from other starts the same program is solved again within a box
around the mixture at hand, which shrinks when nothing better is in it: in small boxes terms are as good as convex, so
the descent ends where no small change helps. All constraints are taken; only the judge's bound says how good an end is.

    solution = solve(separable_network, EnvelopeProgram(starts=8))
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from taskpgm.envelopes import lower_hull
from taskpgm.expected_energy import ExpectedEnergy
from taskpgm.inference.convex_program import ConvexProgram
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.inference.program_parts import CONSTRAINTS, PRIOR, Part, Written
from taskpgm.judge import FEASIBILITY_TOLERANCE, Problem
from taskpgm.separable import SeparableNetwork
from taskpgm.transfer_bound import reachable
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray

LINES = 24
RADIUS, LEAST_RADIUS, SHRINK = 0.25, 1e-7, 4.0
LEAST_SAVING = 1e-12


@dataclass(frozen=True, eq=False)
class Box:
    """A network of expected losses within bounds closer than its own: what a program of envelopes is written for."""

    network: ExpectedEnergy
    lower: FloatArray
    upper: FloatArray
    tilt: FloatArray

    def __len__(self) -> int:
        return len(self.network)

    @property
    def halfspaces(self) -> Any:
        return self.network.halfspaces

    @property
    def balls(self) -> Any:
        return self.network.balls

    @property
    def graph(self) -> FloatArray:
        """(n, n) what counts as whose own."""
        return self.network.transfer if isinstance(self.network, TransferNetwork) else np.eye(len(self))

    @property
    def tau(self) -> float:
        """Of the prior's term where it is none of the tasks' own."""
        return self.network.tau if isinstance(self.network, TransferNetwork) else 0.0

    @property
    def prior(self) -> FloatArray:
        """(n,)."""
        return self.network.prior

    def terms(self, points: FloatArray) -> FloatArray:
        """(m, n) what each task adds to the energy at (m, n) shares of its own."""
        return (
            self.network.terms(points)
            if isinstance(self.network, SeparableNetwork)
            else self.network.loss_terms(points)
        )

    def ends(self) -> tuple[FloatArray, FloatArray]:
        """(n,) the least and the largest share of its own for each task."""
        if isinstance(self.network, TransferNetwork):
            return reachable(self.network, self.lower, self.upper)
        return self.lower, self.upper

    def lines(self) -> tuple[FloatArray, FloatArray]:
        """(n, LINES) slopes and heights at 0 of lines whose maximum is the envelope of a task's term at the grid."""
        low, high = self.ends()
        shares = np.linspace(0.0, 1.0, LINES + 1)[None, :] ** 1.5
        points = low[:, None] + (high - low)[:, None] * shares
        slopes, heights = np.zeros((len(self), LINES)), np.zeros((len(self), LINES))
        for j, (x, y) in enumerate(zip(points, self.terms(points.T).T, strict=True)):
            corners, values = lower_hull(x, y)
            rates = np.diff(values) / np.diff(corners) if len(corners) > 1 else np.zeros(1)
            count = len(rates)
            slopes[j, :count], heights[j, :count] = rates, values[:count] - rates * corners[:count]
            slopes[j, count:], heights[j, count:] = rates[-1], heights[j, count - 1]
        return slopes, heights


def envelopes(p: Any, box: Box) -> Written:
    """The sum of the maxima of lines, and a tilt that makes other starts."""
    import cvxpy as cp

    shape = (len(box), LINES)
    slopes, heights, tilt = cp.Parameter(shape), cp.Parameter(shape), cp.Parameter(len(box))
    shares = box.graph.T @ p if isinstance(box.network, TransferNetwork) else p
    column = cp.reshape(shares, (len(box), 1), order="C")
    value = cp.sum(cp.max(cp.multiply(slopes, column @ np.ones((1, LINES))) + heights, axis=1)) + tilt @ p
    return Written(
        value,
        [(slopes, lambda box: box.lines()[0]), (heights, lambda box: box.lines()[1]), (tilt, lambda box: box.tilt)],
        [(box.graph, lambda box: box.graph)],
    )


PROGRAM = (Part("the envelopes", "energy", lambda box: 1, envelopes, "they are maxima of lines"), PRIOR, *CONSTRAINTS)


@dataclass(frozen=True)
class EnvelopeProgram(Method):
    """cvxpy's `solver` on the envelopes; descents from its mixture and from `starts` - 1 others, drawn by the seed."""

    starts: int = 4
    solver: str = "CLARABEL"

    name: ClassVar[str] = "envelope-program"
    domain: ClassVar[Domain] = "mixture"
    exact: ClassVar[bool] = False

    def refuses(self, problem: Problem) -> str | None:
        return None if isinstance(problem, ExpectedEnergy) else "takes a SeparableNetwork or a TransferNetwork"

    def run(self, problem: ExpectedEnergy, deadline: Deadline, seed: int) -> Answer:
        rng = np.random.default_rng(seed)
        whole = Box(problem, problem.lower, problem.upper, np.zeros(len(problem)))
        program = ConvexProgram(whole, PROGRAM)
        best, energies, verdict = None, [], ""
        for start in range(self.starts):
            if best is not None and deadline.passed():
                break
            tilt = rng.standard_normal(len(problem)) * problem.scale if start else whole.tilt
            point, verdict = program.solve(replace(whole, tilt=tilt), self.solver)
            if point is None:
                continue
            point = self._descended(program, whole, np.clip(point, whole.lower, whole.upper), deadline)
            energies.append(problem.energy(point))
            if best is None or energies[-1] < problem.energy(best):
                best = point
                deadline.note(best)
        message = "" if best is not None else f"{self.solver} ended with {verdict}"
        return Answer(best, None, len(energies) == self.starts, message, {"starts": len(energies)})

    def _descended(self, program: ConvexProgram, whole: Box, point: FloatArray, deadline: Deadline) -> FloatArray:
        """The last of the mixtures that each improve on the one before."""
        network, radius = whole.network, RADIUS
        while radius >= LEAST_RADIUS and not deadline.passed():
            low, high = np.maximum(whole.lower, point - radius), np.minimum(whole.upper, point + radius)
            moved, _ = program.solve(replace(whole, lower=low, upper=high), self.solver)
            if moved is not None:
                moved = np.clip(moved, whole.lower, whole.upper)
            if moved is None or not self._better(network, moved, point):
                radius /= SHRINK
            else:
                point = moved
        return point

    def _better(self, network: ExpectedEnergy, moved: FloatArray, point: FloatArray) -> bool:
        """Whether a mixture has less energy, and breaks no more than a solver's last digits."""
        kept = network.violation(moved) <= max(0.5 * FEASIBILITY_TOLERANCE, network.violation(point))
        return kept and network.energy(moved) < network.energy(point) - LEAST_SAVING
