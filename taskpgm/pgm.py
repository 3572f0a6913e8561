"""Task networks as pgmpy models, and pgmpy models as networks. The only module that imports pgmpy: that takes seconds.

For example:

    problem = network.levels(quanta=4).pairwise
    model = to_pgmpy(problem)
    model.nodes                                     # the task names
    model.states["copy"]                            # the levels that the task may take, here 0..4
    map_by_elimination(problem)                     # the most probable states
    from_pgmpy(model)                               # -log of every factor, as a network
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any

import numpy as np
from pgmpy.factors.discrete import DiscreteFactor
from pgmpy.models import DiscreteMarkovNetwork, FactorGraph

from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError, IntArray

LOG_RANGE = 600.0
MPLP_RANGE = 1000.0  # its thresholds are 0.0002, whatever the unit of the energies
CALIBRATED = 1e-10


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


def from_pgmpy(model: DiscreteMarkovNetwork | FactorGraph) -> PairwiseNetwork:
    """A pgmpy model with factors over at most two nodes as a network: energies are -log of its factors.

    Zeros become infinite energies; all factors over the same nodes count, equal ones too. Names of nodes become texts.
    Names of states become the levels if they are whole numbers; a node whose states are called otherwise has the levels
    0, 1, 2, ... in the order of its first factor. exp(-energy) is what the model's factors multiply to, so log Z is the
    model's own. What `to_pgmpy` made comes back with its energies scaled and shifted, and a budget among them.

    Raises:
        InputError: another kind of model, a factor over three or more nodes, a node without factors, factors that do
            not agree on a node's states, or an entry that is negative or not finite.
    """
    if not isinstance(model, DiscreteMarkovNetwork | FactorGraph):
        kind = type(model).__name__
        raise InputError(f"a {kind}: give a DiscreteMarkovNetwork or FactorGraph, such as model.to_markov_model().")
    factors = list(model.get_factors())
    nodes = [node for node in model.nodes if not isinstance(node, DiscreteFactor)]
    states: dict[Any, list[Any]] = {}
    for factor in factors:
        for node in factor.variables:
            states.setdefault(node, list(factor.state_names[node]))
    missing = [str(node) for node in nodes if node not in states]
    if missing:
        raise InputError(f"node {missing[0]!r} has no factor, so its states are not known: add one.")
    place = {node: i for i, node in enumerate(nodes)}
    return PairwiseNetwork.from_factors(
        [len(states[node]) for node in nodes],
        [([place[node] for node in factor.variables], _energies(factor, states)) for factor in factors],
        names=[str(node) for node in nodes],
        levels=[_levels(states[node]) for node in nodes],
    )


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


def map_by_mplp(network: PairwiseNetwork) -> tuple[IntArray, dict[str, float]]:
    """((n,) the states that pgmpy's Mplp returns, what it claims of their energy and of a lower bound).

    Mplp adds factor values and maximises. So it gets (largest energy - energy) of every factor, scaled since its
    thresholds are absolute, and 1 on top, since it keeps only points that are better than 0.
    """
    scale = _scale(network, MPLP_RANGE)
    first, *rest = (scale * (table.max() - table) for table in (*network.unary, *network.tables))
    mplp = _inference().Mplp(_numbered(network, [first + 1.0, *rest]))
    found = mplp.map_query()
    largest = network.constant + sum(float(table.max()) for table in (*network.unary, *network.tables))
    claims = {"claimed_energy": float(mplp.best_int_objective), "claimed_bound": float(mplp.dual_lp)}
    states = np.array([found[i] for i in range(len(network))], dtype=np.int64)
    return states, {name: largest - (value - 1.0) / scale for name, value in claims.items()}


def junction_tree_beliefs(
    network: PairwiseNetwork, cliques: Iterable[tuple[int, ...]]
) -> tuple[dict[tuple[int, ...], FloatArray], float] | None:
    """(for each clique of pgmpy's junction tree its marginals, log Z), or None where pgmpy did not calibrate the tree.

    cliques: of an elimination of the nodes; pgmpy's own triangulation makes larger ones.

    pgmpy takes beliefs for equal that differ by 1e-8. Where factors are scaled to maximum 1 all beliefs soon are less
    than that, it stops early, and marginals are wrong by tenths. So here no entry is less than 1, and that the beliefs
    agree is checked.
    """
    tops = [float(table.max(initial=-np.inf, where=np.isfinite(table))) for table in (*network.unary, *network.tables)]
    tops = [top if np.isfinite(top) else 0.0 for top in tops]
    tables = [np.exp(top - table) for top, table in zip(tops, (*network.unary, *network.tables), strict=True)]
    model = _numbered(network, tables)
    model.add_edges_from([(clique[a], b) for clique in cliques for a in range(len(clique)) for b in clique[a + 1 :]])
    propagation = _inference().BeliefPropagation(model)
    propagation.calibrate()
    beliefs = propagation.get_clique_beliefs()
    for one, other in propagation.junction_tree.edges():
        shared = sorted(set(one) & set(other))
        mine, theirs = (margin(tuple(beliefs[c].variables), beliefs[c].values, shared) for c in (one, other))
        if not np.allclose(mine, theirs, rtol=CALIBRATED, atol=0.0):
            return None
    values = {tuple(belief.variables): belief.values for belief in beliefs.values()}
    total = float(next(iter(values.values())).sum())
    if total == 0.0:
        return values, -np.inf
    return {clique: table / total for clique, table in values.items()}, float(np.log(total)) - sum(tops)


def gibbs_sweeps(network: PairwiseNetwork, starts: IntArray, seed: int) -> Iterator[Iterator[list[int]]]:
    """For each of the (c, n) starts an endless chain of states, one a sweep, by pgmpy's GibbsSampling.

    pgmpy draws from numpy's global generator; each chain seeds it at its beginning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from pgmpy.sampling import GibbsSampling
    tables = [np.exp(table.min() - table) for table in (*network.unary, *network.tables)]
    sampler = GibbsSampling(_numbered(network, tables))
    for start, chain_seed in zip(starts, np.random.SeedSequence(seed).generate_state(len(starts)), strict=True):
        yield _chain(sampler, start, int(chain_seed))


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


def margin(clique: tuple[int, ...], values: FloatArray, keep: list[int]) -> FloatArray:
    """A table over the nodes of a clique summed down to those in `keep`, in their order."""
    summed = values.sum(axis=tuple(axis for axis, node in enumerate(clique) if node not in keep))
    left = [node for node in clique if node in keep]
    return np.transpose(summed, [left.index(node) for node in keep])


def _energies(factor: DiscreteFactor, states: dict[Any, list[Any]]) -> FloatArray:
    """-log of a factor's entries, its states in the given order."""
    label = " and ".join(repr(str(node)) for node in factor.variables)
    if len(factor.variables) > 2:
        raise InputError(f"the factor of {label}: only factors over one or two nodes can be used.")
    values = np.asarray(factor.values, dtype=np.float64)
    if not np.isfinite(values).all() or values.min() < 0.0 or values.max() == 0.0:
        raise InputError(f"the factor of {label}: its entries must be numbers from 0, and not all 0.")
    for axis, node in enumerate(factor.variables):
        order = list(factor.state_names[node])
        if len(order) != len(states[node]) or set(order) != set(states[node]):
            raise InputError(f"{str(node)!r} has the states {order} in one factor, {states[node]} in another.")
        values = np.take(values, [order.index(state) for state in states[node]], axis=axis)
    with np.errstate(divide="ignore"):
        return -np.log(values)


def _levels(names: list[Any]) -> list[int]:
    whole = all(isinstance(name, Integral) and not isinstance(name, bool) for name in names)
    return [int(name) for name in names] if whole else list(range(len(names)))


def _numbered(network: PairwiseNetwork, tables: list[FloatArray]) -> DiscreteMarkovNetwork:
    """A model with tables for the nodes, then the edges. Nodes are numbers: sets of texts differ between processes."""
    model = DiscreteMarkovNetwork()
    model.add_nodes_from(range(len(network)))
    model.add_edges_from(network.edges.tolist())
    scopes = [*([i] for i in range(len(network))), *network.edges.tolist()]
    model.add_factors(*(DiscreteFactor(scope, table.shape, table) for scope, table in zip(scopes, tables, strict=True)))
    return model


def _chain(sampler: Any, start: IntArray, seed: int) -> Iterator[list[int]]:
    own = copy.copy(sampler)
    begun = [(node, int(state)) for node, state in enumerate(start)]
    for states in own.generate_sample(start_state=begun, size=2**62, seed=seed):
        yield [int(state) for _, state in states]


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
