"""The lower bound on any expected losses over all mixtures: of envelopes, by itself or through a transfer graph.

expected_bound(network, mixture)
"""

from __future__ import annotations

from taskpgm.envelope_bound import envelope_bound
from taskpgm.expected_energy import ExpectedEnergy
from taskpgm.separable import SeparableNetwork
from taskpgm.transfer_bound import transfer_bound
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray


def expected_bound(network: ExpectedEnergy, mixture: FloatArray) -> float:
    """A number that no feasible mixture's energy is below; best near a good (n,) mixture."""
    if isinstance(network, SeparableNetwork):
        return envelope_bound(network, mixture)
    assert isinstance(network, TransferNetwork), f"no bound is known for a {type(network).__name__}"
    return transfer_bound(network, mixture)
