"""The numba kernels of Gibbs sampling: one sweep over all nodes, and chains of sweeps that count, cool or weigh.

Without a budget every node in its turn is drawn from its distribution given all others. With a budget a random
matching pairs the nodes up, and each pair is drawn from its joint distribution given all others and the sum of its two
levels; a node left over is drawn among the states of its own level. In either case a sweep visits every node once, so
that the conditional distributions met in one sweep have expected levels that add up to the budget, like the states.

`unary` and `tables` say how many times the energies of nodes and of pairs count: 1 and 1, 1 / T and 1 / T at another
temperature, 1 and less than 1 between the nodes alone and the network.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from taskpgm.inference.kernels import Layout, fill, find_slot, inlined, jit, list_pairs, node_change, pair_change, turn
from taskpgm.types import FloatArray, IntArray


class Tally(NamedTuple):
    """What a sweep writes down. chances: (n, D) each node's conditional distribution when it was drawn.

    pairs: for each slot, where its table is in `values`, the sum of the conditional distributions of the slot's own
    node, in the row of the neighbour's state; empty where nobody wants it. weights: (D,) or (D^2,), room for a
    distribution. turns: (n,) the order of the nodes.
    """

    chances: FloatArray
    pairs: FloatArray
    weights: FloatArray
    turns: IntArray


def new_tally(layout: Layout, pairs: FloatArray) -> Tally:
    """An empty tally around an array for the pairs."""
    n, widest = layout.unary.shape
    room = widest * widest if layout.budgeted else widest
    return Tally(np.zeros((n, widest)), pairs, np.zeros(room), np.arange(n))


# ------------------------------------------------------------------------------------------------------ conditionals


@inlined
def node_weights(layout: Any, search: Any, i: int, unary: float, tables: float, weights: Any) -> None:
    """(d_i,) the conditional distribution of node i given all others, and given its level where there is a budget."""
    count, least = layout.states[i], np.inf
    level = layout.levels[i, search.states[i]]
    for a in range(count):
        weights[a] = np.inf
        if not layout.budgeted or layout.levels[i, a] == level:
            weights[a] = unary * layout.unary[i, a] + tables * search.field[i, a]
            least = min(least, weights[a])
    _normalise(weights, count, least)


@inlined
def pair_weights(layout: Any, search: Any, i: int, j: int, slot: int, unary: float, tables: float, weights: Any) -> int:
    """The conditional distribution of (i, j) given all others and the sum of their levels; returns its length.

    The pairs of states are search.first and search.second.
    """
    count, least = list_pairs(layout, search, i, j), np.inf
    for k in range(count):
        weights[k] = pair_change(layout, search, i, j, slot, search.first[k], search.second[k], unary, tables)
        least = min(least, weights[k])
    _normalise(weights, count, least)
    return count


@inlined
def _normalise(weights: Any, count: int, least: float) -> None:
    """Energies to probabilities."""
    total = 0.0
    for k in range(count):
        weights[k] = np.exp(least - weights[k])
        total += weights[k]
    for k in range(count):
        weights[k] /= total


@inlined
def draw(weights: Any, count: int, random: Any) -> int:
    """An index, by the probabilities; never one of probability 0."""
    left, last = random.random(), 0
    for k in range(count):
        if weights[k] > 0.0:
            last = k
            left -= weights[k]
            if left < 0.0:
                break
    return last


# ------------------------------------------------------------------------------------------------------------- sweeps


@jit
def sweep(layout: Any, search: Any, tally: Any, unary: float, tables: float, random: Any) -> float:
    """Draw every node once; returns by how much the energy (node and pair energies once each) changed."""
    n, change = len(search.states), 0.0
    alone = n % 2 if layout.budgeted else n
    if layout.budgeted:
        for k in range(n - 1, 0, -1):
            other = int(random.random() * (k + 1))
            tally.turns[k], tally.turns[other] = tally.turns[other], tally.turns[k]
    for k in range(alone):
        change += _draw_node(layout, search, tally, tally.turns[k], unary, tables, random)
    for k in range(alone, n, 2):
        change += _draw_pair(layout, search, tally, tally.turns[k], tally.turns[k + 1], unary, tables, random)
    return change


@inlined
def _draw_node(layout: Any, search: Any, tally: Any, i: int, unary: float, tables: float, random: Any) -> float:
    node_weights(layout, search, i, unary, tables, tally.weights)
    count = layout.states[i]
    tally.chances[i, :count] = tally.weights[:count]
    _tally_slots(layout, search, tally, i, i)
    state = draw(tally.weights, count, random)
    change = node_change(layout, search, i, state, 1.0, 1.0)
    turn(layout, search, i, state)
    return change


@inlined
def _draw_pair(layout: Any, search: Any, tally: Any, i: int, j: int, unary: float, tables: float, random: Any) -> float:
    slot = find_slot(layout, i, j)
    count = pair_weights(layout, search, i, j, slot, unary, tables, tally.weights)
    tally.chances[i] = 0.0
    tally.chances[j] = 0.0
    for k in range(count):
        tally.chances[i, search.first[k]] += tally.weights[k]
        tally.chances[j, search.second[k]] += tally.weights[k]
    _tally_slots(layout, search, tally, i, j)
    _tally_slots(layout, search, tally, j, i)
    if slot >= 0 and len(tally.pairs):
        back = find_slot(layout, j, i)
        for k in range(count):
            a, b = search.first[k], search.second[k]
            tally.pairs[layout.offsets[slot] + b * layout.states[i] + a] += tally.weights[k]
            tally.pairs[layout.offsets[back] + a * layout.states[j] + b] += tally.weights[k]
    chosen = draw(tally.weights, count, random)
    a, b = search.first[chosen], search.second[chosen]
    change = pair_change(layout, search, i, j, slot, a, b, 1.0, 1.0)
    turn(layout, search, i, a)
    turn(layout, search, j, b)
    return change


@inlined
def _tally_slots(layout: Any, search: Any, tally: Any, i: int, partner: int) -> None:
    """Node i's conditional distribution, to all its slots but that of the partner drawn with it."""
    if len(tally.pairs) == 0:
        return
    for e in range(layout.slots[i], layout.slots[i + 1]):
        j = layout.neighbours[e]
        if j != partner:
            row = layout.offsets[e] + search.states[j] * layout.states[i]
            for a in range(layout.states[i]):
                tally.pairs[row + a] += tally.chances[i, a]


