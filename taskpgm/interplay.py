"""What tasks do to each other in one run, beyond what the coverage energy can hold; forecasts know it.

The energy adds up what examples are worth, or it would not be convex. A forecast need not be convex. With o_i = T p_i /
length_i examples of task i in a run on p, and q the mixture with equally many of every task:

    contradiction   task j's loss rises by (c_ij / t_j) ln(1 + o_i / (o_j + 1)): where both tasks ask the same and want
                    different answers, no model can but believe each in proportion to what it has seen; where several
                    tasks contradict j, no more than if all of them did so in the same prompts
    crowding        exposures are multiplied by (R(q) / R(p))^CROWDING, R the mean loss of a token of the run's batches:
                    examples teach less among others that are not learned
    movement        how much more or less exposure p gives than q is the geometric mean of what transfer says, e_j(p) /
                    e_j(q), and what movement does, the same with the cosines of the experts' changes to the base model

c_ij is the share of j's prompts that i contradicts, t_j the tokens of an answer. So a forecast of q differs from the
energy by contradiction alone. benchmarks/results/mixtures/TOGETHER_PLAN.md tells how the constants were chosen, and
TOGETHER.md what forecasts came to on seeds that were not looked at for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from taskpgm.checks import array, checked_finite
from taskpgm.curves import Finding
from taskpgm.types import FloatArray, InputError, LossCurves

if TYPE_CHECKING:
    from taskpgm.coverage import CoverageNetwork

CROWDING = 0.2
MOST_CROWDED = 2.0**0.5
"""Within this factor, twice the budget is never forecast to give a task less exposure."""
WORTH_SAYING = 0.01
"""Nats a token from which a contradiction is a finding."""
LEARNED = 0.02
"""Nats a token that R begins with: below, a loss no longer matters to others."""


@dataclass(frozen=True, eq=False)
class Interplay:
    """What is known of tasks in one run.

    Args:
        answer_tokens: (n,) target tokens of an example of each task, positive.
        contested: (n, n) c, from 0 to 1: the share of task j's prompts that task i asks as well and answers otherwise.
            None where nothing is contradicted.
        movement: (n, n) from 0 to 1, 1 on the diagonal: cosines of the changes that experts made to the base model
            (`taskpgm.movement`). None where they are not known: exposures are then those of the transfer.

    Raises:
        InputError: sizes that do not fit, or numbers out of range.
    """

    answer_tokens: FloatArray
    contested: FloatArray | None = None
    movement: FloatArray | None = None

    def __post_init__(self) -> None:
        tokens = array(self.answer_tokens, "answer tokens", ndim=1)
        n = len(tokens)
        checked_finite(tokens, "number of answer tokens", tuple(f"task {i}" for i in range(n)))
        if tokens.min(initial=1.0) <= 0.0:
            raise InputError(f"answer tokens: {tokens.min():g} of task {int(tokens.argmin())}; expected more than 0.")
        object.__setattr__(self, "answer_tokens", tokens)
        for label in ("contested", "movement"):
            if getattr(self, label) is not None:
                object.__setattr__(self, label, _shares(getattr(self, label), label, n))

    @classmethod
    def of(
        cls, losses: LossCurves, contested: FloatArray | None = None, movement: FloatArray | None = None
    ) -> Interplay:
        """With the answers' lengths from what the experts were trained on."""
        return cls(losses.target_tokens[:, -1] / losses.examples[:, -1], contested, movement)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Interplay:
        """What `as_dict` wrote."""
        return cls(values["answer_tokens"], values.get("contested"), values.get("movement"))

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        parts = {"answer_tokens": self.answer_tokens, "contested": self.contested, "movement": self.movement}
        return {name: part.tolist() for name, part in parts.items() if part is not None}

    def exposures(self, network: CoverageNetwork, p: FloatArray) -> FloatArray:
        """(n,) how many examples' worth of each task a run on p gives it."""
        even, moved = _even(network), self._moved(network, p)
        crowded = self._loss_of_batches(network, p, moved)
        calm = self._loss_of_batches(network, even, network.exposures(even))
        return np.asarray(moved * np.clip((calm / crowded) ** CROWDING, 1.0 / MOST_CROWDED, MOST_CROWDED))

    def contradiction(self, network: CoverageNetwork, p: FloatArray) -> FloatArray:
        """(n,) nats a token by which contradicting tasks raise each task's loss.

        With r_i = o_i / (o_j + 1) the mean over j's prompts of ln(1 + the sum of r_i over the tasks that contradict
        there) is at most the sum of c_ij ln(1 + r_i), and at most ln(1 + the sum of c_ij r_i): the lesser of the two,
        which is exact where each prompt has one contradictor, or all have the same.
        """
        if self.contested is None:
            return np.zeros(len(p))
        seen = _examples(network, p)
        against = seen[:, None] / (seen[None, :] + 1.0)
        each, together = (self.contested * np.log1p(against)).sum(axis=0), (self.contested * against).sum(axis=0)
        return np.asarray(np.minimum(each, np.log1p(together)) / self.answer_tokens)

    def _moved(self, network: CoverageNetwork, p: FloatArray) -> FloatArray:
        """(n,) exposures without crowding."""
        told = network.exposures(p)
        if self.movement is None:
            return told
        even = _even(network)
        own, own_even = (each / network.lengths @ self.movement for each in (p, even))
        return np.asarray(np.sqrt(told * network.exposures(even) * own / own_even))

    def _loss_of_batches(self, network: CoverageNetwork, p: FloatArray, exposures: FloatArray) -> float:
        """LEARNED, and the mean loss of a target token of the run's batches in its end."""
        losses = network.curves.losses(exposures) + network.lost(p) + self.contradiction(network, p)
        return LEARNED + float(np.average(losses, weights=_examples(network, p) * self.answer_tokens))


