"""Task networks as pgmpy models. The only module that imports pgmpy, whose import takes seconds.

For example:

    model = to_pgmpy(network.levels(quanta=4))
    model.nodes                                     # the task names
    model.states["copy"]                            # the levels that the task may take, here 0..4
    map_by_elimination(network.levels(quanta=4))    # the most probable levels
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from pgmpy.factors.discrete import DiscreteFactor
from pgmpy.models import DiscreteMarkovNetwork

from taskpgm.levels import LevelsNetwork
from taskpgm.types import FloatArray, IntArray

LOG_RANGE = 600.0


def to_pgmpy(levels: LevelsNetwork, log_range: float = LOG_RANGE) -> DiscreteMarkovNetwork:
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


def map_by_elimination(levels: LevelsNetwork) -> IntArray:
    """(n,) the most probable levels, by pgmpy's VariableElimination on the joint table of all tasks.

    `query` and an argmax give the same as `map_query`, several times faster.
    """
    elimination = _inference().VariableElimination(to_pgmpy(levels))
    return _most_probable(elimination.query(variables=list(levels.names), show_progress=False), levels.names)


def map_by_junction_tree(levels: LevelsNetwork) -> IntArray:
    """(n,) the most probable levels, by pgmpy's BeliefPropagation: a calibrated junction tree, no loopy messages."""
    propagation = _inference().BeliefPropagation(to_pgmpy(levels))
    return _most_probable(propagation.query(variables=list(levels.names), show_progress=False), levels.names)


def map_resolution(levels: LevelsNetwork, log_range: float = LOG_RANGE) -> float:
    """By how much the most probable state's energy may exceed the least: what rounding can hide from an argmax.

    With F factors of total range R, scaled by log_range / R, a joint probability is exp of the scaled energy times
    1 + e, and e sums over factors what is lost in a table's entries (8 roundings of the largest, scaled), in their
    scaling (3 roundings of the exponent, at most log_range in all), in exp, and in the products (4 F roundings).
    Divided by the scale this is an energy; two states differ by at most twice that, and 16 exceeds 2 x 8, 2 x 3 and
    2 x 4. Sums never enter: the network is one clique.
    """
    nodes, pairs = penalised_energies(levels)
    tables = (*nodes, *pairs.values())
    largest = sum(float(np.abs(table).max()) for table in tables)
    span = sum(float(np.ptp(table)) for table in tables)
    return float(16.0 * np.finfo(np.float64).eps * (largest + span * (1.0 + len(tables) / log_range)))


def _inference() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pgmpy's own: it imports modules that it has deprecated itself
        import pgmpy.inference
    return pgmpy.inference


def _most_probable(joint: Any, names: tuple[str, ...]) -> IntArray:
    """Decode the largest entry of a joint table by the names of its states, which are the levels."""
    places = np.unravel_index(int(np.argmax(joint.values)), joint.values.shape)
    found = {name: joint.state_names[name][place] for name, place in zip(joint.variables, places, strict=True)}
    return np.array([found[name] for name in names], dtype=np.int64)


def _factor(
    scope: list[int], table: FloatArray, names: tuple[str, ...], states: list[list[int]], scale: float
) -> DiscreteFactor:
    return DiscreteFactor(
        [names[i] for i in scope],
        list(table.shape),
        np.exp(-scale * (table - table.min())),
        state_names={names[i]: states[i] for i in scope},
    )
