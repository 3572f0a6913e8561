"""Networks over mixtures as plain JSON values, for the files that prove a mixture again.

network_from_dict(network_as_dict(network))     # the same energy over the same mixtures
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from taskpgm.constraints import as_dict, from_dict
from taskpgm.coverage import CoverageNetwork
from taskpgm.envelope_curves import EnvelopeCurves
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.interplay import Interplay
from taskpgm.learning_curves import LearningCurves
from taskpgm.network import TaskNetwork
from taskpgm.separable import SeparableNetwork
from taskpgm.transfer_network import TransferNetwork

Mixed: TypeAlias = TaskNetwork | CoverageNetwork | SeparableNetwork | TransferNetwork


def network_as_dict(network: Mixed) -> dict[str, Any]:
    """Everything that determines the energy, the feasible set and forecasts."""
    common = {
        "names": list(network.names),
        "tau": network.tau,
        "prior": network.prior.tolist(),
        "lower": network.lower.tolist(),
        "upper": network.upper.tolist(),
        "constraints": [as_dict(constraint) for constraint in network.constraints],
    }
    if isinstance(network, CoverageNetwork):
        return common | {
            "kind": "coverage",
            "curves": network.curves.as_dict(),
            "transfer": network.transfer.tolist(),
            "budget": network.budget,
            "forgetting": network.forgetting.tolist(),
            "target_weights": network.target_weights.tolist(),
            "lengths": network.lengths.tolist(),
            "interplay": None if network.interplay is None else network.interplay.as_dict(),
        }
    if isinstance(network, SeparableNetwork | TransferNetwork):
        graph = {"transfer": network.transfer.tolist()} if isinstance(network, TransferNetwork) else {}
        return (
            common
            | graph
            | {
                "kind": "transfer" if graph else "separable",
                "curves": network.curves.as_dict(),
                "done": network.done.tolist(),
                "remaining": network.remaining,
                "target_weights": network.target_weights.tolist(),
            }
        )
    return common | {
        "kind": "pairwise",
        "utility": network.utility.tolist(),
        "similarity": network.similarity.tolist(),
        "beta": network.beta,
        "lam": network.lam,
    }


def network_from_dict(values: Mapping[str, Any]) -> Mixed:
    """What `network_as_dict` wrote.

    Raises:
        KeyError, TypeError, ValueError: it did not. InputError: its parts do not fit together.
    """
    stored = dict(values)
    kind, names = stored.pop("kind"), stored.pop("names")
    stored["constraints"] = tuple(from_dict(each) for each in stored["constraints"])
    if kind == "coverage":
        shapes = stored.pop("curves")
        curves = (EnvelopeCurves if "exposures" in shapes else LearningCurves).from_dict(names, shapes)
        told = stored.pop("interplay", None)  # older files have none
        stored["interplay"] = None if told is None else Interplay.from_dict(told)
        return CoverageNetwork(curves, stored.pop("transfer"), stored.pop("budget"), **stored)
    if kind in ("separable", "transfer"):
        expected = ExpectedCurves.from_dict(names, stored.pop("curves"))
        made = SeparableNetwork if kind == "separable" else TransferNetwork
        return made(expected, stored.pop("done"), stored.pop("remaining"), **stored)
    if kind == "pairwise":
        return TaskNetwork(stored.pop("utility"), stored.pop("similarity"), names, **stored)
    raise ValueError(f"unknown kind of network {kind!r}")