def contested_findings(network: CoverageNetwork, p: FloatArray) -> tuple[Finding, ...]:
    """The tasks whose forecast other tasks raise by contradicting them, in the order of the tasks."""
    known = network.interplay
    if known is None or known.contested is None:
        return ()
    found = []
    for j, nats in enumerate(known.contradiction(network, p)):
        if nats >= WORTH_SAYING:
            i = int(known.contested[:, j].argmax())
            text = (
                f"{network.names[j]}: {known.contested[i, j]:.0%} of its prompts are asked by {network.names[i]} too,"
                f" with another answer: no model can give both, which the energy does not know. The forecast counts"
                f" {nats:.2g} nats a token for it. Tell them apart in the prompt, or leave one out."
            )
            found.append(Finding(network.names[j], "contested", text))
    return tuple(found)


def _even(network: CoverageNetwork) -> FloatArray:
    """(n,) q, the mixture with equally many examples of every task."""
    return np.asarray(network.lengths / network.lengths.sum())


def _examples(network: CoverageNetwork, p: FloatArray) -> FloatArray:
    """(n,) o, how many examples of each task a run on p sees."""
    return np.asarray(network.budget * p / network.lengths)


def _shares(values: Any, label: str, n: int) -> FloatArray:
    found = array(values, label, ndim=2)
    if found.shape != (n, n):
        raise InputError(f"{label}: shape {found.shape[0]} x {found.shape[1]}, but there are {n} tasks.")
    if not (np.isfinite(found).all() and found.min(initial=0.0) >= 0.0 and found.max(initial=0.0) <= 1.0):
        raise InputError(f"{label}: expected numbers from 0 to 1.")
    return found


def check_fits(interplay: Interplay, names: Sequence[str]) -> None:
    """Complain of an interplay of another number of tasks."""
    if len(interplay.answer_tokens) != len(names):
        raise InputError(f"interplay of {len(interplay.answer_tokens)} tasks, but there are {len(names)}.")
