"""The numba kernels of local search, and a network laid out for them. Imported on first use, since numba takes time.

Any pairwise network becomes flat arrays (`lay_out`). A search keeps for each node i its field: field[i, a] is what all
neighbours, as they are, add to the energy of its state a. When a node goes from one state to another, its neighbours'
fields change by the difference of two rows of their tables, and nothing is summed anew. With a budget, an exchange
takes two nodes to states whose levels have the same sum as before.

    layout = lay_out(problem)
    search = begin(layout, states)
    while settle(layout, search, least_gain(layout)):       # one turn of every node, until none changes
        pass
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray

jit = numba.njit(cache=True, error_model="numpy")
inlined = numba.njit(cache=True, error_model="numpy", inline="always")  # small: a call would cost as much again


class Layout(NamedTuple):
    """A network of finite energies as flat arrays. D is the most states of a node.

    unary: (n, D), 0 beyond a node's states. states: (n,) how many there are. slots: (n + 1,) slots[i] to
    slots[i + 1] - 1 belong to node i, one for each neighbour. neighbours: (2m,) of each slot, rising within a node.
    offsets: (2m,) where the slot's table starts in `values`, row by row, rows being the states of the slot's own node.
    levels: (n, D). order: (n, D) each node's states by rising level. budgeted: whether the sum of levels is kept.
    """

    unary: FloatArray
    states: IntArray
    slots: IntArray
    neighbours: IntArray
    offsets: IntArray
    values: FloatArray
    levels: IntArray
    order: IntArray
    budgeted: bool


class Search(NamedTuple):
    """Where a search stands: (n,) states and (n, D) field; and room to list the pairs of states of an exchange."""

    states: IntArray
    field: FloatArray
    first: IntArray
    second: IntArray


def lay_out(problem: PairwiseNetwork) -> Layout:
    """The flat arrays of a network without infinite energies."""
    n, widest = len(problem), int(problem.states.max())
    unary, levels = np.zeros((n, widest)), np.zeros((n, widest), np.int64)
    order = np.zeros((n, widest), np.int64)
    for i, values in enumerate(problem.unary):
        unary[i, : len(values)], levels[i, : len(values)] = values, problem.levels[i]
        order[i, : len(values)] = np.argsort(problem.levels[i], kind="stable")
    owners, neighbours = problem.edges.T.ravel(), problem.edges[:, ::-1].T.ravel()
    flat = [table.ravel() for table in problem.tables] + [table.T.ravel() for table in problem.tables]
    by_owner = np.lexsort((neighbours, owners))
    values = np.concatenate([np.zeros(0), *(flat[slot] for slot in by_owner)])
    sizes = np.array([len(flat[slot]) for slot in by_owner], dtype=np.int64)
    slots = np.searchsorted(owners[by_owner], np.arange(n + 1)).astype(np.int64)
    offsets, counts = np.cumsum(sizes) - sizes, np.array(problem.states)
    budgeted = problem.budget is not None
    return Layout(unary, counts, slots, neighbours[by_owner], offsets, values, levels, order, budgeted)


def begin(layout: Layout, states: IntArray) -> Search:
    """A search that stands at a copy of (n,) states."""
    pairs = layout.unary.shape[1] ** 2 if layout.budgeted else 0
    room = np.zeros(pairs, np.int64), np.zeros(pairs, np.int64)
    search = Search(states.astype(np.int64), np.zeros_like(layout.unary), *room)
    fill(layout, search)
    return search


def least_gain(layout: Layout) -> float:
    """What counts as a gain: more than 1e-13 of all that can meet at one node, since less may be a rounding error."""
    most = np.abs(layout.unary).max(axis=1)
    if len(layout.offsets):
        tables = np.maximum.reduceat(np.abs(layout.values), layout.offsets)
        np.add.at(most, np.repeat(np.arange(len(most)), np.diff(layout.slots)), tables)
    return float(1e-13 * most.max())


# -------------------------------------------------------------------------------------------------- pairwise networks


@jit
def fill(layout: Any, search: Any) -> None:
    """Sum the fields anew, which also ends the rounding errors of the changes so far."""
    search.field[:] = 0.0
    for i in range(len(search.states)):
        for e in range(layout.slots[i], layout.slots[i + 1]):
            j = layout.neighbours[e]
            row = layout.offsets[e] + search.states[i] * layout.states[j]
            for b in range(layout.states[j]):
                search.field[j, b] += layout.values[row + b]


@inlined
def turn(layout: Any, search: Any, i: int, state: int) -> None:
    """Node i goes to a state; its neighbours' fields follow."""
    old = search.states[i]
    if state == old:
        return
    search.states[i] = state
    for e in range(layout.slots[i], layout.slots[i + 1]):
        j = layout.neighbours[e]
        width = layout.states[j]
        left, right = layout.offsets[e] + old * width, layout.offsets[e] + state * width
        for b in range(width):
            search.field[j, b] += layout.values[right + b] - layout.values[left + b]


@inlined
def find_slot(layout: Any, i: int, j: int) -> int:
    """The slot of node i whose neighbour is j; -1 where they share no table."""
    low, high = layout.slots[i], layout.slots[i + 1]
    while low < high:
        middle = (low + high) // 2
        if layout.neighbours[middle] < j:
            low = middle + 1
        else:
            high = middle
    return low if low < layout.slots[i + 1] and layout.neighbours[low] == j else -1