# ------------------------------------------------------------------------------------------------------------- chains


@jit
def sample(layout: Any, search: Any, tally: Any, sweeps: int, random: Any, sums: Any, squares: Any) -> None:
    """Sweeps at temperature 1, which add each node's conditional distributions and their squares up, (n, D) each."""
    fill(layout, search)
    for _ in range(sweeps):
        sweep(layout, search, tally, 1.0, 1.0, random)
        for i in range(len(search.states)):
            for a in range(layout.states[i]):
                sums[i, a] += tally.chances[i, a]
                squares[i, a] += tally.chances[i, a] ** 2


@jit
def cool(
    layout: Any, search: Any, tally: Any, temperatures: Any, energy: float, least: float, best: Any, random: Any
) -> Any:
    """A sweep at each temperature; returns (energy, least energy so far), and has its states in `best`, (n,)."""
    fill(layout, search)
    for temperature in temperatures:
        energy += sweep(layout, search, tally, 1.0 / temperature, 1.0 / temperature, random)
        if energy < least:
            least = energy
            best[:] = search.states
    return energy, least


@jit
def weigh(layout: Any, search: Any, tally: Any, tables: Any, random: Any) -> float:
    """The log weight of one run of annealed importance sampling, from tables[0] of the pairs' energies to tables[-1].

    At each step the pairs' energy is charged for the difference, then a sweep is made at the new weight of the pairs.
    """
    fill(layout, search)
    weight = 0.0
    for k in range(len(tables) - 1):
        energy = 0.0
        for i in range(len(search.states)):
            energy += 0.5 * search.field[i, search.states[i]]
        weight -= (tables[k + 1] - tables[k]) * energy
        sweep(layout, search, tally, 1.0, tables[k + 1], random)
    return weight
