"""Task networks as pgmpy models. The only module that imports pgmpy, whose import takes seconds.

For example:

    problem = network.levels(quanta=4).pairwise
    model = to_pgmpy(problem)
    model.nodes                                     # the task names
    model.states["copy"]                            # the levels that the task may take, here 0..4
    map_by_elimination(problem)                     # the most probable states
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from pgmpy.factors.discrete import DiscreteFactor
from pgmpy.models import DiscreteMarkovNetwork

from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray

LOG_RANGE = 600.0


def to_pgmpy(network: PairwiseNetwork, log_range: float = LOG_RANGE) -> DiscreteMarkovNetwork:
    """A pgmpy Markov network whose most probable state minimises the energy, within the budget if there is one.

    A budget enters as rho (sum of levels - budget)^2, spread over node and pair factors; one factor per scope; all
    logarithms are shifted to maximum 0 and scaled so that their total range stays within `log_range`: beyond about 600
    pgmpy's float64 products underflow, and scaling does not move the MAP. State names are the levels, or the states'
    numbers where two states of a node have the same level.
    """
    folded = network.finite().folded()
    scale = _scale(folded, log_range)
    states = [_state_names(levels.tolist()) for levels in folded.levels]
    names = folded.names
    model = DiscreteMarkovNetwork()
    model.add_nodes_from(names)
    model.add_edges_from([(names[i], names[j]) for i, j in folded.edges])
    for i, values in enumerate(folded.unary):
        model.add_factors(_factor([i], values, names, states, scale))
    for (i, j), table in zip(folded.edges.tolist(), folded.tables, strict=True):
        model.add_factors(_factor([i, j], table, names, states, scale))
    return model


def map_by_elimination(network: PairwiseNetwork) -> IntArray:
    """(n,) the most probable states, by pgmpy's VariableElimination on the joint table of all nodes.

    `query` and an argmax give the same as `map_query`, several times faster.
    """
    elimination = _inference().VariableElimination(to_pgmpy(network))
    return _most_probable(elimination.query(variables=list(network.names), show_progress=False), network)


def map_by_junction_tree(network: PairwiseNetwork) -> IntArray:
    """(n,) the most probable states, by pgmpy's BeliefPropagation: a calibrated junction tree, no loopy messages."""
    propagation = _inference().BeliefPropagation(to_pgmpy(network))
    return _most_probable(propagation.query(variables=list(network.names), show_progress=False), network)


def map_resolution(network: PairwiseNetwork, log_range: float = LOG_RANGE) -> float:
    """By how much the most probable state's energy may exceed the least: what rounding can hide from an argmax.

    With F factors of total range R, scaled by log_range / R, a joint probability is exp of the scaled energy times
    1 + e, and e sums over factors what is lost in a table's entries (8 roundings of the largest, scaled), in their
    scaling (3 roundings of the exponent, at most log_range in all), in exp, and in the products (4 F roundings).
    Divided by the scale this is an energy; two states differ by at most twice that, and 16 exceeds 2 x 8, 2 x 3 and
    2 x 4. Sums never enter: the joint table of all nodes is asked for.
    """
    folded = network.finite().folded()
    tables = (*folded.unary, *folded.tables)
    largest = sum(float(np.abs(table).max()) for table in tables)
    span = sum(float(np.ptp(table)) for table in tables)
    return float(16.0 * np.finfo(np.float64).eps * (largest + span * (1.0 + len(tables) / log_range)))


def _scale(folded: PairwiseNetwork, log_range: float) -> float:
    span = sum(float(np.ptp(table)) for table in (*folded.unary, *folded.tables))
    return log_range / span if span > 0.0 else 1.0


def _state_names(levels: list[int]) -> list[int]:
    return levels if len(set(levels)) == len(levels) else list(range(len(levels)))


def _inference() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pgmpy's own: it imports modules that it has deprecated itself
        import pgmpy.inference
    return pgmpy.inference


def _most_probable(joint: Any, network: PairwiseNetwork) -> IntArray:
    """Decode the largest entry of a joint table by the names of its states."""
    places = np.unravel_index(int(np.argmax(joint.values)), joint.values.shape)
    found = {name: joint.state_names[name][place] for name, place in zip(joint.variables, places, strict=True)}
    states = [
        _state_names(levels.tolist()).index(found[name])
        for name, levels in zip(network.names, network.levels, strict=True)
    ]
    return np.array(states, dtype=np.int64)


def _factor(
    scope: list[int], table: FloatArray, names: tuple[str, ...], states: list[list[int]], scale: float
) -> DiscreteFactor:
    return DiscreteFactor(
        [names[i] for i in scope],
        list(table.shape),
        np.exp(-scale * (table - table.min())),
        state_names={names[i]: states[i] for i in scope},
    )
