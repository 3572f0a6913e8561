"""What to do with couplings that are not positive semidefinite, as the user chooses: refuse, shift, project or global.

treated = Treatment.of(network, "project")
solution = treated.solve(treated.network)
treated.as_dict(solution)["text"]   # what was done, and between what the least energy of the user's numbers lies
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from taskpgm.curvature import Nearby, convexity, projected, shifted
from taskpgm.global_search import global_solution
from taskpgm.inference import SimplexQP, solve
from taskpgm.network import TaskNetwork
from taskpgm.types import InputError, Solution

How: TypeAlias = Literal["refuse", "shift", "project", "global"]
WAYS: tuple[How, ...] = ("refuse", "shift", "project", "global")


@dataclass(frozen=True, eq=False)
class Treatment:
    """network: what is solved. how: "refuse" where it is convex, or is left to be refused. nearby: of what it is near.

    bend: the least eigenvalue of S on the directions that add up to 0.
    """

    network: TaskNetwork
    how: How
    nearby: Nearby | None
    bend: float

    @classmethod
    def of(cls, network: TaskNetwork, how: str) -> Treatment:
        """Shift and project change S, if it needs it; convex networks are left alone.

        Raises:
            InputError: no such way.
        """
        if how not in WAYS:
            raise InputError(f"indefinite {how!r}: expected {', '.join(WAYS)}.")
        if how == "refuse":
            return cls(network, "refuse", None, network.curvature)
        found = convexity(network)
        if found.convex:
            return cls(network, "refuse", None, found.bend)
        if how == "global":
            return cls(network, "global", None, found.bend)
        near = shifted(network) if how == "shift" else projected(network)
        return cls(near.network, "shift" if how == "shift" else "project", near, found.bend)

    def solve(self, network: TaskNetwork) -> Solution:
        """The mixture of the treated network, or of one that differs from it in beta."""
        return global_solution(network) if self.how == "global" else solve(network, SimplexQP())

    def as_dict(self, solution: Solution) -> dict[str, Any]:
        """As plain JSON values; empty where nothing was done."""
        if self.how == "refuse":
            return {}
        low, high = solution.bound, solution.energy
        if self.nearby is not None:
            low, high = self.nearby.least_energy_between(solution)
        done = {"shift": "shifted", "project": "projected", "global": "left as it is, and searched globally"}[self.how]
        text = (
            f"S is not positive semidefinite (it bends by {self.bend:.3g}) and was {done}: the least energy of your"
            f" numbers lies between {low:.6g} and {high:.6g}"
        )
        return {"how": self.how, "bend": self.bend, "least_energy": [low, high], "text": text}
