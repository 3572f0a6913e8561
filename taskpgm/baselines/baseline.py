"""What a baseline is: a published rule from evidence to a mixture, with what it needs and what that costs.

for baseline in BASELINES:
    reason = baseline.refuses(evidence)
    print(baseline.name, reason or baseline.mixture(evidence), baseline.extra_examples(evidence))
"""

from __future__ import annotations

import abc
from typing import ClassVar, TypeVar, final

import numpy as np

from taskpgm.baselines.evidence import PARTS, Evidence
from taskpgm.types import FloatArray, InputError, readonly

Part = TypeVar("Part")


class Baseline(abc.ABC):
    """One mixture rule. To add one, write a file with a subclass and put an instance into BASELINES.

    paper: where the rule comes from. needs: the parts of the evidence that it cannot do without. least_runs,
    least_snapshots: how many proxy runs, or snapshots of the pilot run after some training, its fit takes at least.
    """

    paper: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    least_runs: ClassVar[int] = 1
    least_snapshots: ClassVar[int] = 1

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Short, and different for every baseline of the table."""

    @abc.abstractmethod
    def propose(self, evidence: Evidence) -> FloatArray:
        """(n,) the rule's mixture for evidence that it does not refuse. Callers use `mixture`."""

    @final
    def refuses(self, evidence: Evidence) -> str | None:
        """What the rule lacks, or None."""
        for need in self.needs:
            if need not in evidence.measured:
                return f"needs {need}, {PARTS[need]}: the evidence has none"
        runs = len(evidence.proxies) if evidence.proxies is not None else 0
        if "proxies" in self.needs and runs < self.least_runs:
            return f"needs at least {self.least_runs} proxy runs: there are {runs}"
        trained = evidence.pilot.trained if evidence.pilot is not None else 0
        if "pilot" in self.needs and trained < self.least_snapshots:
            return f"needs at least {self.least_snapshots} snapshots after some training: the pilot run has {trained}"
        return None

    @final
    def extra_examples(self, evidence: Evidence) -> int:
        """What the rule's evidence cost beyond the experts, in training examples: its proxy and pilot runs."""
        total = 0
        if evidence.proxies is not None and "proxies" in self.needs:
            total += len(evidence.proxies) * evidence.proxies.budget
        if evidence.pilot is not None and "pilot" in self.needs:
            total += int(evidence.pilot.examples[-1])
        return total

    @final
    def mixture(self, evidence: Evidence) -> FloatArray:
        """(n,) float64 weights on the simplex, in the order of evidence.names.

        Raises:
            InputError: the rule refuses this evidence, or its program could not be solved; the line says why.
        """
        reason = self.refuses(evidence)
        if reason is not None:
            raise InputError(f"{self.name}: {reason}.")
        return readonly(self.propose(evidence), np.float64)


def given(part: Part | None) -> Part:
    """A part of the evidence whose presence `refuses` has checked."""
    if part is None:
        raise InputError("the evidence lacks a part that the rule needs: ask `refuses` first.")
    return part
