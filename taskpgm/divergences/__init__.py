"""Divergences between the experts' predictive distributions, one file each.

A divergence takes (n, C, V) log-probabilities and context weights and returns an (n, n) matrix in nats: symmetric, zero
diagonal, equivariant under reordering of the experts, and equal to its slow twin.
"""

from taskpgm.divergences.jensen_shannon import LN2, block_divergences, jensen_shannon, jensen_shannon_reference
from taskpgm.divergences.streaming import Batch, DivergenceSums, Sums, empty_sums, streamed_divergences

__all__ = [
    "LN2",
    "Batch",
    "DivergenceSums",
    "Sums",
    "block_divergences",
    "empty_sums",
    "jensen_shannon",
    "jensen_shannon_reference",
    "streamed_divergences",
]
