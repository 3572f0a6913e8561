"""Whole amounts from shares, and the same examples for the same seed whatever the shares are.

whole_counts([0.5, 0.3, 0.2], 8)    # [4, 2, 2]
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def whole_counts(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion to the shares that add up to `total`, by largest remainder.

    Each differs from its exact amount by less than one; equal remainders go to the earlier one. A share of 0 gets 0.

    Args:
        shares: finite, none negative, one at least positive; they need not add up to 1.
        total: what the counts add up to.
    """
    whole = sum(map(Fraction, shares), Fraction(0))
    ideal = [Fraction(share) * total / whole for share in shares]
    counts = [int(amount) for amount in ideal]
    by_remainder = sorted(range(len(counts)), key=lambda i: counts[i] - ideal[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def task_stream(seed: int, name: str, *key: int) -> np.random.Generator:
    """Random numbers that depend on the seed, the task's name (any text) and the key alone, not on the other tasks."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8]), *key])
