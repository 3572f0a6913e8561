"""The certificate of expected losses: the energy in rational numbers, and a bound that allows for all rounding.

The energy of a mixture is enclosed by 60-digit decimals, as for the other energies. Its bound is a minimum over
thousands of cells (see `taskpgm.expected_bound`), each right to a few dozen units in the
last place of float64; what is subtracted for that is a thousand times as much (`ExpectedEnergy.rounding`).

    exact_certificate(separable_network, mixture)
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from taskpgm.exact import ExactCertificate, _dot, _log_interval, _outward, _power_interval, _rational, _repair
from taskpgm.expected_bound import expected_bound
from taskpgm.expected_energy import ExpectedEnergy
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray


def expected_certificate(network: ExpectedEnergy, mixture: FloatArray) -> ExactCertificate:
    """The energy of the nearest repair of a mixture, from above, and a lower bound on all feasible ones."""
    stored = _rational(np.asarray(mixture, dtype=np.float64))
    p, violation = _repair(stored, _rational(network.lower), _rational(network.upper))
    for half in network.halfspaces:
        row = _rational(half.coefficients)
        violation = max(violation, (_dot(row, p) - Fraction(half.limit)) / max(map(abs, row)))
    energy = Fraction(0)
    shares = p
    if isinstance(network, TransferNetwork):
        shares = [_dot(_rational(column), p) for column in network.transfer.T]
    for task, (share, counted) in enumerate(zip(p, shares, strict=True)):
        energy += Fraction(float(network.target_weights[task])) * _loss_above(network, task, counted)
        if network.tau > 0.0 and share > 0:
            ratio = share / Fraction(float(network.prior[task]))
            energy += Fraction(network.tau) * share * _log_interval(ratio)[1]
    point = np.array([float(share) for share in p])
    bound = min(Fraction(expected_bound(network, point)), energy)
    return ExactCertificate(energy, bound, energy - bound, violation)


def _loss_above(network: ExpectedEnergy, task: int, share: Fraction) -> Fraction:
    """No less than the expected loss of a task with a share of what is left as its own, and by 50 digits no more."""
    curves = network.curves
    exposure = Fraction(float(network.done[task])) + Fraction(network.remaining) * share
    rows = (curves.weights, curves.floors, curves.drops, curves.scales, curves.steepness, curves.powers)
    loss = Fraction(0)
    for terms in zip(*(row[task] for row in rows), strict=True):
        weight, floor, drop, scale, steep, power = (Fraction(float(value)) for value in terms)
        if weight == 0:
            continue
        raised = _power_interval(exposure / scale, steep)[0] if exposure > 0 else Fraction(0)
        loss = _outward(loss, loss + weight * (floor + drop * _power_interval(1 + raised, -power)[1]))[1]
    return loss
