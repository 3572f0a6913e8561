"""What an interval around every divergence leaves open about the mixture.

    effect = interval_effect(network, solution, affinity)
    effect.regret       # proved: however the divergences lie, the mixture's energy is within this of the least
    effect.shift        # proved: no weight of the then best mixture differs by more
    effect.seen         # (n, 2) weights of the best mixtures of some of the similarities in between: examples, no proof

With S between S_low and S_high, elementwise, and mixtures that are not negative, E(p; S) <= E(p; S_high) and
min E(.; S) >= min E(.; S_low); or, from the gap g at the nominal S, the regret is at most

    g + 1/2 lam [p'(S_high - S)p + (1 - 1/n) max (S - S_low)].

If E is m-strongly convex (m = lam times the least curvature of S on the directions that add up to 0, plus tau, as KL is
1-strongly convex) and r = lam max_j |column j of the largest change of S|, optimality of both mixtures gives
m d^2 <= r d + g for their Euclidean distance d. Utilities are taken as they are, those too that depend on S.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from taskpgm.affinity import ExponentialSimilarity, Similarity
from taskpgm.curvature import shifted
from taskpgm.inference import SimplexQP, convex_method, solve
from taskpgm.judge import certificate
from taskpgm.network import TaskNetwork
from taskpgm.types import Affinity, FloatArray, InputError, Solution, readonly

FLATTEST = 1.0 / 16.0  # of the way to a corner: nearer ones say little


@dataclass(frozen=True, eq=False)
class IntervalEffect:
    """See the module. regret: in units of energy. shift: infinite where the energy is not strongly convex.

    seen: (n, 2) least and largest weights over `examples` similarities in between, and the nominal one.
    """

    names: tuple[str, ...]
    regret: float
    shift: float
    seen: FloatArray
    examples: int

    @property
    def _why_nothing(self) -> str:
        return "the intervals are too wide" if math.isfinite(self.shift) else "the energy is flat"

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values; shift is None where nothing is proved of weights."""
        seen = {name: [float(low), float(high)] for name, (low, high) in zip(self.names, self.seen, strict=True)}
        shift = self.shift if math.isfinite(self.shift) else None
        return {"regret": self.regret, "shift": shift, "seen": seen, "examples": self.examples, "text": str(self)}

    def __str__(self) -> str:
        i = int(np.argmax(self.seen[:, 1] - self.seen[:, 0]))
        moved = f"nothing is proved of weights ({self._why_nothing})"
        if self.shift < 1.0:
            moved = f"no weight of the best mixture differs by more than {self.shift:.3g}"
        return (
            f"proved for all divergences within their intervals: the mixture's energy is within {self.regret:.3g} of"
            f" the least, and {moved}. Seen in {self.examples} examples: {self.names[i]!r} moves most, between"
            f" {self.seen[i, 0]:.3g} and {self.seen[i, 1]:.3g}."
        )


def interval_effect(
    network: TaskNetwork,
    solution: Solution,
    affinity: Affinity,
    similarity: Similarity | None = None,
    *,
    examples: int = 16,
    seed: int = 0,
) -> IntervalEffect:
    """Bounds on what the divergences' intervals do to a solved network's mixture.

    Args:
        network: over the affinity's similarities. solution: its judged mixture.
        affinity: with divergence_lower and divergence_upper.
        similarity: the rule that the affinity was made with; the default of `estimate_affinity`.
        examples, seed: how many similarities in between to solve, and of which generator.

    Raises:
        InputError: a solution without mixture, or a network over other similarities than the affinity's by this rule.
    """
    rule = ExponentialSimilarity() if similarity is None else similarity
    if solution.point is None:
        raise InputError(f"there is no mixture to bound: {solution.message}")
    nominal = rule.of(affinity.divergence)
    if affinity.names != network.names or not np.allclose(nominal, network.similarity, rtol=0.0, atol=1e-9):
        raise InputError(f"the network's similarities are not {rule} of this affinity: give the rule it was made with.")
    low, high = rule.of(affinity.divergence_upper), rule.of(affinity.divergence_lower)
    p = np.asarray(solution.point, dtype=np.float64)
    seen = np.array([p, *_best_in_between(network, low, high, examples, seed)])
    return IntervalEffect(
        network.names,
        _regret(network, p, low, high),
        _shift(network, p, np.maximum(high - nominal, nominal - low)),
        readonly(np.column_stack([seen.min(axis=0), seen.max(axis=0)]), np.float64),
        len(seen) - 1,
    )


def _regret(network: TaskNetwork, p: FloatArray, low: FloatArray, high: FloatArray) -> float:
    """The smaller of the two bounds of the module."""
    s, n = network.similarity, len(network)
    nominal = certificate(network, p).gap
    nominal += 0.5 * network.lam * float(p @ (high - s) @ p + (1.0 - 1.0 / n) * max(0.0, float((s - low).max())))
    near = shifted(network.changed(similarity=low))
    least, _ = near.least_energy_between(solve(near.network, SimplexQP()))
    return min(nominal, network.changed(similarity=high).energy(p) - least)


def _shift(network: TaskNetwork, p: FloatArray, change: FloatArray) -> float:
    modulus = network.lam * max(0.0, network.curvature) + network.tau
    if modulus <= 0.0:
        return math.inf
    moved = network.lam * float(np.linalg.norm(change, axis=0).max())
    gap, n = certificate(network, p).gap, len(network)
    distance = (moved + math.sqrt(moved * moved + 4.0 * modulus * gap)) / (2.0 * modulus)
    return distance * math.sqrt((n - 1) / n)  # of one coordinate, if all together add up to 0


def _best_in_between(
    network: TaskNetwork, low: FloatArray, high: FloatArray, examples: int, seed: int
) -> Iterator[FloatArray]:
    """Mixtures of similarities on the way to random corners, as far as these are convex; the first two are the ends."""
    rng = np.random.default_rng(seed)
    n = len(network)
    for k in range(examples):
        upper = np.triu(rng.random((n, n)) < 0.5 if k >= 2 else np.full((n, n), k == 0), 1)
        corner = np.where(upper | upper.T, high, low)
        step = 1.0
        while step >= FLATTEST:
            other = network.changed(similarity=(1.0 - step) * network.similarity + step * corner)
            if other.concavity == 0.0:
                found = solve(other, convex_method(other))
                if found.point is not None:
                    yield np.asarray(found.point, dtype=np.float64)
                break
            step *= 0.5
