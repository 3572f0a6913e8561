"""How many probes are enough? The width of the divergences' bootstrap intervals over growing samples of probes.

    found = enough_probes(affinity, width=0.02)
    found.enough            # the fewest probes a task, of those tried, at which no interval is wider; None: not yet
    print(found)            # ... and how many more it would take

Every task's blocks of probes are put in a random order, since probes come sorted by length, and taken from the front:
so many of each task, each task with the same mass. Within such a sample each task's blocks are drawn again with
replacement (a stratified bootstrap, Efron 1979); where groups of tasks share blocks (`taskpgm.blocks`), each group's
are, and so many of each group are taken. Deviations are widened by sqrt(m / (m - 1)), since m blocks drawn from
themselves vary less than m fresh ones. Stopping at the first sample that is good enough makes it look a little better
than it is: the width of all probes is the one to quote.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from taskpgm.blocks import by_stratum, probe_counts
from taskpgm.types import Affinity, Blocks, FloatArray, InputError, IntArray, readonly

LEVEL = 0.95
MEMORY = 64e6  # bytes that the redrawn divergences may take at a time


@dataclass(frozen=True, eq=False)
class ProbeCount:
    """Widths of the divergences' intervals at growing numbers of probes.

    width: what was asked for, None if nothing was. probes: (S,) mean number of probes a task in each sample, the last
    with all of them. widths: (S,) the widest interval of any pair. widest: that pair of tasks in the last sample.
    """

    width: float | None
    level: float
    probes: IntArray
    widths: FloatArray
    widest: tuple[str, str]

    @property
    def enough(self) -> int | None:
        """The fewest probes a task at which no interval was wider than asked for; None where all were too few."""
        good = np.flatnonzero(self.widths <= (0.0 if self.width is None else self.width))
        return int(self.probes[good[0]]) if len(good) else None

    @property
    def needed(self) -> int | None:
        """Probes a task at which that would be so: `enough`, or extrapolated, widths falling with their root."""
        if self.enough is not None or self.width is None:
            return self.enough
        return math.ceil(int(self.probes[-1]) * (float(self.widths[-1]) / self.width) ** 2)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "width": self.width,
            "level": self.level,
            "probes": self.probes.tolist(),
            "widths": self.widths.tolist(),
            "widest": list(self.widest),
            "enough": self.enough,
            "needed": self.needed,
            "text": str(self),
        }

    def __str__(self) -> str:
        last, first, second = int(self.probes[-1]), *self.widest
        known = (
            f"with {last} probes a task every divergence is known within {self.widths[-1]:.3g}"
            f" ({100 * self.level:g} %; widest: {first!r} and {second!r})"
        )
        if self.width is None or self.needed is None:
            return f"{known}; four times as many would halve that."
        if self.enough is not None:
            return f"{known}; {self.enough} are enough for {self.width:g}."
        return f"{known}; about {self.needed - last} more a task are needed for {self.width:g}."


def enough_probes(
    affinity: Affinity, width: float | None = None, *, level: float = LEVEL, replicates: int = 200, seed: int = 0
) -> ProbeCount:
    """How wide the divergences' intervals are at 2, 4, 8, ... blocks of probes a task, and at all.

    Args:
        affinity: from `estimate_affinity`; up to 32 probes a task each are a block of their own.
        width: the widest interval that will do, in the divergence's unit (nats for Jensen-Shannon); None only tells how
            wide they are.
        level: of the intervals. replicates, seed: how often each sample is drawn again, and of which generator.

    Raises:
        InputError: a width or level out of range, an affinity without blocks, or a task with fewer than two.
    """
    if width is not None and not (math.isfinite(width) and width > 0.0):
        raise InputError(f"width = {width}: expected a positive number.")
    if not 0.0 < level < 1.0 or replicates < 2:
        raise InputError(f"level {level} and {replicates} replicates: expected 0 < level < 1 and two draws or more.")
    blocks = affinity.blocks
    if blocks is None:
        raise InputError("the affinity keeps no blocks of evidence: make it with estimate_affinity(predictions).")
    rng = np.random.default_rng(seed)
    alone = np.flatnonzero(probe_counts(blocks.scores) < 2)
    if len(alone):
        name = affinity.names[alone[0]]
        raise InputError(f"task {name!r} has one probe: nothing shows how much another would differ; give two.")
    order = [rng.permutation(own) for own in by_stratum(blocks)]
    most = max(map(len, order))
    sizes = [*(2**power for power in range(1, most.bit_length()) if 2**power < most), most]
    probes, widths = [], []
    for size in sizes:
        sample = [own[:size] for own in order]
        probes.append(_probes_in(blocks, np.concatenate(sample)) / len(affinity.names))
        found = _widths(blocks, sample, level, replicates, rng)
        widths.append(float(found.max()))
    places = np.triu_indices(len(affinity.names), 1)
    i, j = (int(place[found.argmax()]) for place in places)
    pair = (affinity.names[i], affinity.names[j])
    return ProbeCount(width, level, readonly(np.rint(probes), np.int64), readonly(widths, np.float64), pair)


def _probes_in(blocks: Blocks, chosen: IntArray) -> int:
    return len(np.unique(blocks.scores.context_probe[np.isin(blocks.members, chosen)]))


def _widths(
    blocks: Blocks, sample: list[IntArray], level: float, replicates: int, rng: np.random.Generator
) -> FloatArray:
    """(pairs,) the width of each pair's interval."""
    chosen = np.concatenate(sample)
    shares = np.concatenate([_redrawn_shares(blocks, own, replicates, rng) for own in sample], axis=1)
    first, second = np.triu_indices(blocks.divergence.shape[1], 1)
    tails = [0.5 * (1.0 - level), 0.5 * (1.0 + level)]
    widths = np.empty(len(first))
    step = max(1, int(MEMORY // (8 * (replicates + len(chosen)))))
    for start in range(0, len(first), step):
        pairs = slice(start, start + step)
        divergence = blocks.divergence[chosen[:, None], first[None, pairs], second[None, pairs]]
        low, high = np.quantile(shares @ divergence, tails, axis=0)
        widths[pairs] = high - low
    fewest = min(map(len, sample))
    return widths * math.sqrt(fewest / (fewest - 1))


def _redrawn_shares(blocks: Blocks, own: IntArray, replicates: int, rng: np.random.Generator) -> FloatArray:
    """(R, m) by what each of a stratum's m blocks counts in every draw; it keeps the mass of all its blocks."""
    times = rng.multinomial(len(own), np.full(len(own), 1.0 / len(own)), size=replicates)
    mass = float(blocks.mass[blocks.stratum == blocks.stratum[own[0]]].sum())
    return np.asarray(times * (mass / (times @ blocks.mass[own]))[:, None])
