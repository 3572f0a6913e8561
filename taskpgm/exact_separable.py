"""The certificate of a separable energy: the energy in rational numbers, and a bound that allows for all rounding.

The energy of a mixture is enclosed by 60-digit decimals, as for the other energies. Its bound is a minimum over
thousands of cells (see `taskpgm.envelope_bound`), each right to a few dozen units in the last place of float64; what is
subtracted for that is a thousand times as much (`SeparableNetwork.rounding`).

    exact_certificate(separable_network, mixture)
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from taskpgm.envelope_bound import envelope_bound
from taskpgm.exact import ExactCertificate, _dot, _log_interval, _outward, _power_interval, _rational, _repair
from taskpgm.separable import SeparableNetwork
from taskpgm.types import FloatArray


def separable_certificate(network: SeparableNetwork, mixture: FloatArray) -> ExactCertificate:
    """The energy of the nearest repair of a mixture, from above, and a lower bound on all feasible ones."""
    stored = _rational(np.asarray(mixture, dtype=np.float64))
    p, violation = _repair(stored, _rational(network.lower), _rational(network.upper))
    for half in network.halfspaces:
        row = _rational(half.coefficients)
        violation = max(violation, (_dot(row, p) - Fraction(half.limit)) / max(map(abs, row)))
    energy = Fraction(0)
    for task, share in enumerate(p):
        energy += Fraction(float(network.target_weights[task])) * _loss_above(network, task, share)
        if network.tau > 0.0 and share > 0:
            ratio = share / Fraction(float(network.prior[task]))
            energy += Fraction(network.tau) * share * _log_interval(ratio)[1]
    bound = Fraction(envelope_bound(network, np.array([float(share) for share in p])))
    bound = min(bound, energy)
    return ExactCertificate(energy, bound, energy - bound, violation)


def _loss_above(network: SeparableNetwork, task: int, share: Fraction) -> Fraction:
    """No less than the expected loss of a task that is given a share of what is left, and by 50 digits no more."""
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