@inlined
def node_change(layout: Any, search: Any, i: int, state: int, unary: float, tables: float) -> float:
    """By how much the energy changes when node i goes to a state, node and pair energies counting so many times."""
    old = search.states[i]
    alone = unary * (layout.unary[i, state] - layout.unary[i, old])
    return alone + tables * (search.field[i, state] - search.field[i, old])


@inlined
def pair_change(
    layout: Any, search: Any, i: int, j: int, slot: int, a: int, b: int, unary: float, tables: float
) -> float:
    """The same when i goes to a and j to b at once; slot: see `find_slot`."""
    change = node_change(layout, search, i, a, unary, tables) + node_change(layout, search, j, b, unary, tables)
    if slot >= 0:
        old, other, width = search.states[i], search.states[j], layout.states[j]
        new_row, old_row = layout.offsets[slot] + a * width, layout.offsets[slot] + old * width
        met = layout.values[new_row + b] - layout.values[new_row + other]
        met -= layout.values[old_row + b] - layout.values[old_row + other]
        change += tables * met
    return change


@inlined
def list_pairs(layout: Any, search: Any, i: int, j: int) -> int:
    """How many pairs of states of i and j have the sum of levels that they have now; they are put into the room."""
    total = layout.levels[i, search.states[i]] + layout.levels[j, search.states[j]]
    found, p, q = 0, 0, layout.states[j] - 1
    while p < layout.states[i] and q >= 0:
        mine, other = layout.levels[i, layout.order[i, p]], layout.levels[j, layout.order[j, q]]
        if mine + other < total:
            p += 1
        elif mine + other > total:
            q -= 1
        else:
            k = q
            while k >= 0 and layout.levels[j, layout.order[j, k]] == other:
                search.first[found], search.second[found] = layout.order[i, p], layout.order[j, k]
                found, k = found + 1, k - 1
            p += 1  # q stays: the next state of i may have the same level
    return found


@jit
def settle(layout: Any, search: Any, gain: float) -> int:
    """Every node in turn makes its best change that gains more than `gain`; returns how many did.

    Without a budget that is a change of its own state. With one it is a change to a state of the same level, or an
    exchange with any other node.
    """
    fill(layout, search)
    made = 0
    for i in range(len(search.states)):
        if layout.budgeted:
            made += _best_exchange(layout, search, i, gain)
            continue
        best, least = search.states[i], -gain
        for a in range(layout.states[i]):
            change = node_change(layout, search, i, a, 1.0, 1.0)
            if change < least:
                best, least = a, change
        made += best != search.states[i]
        turn(layout, search, i, best)
    return made


@jit
def _best_exchange(layout: Any, search: Any, i: int, gain: float) -> int:
    """Make the best change of node i that keeps the sum of levels, if it gains enough: 1 if so, else 0."""
    least, state, partner, other = -gain, -1, i, 0
    for a in range(layout.states[i]):
        if layout.levels[i, a] == layout.levels[i, search.states[i]]:
            change = node_change(layout, search, i, a, 1.0, 1.0)
            if change < least:
                least, state = change, a
    for j in range(len(search.states)):
        if j == i:
            continue
        slot = find_slot(layout, i, j)
        for k in range(list_pairs(layout, search, i, j)):
            a, b = search.first[k], search.second[k]
            change = pair_change(layout, search, i, j, slot, a, b, 1.0, 1.0)
            if change < least:
                least, state, partner, other = change, a, j, b
    if state < 0:
        return 0
    turn(layout, search, i, state)
    if partner != i:
        turn(layout, search, partner, other)
    return 1


# -------------------------------------------------------------------------------------------- exchanges of one quantum


@jit
def exchange_sweep(
    coupling: Any,
    rise: Any,
    fall: Any,
    minimum: Any,
    levels: Any,
    field: Any,
    owner: Any,
    best: Any,
    energy: float,
    least: float,
    temperature: float,
    proposals: int,
    random: Any,
) -> Any:
    """Metropolis steps at one temperature; returns (energy, least energy so far, moves accepted).

    Each step draws one of the quanta above the minimum and a task to move it to. levels (n,), field (n,) = coupling @
    levels, owner (quanta above the minimum,) the task of each, and best (n,) the levels of least energy are changed in
    place. Energies are relative to where the search began. rise and fall are those of `swap_search.level_steps`.
    """
    n, accepted = len(levels), 0
    for _ in range(proposals):
        quantum, taker = random.integers(0, len(owner)), random.integers(0, n)
        giver = owner[quantum]
        if giver == taker:
            continue
        change = fall[giver, levels[giver] - minimum[giver]] + rise[taker, levels[taker] - minimum[taker]]
        change += field[taker] - field[giver] - coupling[giver, taker]
        if change > 0.0 and random.random() >= np.exp(-change / temperature):
            continue
        owner[quantum] = taker
        levels[giver] -= 1
        levels[taker] += 1
        for k in range(n):
            field[k] += coupling[taker, k] - coupling[giver, k]
        energy += change
        accepted += 1
        if energy < least:
            least = energy
            best[:] = levels
    return energy, least, accepted
