"""Task networks as pgmpy models. The only module that imports pgmpy, whose import takes seconds.

For example:

    model = to_pgmpy(network.levels(quanta=4))
    model.nodes                                     # the task names
    model.states["copy"]                            # the levels that the task may take, here 0..4
"""

from __future__ import annotations

import numpy as np
from pgmpy.factors.discrete import DiscreteFactor
from pgmpy.models import DiscreteMarkovNetwork

from taskpgm.levels import LevelsNetwork
from taskpgm.types import FloatArray


def to_pgmpy(levels: LevelsNetwork, log_range: float = 600.0) -> DiscreteMarkovNetwork:
    """A pgmpy Markov network over the tasks whose most probable state minimises the energy within the budget.

    The budget enters as rho (sum x - quanta)^2, spread over the same node and pair factors; one factor per scope; all
    logarithms are shifted to maximum 0 and scaled so that their total range stays within `log_range`: beyond about 600
    pgmpy's float64 products underflow, and scaling does not move the MAP. State names are the levels.
    """
    nodes, pairs = penalised_energies(levels)
    span = sum(float(np.ptp(table)) for table in (*nodes, *pairs.values()))
    scale = log_range / span if span > 0.0 else 1.0
    states = [list(range(low, high + 1)) for low, high in zip(levels.minimum, levels.maximum, strict=True)]
    names = levels.names
    model = DiscreteMarkovNetwork()
    model.add_nodes_from(names)
    model.add_edges_from([(names[i], names[j]) for i, j in pairs])
    for i, table in enumerate(nodes):
        model.add_factors(_factor([i], table, names, states, scale))
    for (i, j), table in pairs.items():
        model.add_factors(_factor([i, j], table, names, states, scale))
    return model


def penalised_energies(levels: LevelsNetwork) -> tuple[list[FloatArray], dict[tuple[int, int], FloatArray]]:
    """Node and pair energies over the box of levels, the budget folded in as rho (sum x - quanta)^2.

    rho (sum x - K)^2 = rho K^2 + sum_i rho (x_i^2 - 2 K x_i) + sum_{i<j} 2 rho x_i x_j; the constant is left out.
    """
    rho = levels.budget_weight
    values = [np.arange(low, high + 1.0) for low, high in zip(levels.minimum, levels.maximum, strict=True)]
    nodes = [
        node + rho * (x * x - 2.0 * levels.quanta * x) for node, x in zip(levels.node_energies, values, strict=True)
    ]
    pairs = {
        (i, j): (levels.coupling[i, j] + 2.0 * rho) * np.outer(values[i], values[j])
        for i in range(len(levels))
        for j in range(i + 1, len(levels))
    }
    return nodes, pairs


def _factor(
    scope: list[int], table: FloatArray, names: tuple[str, ...], states: list[list[int]], scale: float
) -> DiscreteFactor:
    return DiscreteFactor(
        [names[i] for i in scope],
        list(table.shape),
        np.exp(-scale * (table - table.min())),
        state_names={names[i]: states[i] for i in scope},
    )
