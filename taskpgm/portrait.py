"""A mixture seen from every side: what its page and its figures show, computed once and only where it is asked for.

portrait = Portrait(Mixture.from_json("runs/a/mixture.json"))
portrait.interval                   # (n, 2) error bars, or None where there are none
portrait.order                      # like tasks side by side
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from taskpgm.affinity import ExponentialSimilarity
from taskpgm.arrangement import TaskMap, classical_scaling, clustered_order, kernel_distances
from taskpgm.choice import Path as Trail
from taskpgm.coverage import CoverageNetwork
from taskpgm.energy_shares import Explained, energy_shares
from taskpgm.exact_path import trade_off
from taskpgm.expected_energy import ExpectedEnergy
from taskpgm.forecasting import Forecast, forecast
from taskpgm.inference.critical_line import walk_refusal
from taskpgm.mixture import Mixture
from taskpgm.network import TaskNetwork
from taskpgm.sampled_path import sampled_path
from taskpgm.shadow_prices import prices
from taskpgm.types import FloatArray, InputError, IntArray, Status, readonly

SAMPLED = 24  # points of a path that has to be solved for one by one
MOST_SAMPLED = 300  # tasks up to which that takes seconds
Interval = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, eq=False)
class Portrait:
    """mixture: with its network, and whatever evidence its file holds."""

    mixture: Mixture

    def __post_init__(self) -> None:
        if isinstance(self.mixture.network, ExpectedEnergy):
            raise InputError(
                "a plan for what is left of a run has no page: it rests on training losses, not on experts."
            )
        n = len(self.names)
        try:
            shapes = {
                "uncertainty": None if self.interval is None else self.interval.shape == (n, 2),
                "divergence": None if self.divergence is None else self.divergence.shape == (n, n),
                "divergence_interval": None
                if self.divergence_interval is None
                else all(part.shape == (n, n) for part in self.divergence_interval),
                "findings": all({"task", "kind", "text"} <= set(each) for each in self.findings),
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"damaged details ({type(error).__name__}: {error}); make the mixture again.") from error
        for part, fits in shapes.items():
            if fits is False:
                raise InputError(f"damaged details: {part} does not fit the {n} tasks; make the mixture again.")

    @property
    def names(self) -> tuple[str, ...]:
        return self.network.names

    @property
    def network(self) -> Explained:
        """The energy's network: of pairs, or of learning curves."""
        network = self.mixture.network
        assert not isinstance(network, ExpectedEnergy)
        return network

    @property
    def findings(self) -> tuple[dict[str, str], ...]:
        """What is doubtful of tasks: task, kind and text of each."""
        return tuple(self.mixture.details.get("findings", ()))

    @property
    def coverage(self) -> CoverageNetwork | None:
        """The network, where its energy is coverage."""
        network = self.network
        return network if isinstance(network, CoverageNetwork) else None

    @property
    def pairwise(self) -> TaskNetwork | None:
        """The network, where its energy is pairwise."""
        network = self.network
        return network if isinstance(network, TaskNetwork) else None

    @cached_property
    def weights(self) -> FloatArray:
        """(n,)."""
        return readonly([self.mixture.weights[name] for name in self.names], np.float64)

    @property
    def proved(self) -> bool:
        return self.mixture.status == Status.optimal.name

    # --------------------------------------------------------------------------------------------------- the weights

    @cached_property
    def interval(self) -> FloatArray | None:
        """(n, 2) between which the weights lie with 95 %, given the evidence."""
        told = self.mixture.details.get("uncertainty")
        return None if not told else readonly([told["interval"][name] for name in self.names], np.float64)

    @cached_property
    def undecided(self) -> frozenset[str]:
        """Tasks of which the evidence does not tell whether they should get more than a uniform share."""
        return frozenset((self.mixture.details.get("uncertainty") or {}).get("undecided", ()))

    @cached_property
    def by_size(self) -> FloatArray | None:
        """(n,) weights in proportion to the tasks' training data, in the mixture's unit."""
        if self.mixture.sizes is None:
            return None
        amounts = np.array([getattr(self.mixture.sizes[name], self.mixture.unit) for name in self.names], np.float64)
        return readonly(amounts / amounts.sum(), np.float64)

    # ------------------------------------------------------------------------------------------------------ likeness

    @cached_property
    def divergence(self) -> FloatArray | None:
        """(n, n) between the experts' predictions, where the file has it."""
        return self._square("divergence")

    @cached_property
    def divergence_interval(self) -> Interval | None:
        """((n, n), (n, n)) between which the divergences certainly lie; infinite where nothing bounds one."""
        found = self.mixture.details.get("divergence_interval")
        if found is None:
            return None
        low, high = ([[np.inf if value is None else value for value in row] for row in part] for part in found)
        return readonly(low, np.float64), readonly(high, np.float64)

    @cached_property
    def similarity(self) -> tuple[str, FloatArray] | None:
        """What it is, and (n, n) how alike the tasks are: the network's, or what the divergences make by default."""
        if self.pairwise is not None:
            return f"similarity, {self.mixture.details.get('similarity', 'as supplied')}", self.pairwise.similarity
        if self.divergence is None:
            return None
        rule = ExponentialSimilarity()
        return f"similarity, exp(-{rule.kappa:g} J)", rule.of(self.divergence)

    @cached_property
    def distances(self) -> tuple[str, FloatArray]:
        """What they are, and (n, n) distances between tasks: roots of divergences, or what there is in their place."""
        if self.divergence is not None:
            return "the square root of the divergence between experts", np.sqrt(np.maximum(self.divergence, 0.0))
        network = self.network
        if isinstance(network, TaskNetwork):
            return "distances that the similarities imply", kernel_distances(network.similarity)
        apart = 1.0 - np.clip(np.maximum(network.transfer, network.transfer.T), 0.0, 1.0)
        return "1 less the larger transfer", apart * (1.0 - np.eye(len(network)))

    @cached_property
    def order(self) -> IntArray:
        """(n,) places that put like tasks side by side."""
        return clustered_order(self.distances[1])

    @cached_property
    def task_map(self) -> TaskMap:
        return classical_scaling(self.distances[1])

    @cached_property
    def couplings(self) -> tuple[str, FloatArray]:
        """What they are, and (n, n) the couplings that the energy sees: transfer, or similarity."""
        network = self.network
        if isinstance(network, CoverageNetwork):
            return "transfer", network.transfer
        return "similarity", network.similarity

    # ---------------------------------------------------------------------------------------------------- the energy

    @cached_property
    def utility_shares(self) -> FloatArray:
        """(n,) -beta u_i p_i; 0 in a coverage energy."""
        return readonly([utility for utility, *_ in self._shares], np.float64)

    @cached_property
    def pair_shares(self) -> FloatArray:
        """(n, n) redundancy of task i with j, or what examples of i take off j's part of the mean loss (positive)."""
        rows = [
            [-value for value in coverage.values()] if coverage else list(redundancy.values())
            for _, redundancy, coverage in self._shares
        ]
        return readonly(rows, np.float64)

    @cached_property
    def _shares(self) -> list[tuple[float, dict[str, float], dict[str, float]]]:
        return [energy_shares(self.network, self.weights, i) for i in range(len(self.names))]

    @cached_property
    def binding(self) -> tuple[tuple[str, float, str], ...] | None:
        """(constraint, saving, in words) of each that binds, dearest first; None where nothing is proved.

        saving: what the change that the words speak of lowers the energy by, at first.
        """
        stored = self.mixture.details.get("constraints")
        if stored:
            rows = stored["binding"]
            return tuple((row["constraint"], row["price"] * row["step"], row["text"]) for row in rows)
        network = self.network
        if not self.proved or network.concavity > 0.0:
            return None
        return tuple((each.constraint, each.saving, str(each)) for each in prices(network, self.weights).binding)

    # --------------------------------------------------------------------------------------- forecasts, and the path

    @cached_property
    def forecast(self) -> Forecast | None:
        """Of the mixture, by a coverage energy's learning curves."""
        return None if self.coverage is None else forecast(self.coverage, self.weights)

    @cached_property
    def uniform_forecast(self) -> Forecast | None:
        """Of the uniform mixture."""
        n = len(self.names)
        return None if self.coverage is None else forecast(self.coverage, np.full(n, 1.0 / n))

    @cached_property
    def path(self) -> Trail | str:
        """All trade-offs of a pairwise energy; in words why there are none."""
        network = self.pairwise
        if network is None:
            return "A coverage energy has no trade-off to choose: its learning curves say what diversity is worth."
        if network.lam == 0.0 or float(np.ptp(network.utility)) == 0.0:
            return "Nothing is traded off: the utilities are all equal, or the energy has no redundancy term."
        try:
            if walk_refusal(network) is None:
                return trade_off(network)
            if len(network) > MOST_SAMPLED:
                return "This energy has no exact path, and one of so many tasks takes too long to sample for a page."
            return sampled_path(network, SAMPLED)
        except InputError as error:
            return f"No path is drawn: {str(error).removeprefix('no path: ')}"

    def _square(self, key: str) -> FloatArray | None:
        found = self.mixture.details.get(key)
        return None if found is None else readonly(found, np.float64)
