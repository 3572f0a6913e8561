"""The certificate in exact rational arithmetic: no rounding, no solver, no trust.

Every float64 is a rational number, so the energy, its gradient and the certificate of a mixture are rational too. They
are computed here with Python's integers and fractions. Two things are not rational or not cheap, and are enclosed
instead: logarithms and powers (tau > 0, learning curves), by 60-digit decimals rounded outwards; and the least
curvature of S, by a Cholesky factor computed in float64 whose residual is then computed exactly.

    exact_certificate(network, mixture).gap         # a Fraction; the energy is within it of the least possible
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.coverage import CoverageNetwork, Curves
from taskpgm.duals import multipliers, tangent_point, tangents
from taskpgm.envelope_curves import EnvelopeCurves
from taskpgm.expected_energy import ExpectedEnergy
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError

DIGITS = 60
LIMB = 25
GRAIN = 2**200
Exact: TypeAlias = TaskNetwork | CoverageNetwork
Interval: TypeAlias = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class ExactCertificate:
    """What is proved about a mixture, in exact numbers.

    energy: an upper bound on E(p), exact where tau = 0. bound: a lower bound on E over the feasible set. gap: energy -
    bound. violation: by how much the stored weights break the feasible set; the other numbers are of the nearest
    repair of p, which moves it by no more than that.
    """

    energy: Fraction
    bound: Fraction
    gap: Fraction
    violation: Fraction


def exact_certificate(network: Exact | ExpectedEnergy, mixture: ArrayLike) -> ExactCertificate:
    """The duality gap of DESIGN fact 2 (Jaggi 2013), with the curvature of S accounted for, in rational numbers.

    E(q) >= E(p) + grad'(q - p) + 1/2 lam mu |q - p|^2 and |q - p|^2 <= 2 on the simplex, so with mu the least
    curvature of S on the sum-zero subspace the bound is E(p) - gap(p) - lam max(0, -mu). Constraints on several tasks
    enter by multipliers that need not be trusted (see `taskpgm.duals`). Expected losses have another bound (see
    `taskpgm.exact_expected`).
    """
    if isinstance(network, ExpectedEnergy):
        from taskpgm.exact_expected import expected_certificate

        return expected_certificate(network, np.asarray(mixture, dtype=np.float64))
    lower, upper = _rational(network.lower), _rational(network.upper)
    stored = _rational(np.asarray(mixture, dtype=np.float64))
    p, violation = _repair(stored, lower, upper)
    energy, gradient, slack = _smooth_terms(network, p)
    if network.tau > 0.0:
        free = [low < high for low, high in zip(lower, upper, strict=True)]  # a fixed weight has no slope to follow
        if min(x for x, moves in zip(p, free, strict=True) if moves or x > 0) <= 0:
            raise InputError(
                "no certificate: with tau > 0 every weight must be positive; a weight of 0 has an infinite slope."
            )
        tau, prior = Fraction(network.tau), _rational(network.prior)
        logs = [_log_interval(a / b) if a > 0 else (Fraction(0), Fraction(0)) for a, b in zip(p, prior, strict=True)]
        energy += tau * _dot(p, [high for _, high in logs])
        gradient = [
            g + tau * (low + 1) if moves else g for g, (low, _), moves in zip(gradient, logs, free, strict=True)
        ]
        slack += 2 * tau * max(high - low for low, high in logs)
    relief = Fraction(0)
    for row, limit, y in _priced_rows(network, p, gradient):
        gradient = [g + y * a for g, a in zip(gradient, row, strict=True)]
        relief += y * (limit - _dot(row, p))
        violation = max(violation, (_dot(row, p) - limit) / max(map(abs, row)))
    vertex = minimize_linear(gradient, lower, upper)
    gap = _dot(gradient, [a - b for a, b in zip(p, vertex, strict=True)]) + relief + slack
    return ExactCertificate(energy, energy - gap, gap, violation)


def _smooth_terms(network: Exact, p: list[Fraction]) -> tuple[Fraction, list[Fraction], Fraction]:
    """(energy from above, gradient, slack) of the energy without its KL term.

    For every feasible q, F(q) >= energy + gradient'(q - p) - slack.
    """
    if isinstance(network, CoverageNetwork):
        return _coverage_terms(network, p)
    interaction = _matvec(network.similarity, p)
    u, beta, lam = _rational(network.utility), Fraction(network.beta), Fraction(network.lam)
    energy = -beta * _dot(u, p) + lam * _dot(interaction, p) / 2
    gradient = [lam * s - beta * x for s, x in zip(interaction, u, strict=True)]
    return energy, gradient, lam * curvature_deficit(network.similarity)


def _coverage_terms(network: CoverageNetwork, p: list[Fraction]) -> tuple[Fraction, list[Fraction], Fraction]:
    """The same for falling curves, each of which is convex: its tangent, known to within rational bounds, is below it.

    A slope that is off by d misses the tangent by at most d times the largest exposure any mixture gives.
    """
    energy, slack = Fraction(0), Fraction(0)
    gradient = [Fraction(0)] * len(p)
    for part in network.falling:
        for k, v in enumerate(_rational(part.weights)):
            row = _rational(part.reach[:, k])  # examples for each unit of every weight
            (low, high), (steep, flat) = _curve_intervals(part.curves, k, _dot(row, p))
            energy += v * high
            slack += v * ((high - low) + (flat - steep) * max(row))
            gradient = [g + v * steep * a for g, a in zip(gradient, row, strict=True)]
    return energy, gradient, slack


def _curve_intervals(curves: Curves, k: int, exposure: Fraction) -> tuple[Interval, Interval]:
    """Rational bounds on curve k after an exposure, and on its slope there."""
    if isinstance(curves, EnvelopeCurves):
        return _hinge_intervals(curves, k, exposure)
    low = high = _dot(_rational(curves.weights[k]), _rational(curves.floors[k]))
    steep = flat = Fraction(0)
    terms = zip(curves.weights[k], curves.drops[k], curves.scales[k], curves.powers[k], strict=True)
    for w, drop, scale, power in (map(Fraction, map(float, term)) for term in terms):
        grown, amount = 1 + exposure / scale, w * drop
        least, most = _power_interval(grown, -power)
        rate = amount * power / (scale * grown)
        low, high = _outward(low + amount * least, high + amount * most)
        steep, flat = _outward(steep - rate * most, flat - rate * least)
    return (low, high), (steep, flat)


def _hinge_intervals(curves: EnvelopeCurves, k: int, exposure: Fraction) -> tuple[Interval, Interval]:
    """The same for an envelope, which is rational: no wider than its numbers are rounded to."""
    loss, slope = Fraction(float(curves.floors[k])), Fraction(0)
    terms = zip(curves.knots[k], curves.bends_at_knots[k], curves.widths[k], strict=True)
    for knot, bend, h in (map(Fraction, map(float, term)) for term in terms):
        t = knot - exposure
        inside = min(max(t, -h), h) + h
        loss += bend * (inside**2 / (4 * h) + max(t - h, Fraction(0)))
        slope -= bend * inside / (2 * h)
    return _outward(loss, loss), _outward(slope, slope)


def _outward(low: Fraction, high: Fraction) -> Interval:
    """The same interval or a little more, in multiples of a power of two: sums of many fractions stay short."""
    return Fraction(math.floor(low * GRAIN), GRAIN), Fraction(math.ceil(high * GRAIN), GRAIN)


def _priced_rows(
    network: Exact, p: list[Fraction], gradient: list[Fraction]
) -> Iterator[tuple[list[Fraction], Fraction, Fraction]]:
    """(row a, limit b, multiplier) with a'q <= b for every feasible q, and the multiplier as `duals` found it.

    Of a ball's tangent at x, log(x / centre) + 1 <= a, rounded down: that keeps a'q <= r + sum x for all q >= 0.
    """
    if network.only_bounds:
        return
    point = np.array([float(x) for x in p])
    matrix, limits = tangents(network, point)
    prices = _rational(multipliers(network, np.array([float(g) for g in gradient]), matrix, limits))
    for half, y in zip(network.halfspaces, prices, strict=False):
        yield _rational(half.coefficients), Fraction(half.limit), y
    x = _rational(tangent_point(point))
    for ball, y in zip(network.balls, prices[len(network.halfspaces) :], strict=True):
        row = [_log_interval(a / b)[0] + 1 for a, b in zip(x, _rational(ball.centre), strict=True)]
        yield row, Fraction(ball.limit) + sum(x, Fraction(0)), y


def minimize_linear(gradient: Sequence[Any], lower: Sequence[Any], upper: Sequence[Any]) -> list[Any]:
    """A point of {lower <= q <= upper, sum q = 1} with the least gradient'q, in whatever numbers are given.

    Fills the cheapest tasks first (a fractional knapsack): exact, and no linear-programming solver is needed.
    """
    point = list(lower)
    left = 1 - sum(point)
    for i in sorted(range(len(point)), key=lambda i: gradient[i]):
        step = min(left, upper[i] - point[i])
        point[i] = point[i] + step
        left = left - step
        if left <= 0:
            break
    return point


def _repair(p: list[Fraction], lower: list[Fraction], upper: list[Fraction]) -> tuple[list[Fraction], Fraction]:
    """The mixture clipped to its bounds and made to sum to exactly 1, and how much was wrong before."""
    clipped = [min(max(x, low), high) for x, low, high in zip(p, lower, upper, strict=True)]
    excess = sum(clipped, Fraction(0)) - 1
    violation = max([abs(sum(p, Fraction(0)) - 1), *(abs(a - b) for a, b in zip(p, clipped, strict=True))])
    room = [(x - low if excess > 0 else high - x) for x, low, high in zip(clipped, lower, upper, strict=True)]
    for i in sorted(range(len(p)), key=lambda i: -room[i]):
        step = min(abs(excess), room[i])
        clipped[i] += -step if excess > 0 else step
        excess += -step if excess > 0 else step
        if excess == 0:
            break
    return clipped, violation


def curvature_deficit(similarity: FloatArray) -> Fraction:
    """A proved d >= 0 with v'Sv >= -d |v|^2 for every v that sums to zero.

    In the basis e_i - e_n the form is B_ij = S_ij - S_in - S_nj + S_nn, and |v|^2 is y'(I + 11')y >= |y|^2. A float64
    Cholesky factor L of B + d0 (I + 11') is rounded to multiples of a power of two; the residual R of LL' is computed
    exactly; then d = d0 + the largest row sum of |R|.
    """
    n = len(similarity) - 1
    metric = np.eye(n) + 1.0
    form = similarity[:n, :n] - similarity[:n, n:] - similarity[n:, :n] + similarity[n, n]
    scale = max(float(np.abs(form).max()), 1e-300)
    shift = 0.0
    factor = _cholesky(form)
    for exponent in range(-16, 4):
        if factor is not None:
            break
        shift = scale * 10.0**exponent
        factor = _cholesky(form + shift * metric)
    assert factor is not None, "a shift of 1000 times the largest entry makes any form positive definite"
    exact, power = _integers(similarity)
    exact_form = exact[:n, :n] - exact[:n, n:] - exact[n:, :n] + exact[n, n]
    product, product_power = _exact_gram(factor)
    shift_numerator, shift_denominator = Fraction(shift).as_integer_ratio()
    shift_power = shift_denominator.bit_length() - 1
    common = max(power, product_power, shift_power)
    metric_integers = np.array([[2 if i == j else 1 for j in range(n)] for i in range(n)], dtype=object)
    residual = (
        exact_form * 2 ** (common - power)
        + metric_integers * (shift_numerator * 2 ** (common - shift_power))
        - product * 2 ** (common - product_power)
    )
    row_sum = int(np.abs(residual).sum(axis=1).max())
    return Fraction(shift) + Fraction(row_sum, 2**common)


def _cholesky(matrix: FloatArray) -> FloatArray | None:
    try:
        return np.asarray(np.linalg.cholesky(matrix))
    except np.linalg.LinAlgError:
        return None


def _exact_gram(factor: FloatArray) -> tuple[NDArray[np.object_], int]:
    """(LL' 2^power, power) for L rounded to 2 LIMB bits below its largest entry, through exact int64 products."""
    _, exponent = np.frexp(np.abs(factor).max())
    bits = 2 * LIMB - int(exponent)
    scaled = np.rint(np.ldexp(factor, bits)).astype(np.int64)
    high, low = scaled >> LIMB, scaled & ((1 << LIMB) - 1)
    cross = (high @ low.T).astype(object)
    gram = ((high @ high.T).astype(object) << (2 * LIMB)) + ((cross + cross.T) << LIMB) + (low @ low.T).astype(object)
    return (gram, 2 * bits) if bits >= 0 else (gram * 4 ** (-bits), 0)


def _integers(values: ArrayLike) -> tuple[NDArray[np.object_], int]:
    """(values 2^power as exact integers, power >= 0)."""
    array = np.asarray(values, dtype=np.float64)
    mantissa, exponent = np.frexp(array)
    power = max(0, 53 - int(exponent[array != 0.0].min(initial=53)))
    whole = np.ldexp(mantissa, 53).astype(np.int64).astype(object)
    return whole << (exponent.astype(object) + (power - 53)).clip(min=0), power


def _rational(values: FloatArray) -> list[Fraction]:
    return [Fraction(float(value)) for value in values]


def _matvec(matrix: FloatArray, vector: list[Fraction]) -> list[Fraction]:
    """The exact product, over one common denominator."""
    whole, power = _integers(matrix)
    denominator = max(x.denominator for x in vector)  # denominators of floats are powers of two: the largest serves all
    numerators = np.array([x.numerator * (denominator // x.denominator) for x in vector], dtype=object)
    return [Fraction(int(total), denominator * 2**power) for total in whole @ numerators]


def _dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def _power_interval(base: Fraction, exponent: Fraction) -> tuple[Fraction, Fraction]:
    """Rational bounds on base^exponent for base > 0, through logarithms: exp is monotone, and correctly rounded too."""
    low, high = (exponent * end for end in _log_interval(base))
    if low > high:
        low, high = high, low
    with decimal.localcontext() as context:
        context.prec = DIGITS
        ends = [(decimal.Decimal(x.numerator) / decimal.Decimal(x.denominator)).exp() for x in (low, high)]
        margin = Fraction(1, 10 ** (DIGITS - 5))  # of rounding the quotient, which exp scales by its own value
    return Fraction(ends[0]) * (1 - margin), Fraction(ends[1]) * (1 + margin)


def _log_interval(x: Fraction) -> tuple[Fraction, Fraction]:
    """Rational bounds on log x, from decimal logarithms, which are correctly rounded."""
    with decimal.localcontext() as context:
        context.prec = DIGITS
        logs = [decimal.Decimal(part).ln() for part in x.as_integer_ratio()]
        ulp = max((log.copy_abs() for log in logs), default=decimal.Decimal(1)) * decimal.Decimal(10) ** (2 - DIGITS)
    # the integers may have more than DIGITS digits: Decimal(int) is exact, ln rounds once
    value, margin = Fraction(logs[0]) - Fraction(logs[1]), Fraction(ulp) + Fraction(1, 10**DIGITS)
    return value - margin, value + margin
