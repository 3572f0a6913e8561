"""Divergences between the experts' predictive distributions, one file each.

A divergence takes (n, C, V) log-probabilities and context weights and returns an (n, n) matrix: symmetric, zero
diagonal, equivariant under reordering of the experts, and equal to its slow twin. It knows what pooling rare tokens
does to it. A new one is a file with a `Divergence`, and a line in `DIVERGENCES`.
"""

from taskpgm.divergences.divergence import UNKNOWN, Divergence
from taskpgm.divergences.hellinger import Hellinger
from taskpgm.divergences.jensen_shannon import LN2, block_divergences, jensen_shannon, jensen_shannon_reference
from taskpgm.divergences.jensen_shannon_divergence import JensenShannon
from taskpgm.divergences.kullback_leibler import KullbackLeibler
from taskpgm.divergences.renyi_jensen import RenyiJensen
from taskpgm.divergences.streaming import Batch, DivergenceSums, Sums, empty_sums, streamed_divergences
from taskpgm.divergences.total_variation import TotalVariation

DIVERGENCES: tuple[type[Divergence], ...] = (JensenShannon, Hellinger, TotalVariation, KullbackLeibler, RenyiJensen)
DEFAULT_DIVERGENCE = JensenShannon()

__all__ = [
    "DEFAULT_DIVERGENCE",
    "DIVERGENCES",
    "LN2",
    "UNKNOWN",
    "Batch",
    "Divergence",
    "DivergenceSums",
    "Hellinger",
    "JensenShannon",
    "KullbackLeibler",
    "RenyiJensen",
    "Sums",
    "TotalVariation",
    "block_divergences",
    "empty_sums",
    "jensen_shannon",
    "jensen_shannon_reference",
    "streamed_divergences",
]
