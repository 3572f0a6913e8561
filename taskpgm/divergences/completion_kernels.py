"""Jensen-Shannon divergences of distributions of which only some tokens are known: the interval of all completions.

Of two experts with masses p and q, some tokens are known of both, some of one, and the rest of neither. What is unknown
of an expert adds up to its remaining mass, and no single unknown token has more than its cap. With f(p, q) =
1/2 [p log(2p / (p + q)) + q log(2q / (p + q))] a token's part of the divergence:

- Most: nothing unknown meets anything, so it all counts 1/2 ln 2 a unit (f(p, q) <= 1/2 ln 2 (p + q), with equality
  where one is 0).
- Least: f is convex and homogeneous, so f(p, q) >= nu p + mu q wherever mu = 1/2 log 2x and nu = 1/2 log 2(1 - x) for
  some x in [0, 1], or less. For *every* such pair of multipliers, replacing the rest of neither expert's tokens by this
  plane, and the tokens known of one by their least value along it, gives a bound that each completion keeps. The best
  multipliers are where the ratio q / p of the tokens known of p alone (as far as the cap allows) is that of the rest,
  and likewise for q: a number that bisection finds. Its rounding makes the bound worse, never wrong.

Both ends are reached by some completion if the vocabulary is large enough.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from taskpgm.types import FloatArray

LN2 = math.log(2.0)
STEPS = 60
WIDEST = 80.0  # log of the most extreme ratio that is looked at


@numba.njit(parallel=True, cache=True, error_model="numpy")
def completion_interval(
    probabilities: FloatArray, rests: FloatArray, caps: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """((n, n) least, (n, n) most).

    probabilities: (n, C, U) with -1 where unknown. rests, caps: (n, C) the mass that is not known, and the most that
    one unknown token can have. weights: (C,) of sum 1.
    """
    n, contexts, _ = probabilities.shape
    least, most = np.zeros((n, n)), np.zeros((n, n))
    for i in numba.prange(n):
        for j in range(i):
            for c in range(contexts):
                if weights[c] == 0.0:
                    continue
                p, q = probabilities[i, c], probabilities[j, c]
                low, high = _of_pair(p, q, rests[i, c], rests[j, c], caps[i, c], caps[j, c])
                least[i, j] += weights[c] * low
                most[i, j] += weights[c] * high
            least[j, i], most[j, i] = least[i, j], most[i, j]
    return least, most


@numba.njit(cache=True, error_model="numpy")
def _of_pair(
    p: FloatArray, q: FloatArray, rest_p: float, rest_q: float, cap_p: float, cap_q: float
) -> tuple[float, float]:
    common, alone = 0.0, rest_p + rest_q
    for v in range(len(p)):
        if p[v] >= 0.0 and q[v] >= 0.0:
            common += _part(p[v], q[v])
        else:
            alone += max(p[v], 0.0) + max(q[v], 0.0)
    ratio_q, ratio_p = _best_ratios(p, q, rest_p, rest_q, cap_p, cap_q)
    mu, nu = 0.5 * (LN2 + _log_share(ratio_q)), 0.5 * (LN2 + _log_share(-ratio_p))
    low = common + rest_q * mu + rest_p * nu
    low += _least_along(p, q, math.exp(ratio_q), cap_q, mu) + _least_along(q, p, math.exp(-ratio_p), cap_p, nu)
    return max(low, 0.0), min(common + 0.5 * LN2 * alone, LN2)


@numba.njit(cache=True, error_model="numpy")
def _best_ratios(
    p: FloatArray, q: FloatArray, rest_p: float, rest_q: float, cap_p: float, cap_q: float
) -> tuple[float, float]:
    """Logarithms of q / p, the first for tokens known of p alone, the second for those of q; never first > second."""
    low, high = -WIDEST, WIDEST
    for _ in range(STEPS):  # the largest ratio at which q's unknown mass suffices for the tokens of p
        middle = 0.5 * (low + high)
        if _spent(p, q, math.exp(middle), cap_q) <= rest_q:
            low = middle
        else:
            high = middle
    most = low
    low, high = -WIDEST, WIDEST
    for _ in range(STEPS):  # the least at which p's unknown mass suffices for the tokens of q
        middle = 0.5 * (low + high)
        if _spent(q, p, math.exp(-middle), cap_p) <= rest_p:
            high = middle
        else:
            low = middle
    least = high
    if most <= least:
        return most, least
    for _ in range(STEPS):  # in between something is left of both, in this very ratio
        middle = 0.5 * (least + most)
        left_q = rest_q - _spent(p, q, math.exp(middle), cap_q)
        left_p = rest_p - _spent(q, p, math.exp(-middle), cap_p)
        if left_q > math.exp(middle) * left_p:
            least = middle
        else:
            most = middle
    return least, least


@numba.njit(cache=True, error_model="numpy")
def _spent(known: FloatArray, other: FloatArray, ratio: float, cap: float) -> float:
    """The mass on tokens known of one expert alone if the other has `ratio` times as much there, up to the cap."""
    total = 0.0
    for v in range(len(known)):
        if known[v] >= 0.0 and other[v] < 0.0:
            total += min(cap, ratio * known[v])
    return total


@numba.njit(cache=True, error_model="numpy")
def _least_along(known: FloatArray, other: FloatArray, ratio: float, cap: float, slope: float) -> float:
    """The sum over tokens known of one expert alone of the least f(known, x) - slope x with x up to the cap."""
    total = 0.0
    for v in range(len(known)):
        if known[v] >= 0.0 and other[v] < 0.0:
            x = min(cap, ratio * known[v])
            total += _part(known[v], x) - slope * x
    return total


@numba.njit(cache=True, error_model="numpy")
def _part(p: float, q: float) -> float:
    total = 0.0
    if p > 0.0:
        total += p * math.log(2.0 * (p / (p + q)))
    if q > 0.0:
        total += q * math.log(2.0 * (q / (p + q)))
    return 0.5 * total


@numba.njit(cache=True, error_model="numpy")
def _log_share(ratio: float) -> float:
    """log(r / (1 + r)) of the logarithm of r."""
    return -math.log1p(math.exp(-ratio)) if ratio > 0.0 else ratio - math.log1p(math.exp(ratio))
