"""Message passing on pairwise networks, compiled. Imported on first use, since importing numba takes time.

messages: (m, 2, D) in energies. messages[e, 1] goes from the first node of edge e to its second, over the second's
states; messages[e, 0] goes the other way, over the first's. Entries beyond a node's states are infinite in unary and
0 in messages.
"""

from __future__ import annotations

import numba
import numpy as np

from taskpgm.types import FloatArray, IntArray


@numba.njit(cache=True)
def incidence(edges: IntArray, nodes: int) -> tuple[IntArray, IntArray, IntArray]:
    """(start, edge, side): the edges of node v are edge[start[v]:start[v + 1]]; side is 0 where v comes first."""
    counts = np.zeros(nodes + 1, dtype=np.int64)
    for e in range(len(edges)):
        counts[edges[e, 0] + 1] += 1
        counts[edges[e, 1] + 1] += 1
    start = np.cumsum(counts)
    place = start[:-1].copy()
    edge, side = np.empty(2 * len(edges), dtype=np.int64), np.empty(2 * len(edges), dtype=np.int64)
    for e in range(len(edges)):
        for s in range(2):
            v = edges[e, s]
            edge[place[v]], side[place[v]] = e, s
            place[v] += 1
    return start, edge, side


@numba.njit(cache=True)
def gathered(
    unary: FloatArray,
    messages: FloatArray,
    weights: FloatArray,
    start: IntArray,
    edge: IntArray,
    side: IntArray,
    node: int,
    skip: int,
) -> FloatArray:
    """(D,) a node's energies and the weighted messages that come in, but for edge `skip` (-1 for none)."""
    total = unary[node].copy()
    for k in range(start[node], start[node + 1]):
        if edge[k] != skip:
            total += weights[edge[k]] * messages[edge[k], side[k]]
    return total


@numba.njit(cache=True)
def least(values: FloatArray, soft: bool) -> float:
    """min, or -log sum exp(-values); infinite where all are."""
    low = values.min()
    if not soft or not np.isfinite(low):
        return low
    total = 0.0
    for value in values:
        total += np.exp(low - value)
    return low - np.log(total)


@numba.njit(cache=True)
def outgoing(cavity: FloatArray, table: FloatArray, flipped: bool, sizes: tuple[int, int], soft: bool) -> FloatArray:
    """(D,) the least, for each state of the receiver, of the sender's cavity plus the table; its least entry 0.

    flipped: the sender is the table's second node. sizes: the sender's and the receiver's numbers of states.
    """
    message = np.zeros(len(cavity))
    row = np.empty(sizes[0])
    for b in range(sizes[1]):
        for a in range(sizes[0]):
            row[a] = cavity[a] + (table[b, a] if flipped else table[a, b])
        message[b] = least(row, soft)
    low = message[: sizes[1]].min()
    if np.isfinite(low):
        message[: sizes[1]] -= low
    return message


@numba.njit(cache=True)
def propagate(
    unary: FloatArray,
    tables: FloatArray,
    edges: IntArray,
    states: IntArray,
    weights: FloatArray,
    messages: FloatArray,
    start: IntArray,
    edge: IntArray,
    side: IntArray,
    damping: float,
    parallel: bool,
    soft: bool,
) -> float:
    """One sweep over all messages, in place; returns the largest change.

    weights: (m,) edge appearance probabilities; all 1 is ordinary belief propagation.
    """
    source = messages.copy() if parallel else messages
    change = 0.0
    for turn in range(2):
        for step in range(len(edges)):
            e = step if turn == 0 else len(edges) - 1 - step
            i, j = edges[e, turn], edges[e, 1 - turn]  # from i to j; forwards first, then backwards
            cavity = gathered(unary, source, weights, start, edge, side, i, e)
            rho = weights[e]
            if rho < 1.0:
                for a in range(states[i]):
                    if np.isinf(source[e, turn, a]):  # forbidden by the receiver, whoever else allows it
                        cavity[a] = np.inf
                    else:
                        cavity[a] -= (1.0 - rho) * source[e, turn, a]
            sizes = (states[i], states[j])
            new = outgoing(cavity, tables[e] / rho, turn == 1, sizes, soft)
            for b in range(states[j]):
                old = messages[e, 1 - turn, b]
                value = new[b]
                if damping > 0.0 and np.isfinite(value) and np.isfinite(old):
                    value = (1.0 - damping) * value + damping * old
                if value != old:
                    change = max(change, abs(value - old))
                messages[e, 1 - turn, b] = value
    return change


@numba.njit(cache=True)
def decode(
    unary: FloatArray,
    tables: FloatArray,
    states: IntArray,
    messages: FloatArray,
    edges: IntArray,
    start: IntArray,
    edge: IntArray,
    side: IntArray,
) -> IntArray:
    """(n,) states picked one node after the other, given those picked before and the messages of the others."""
    n = len(unary)
    picked = np.empty(n, dtype=np.int64)
    for i in range(n):
        total = unary[i].copy()
        for k in range(start[i], start[i + 1]):
            e, s = edge[k], side[k]
            j = edges[e, 1 - s]
            if j < i:
                for a in range(states[i]):
                    total[a] += tables[e, a, picked[j]] if s == 0 else tables[e, picked[j], a]
            else:
                total += messages[e, s]
        picked[i] = np.argmin(total[: states[i]])
    return picked


@numba.njit(cache=True)
def sequential_sweep(
    unary: FloatArray,
    tables: FloatArray,
    edges: IntArray,
    states: IntArray,
    messages: FloatArray,
    start: IntArray,
    edge: IntArray,
    side: IntArray,
) -> float:
    """One forward and one backward pass of TRW-S, in place; returns the lower bound after it.

    With as many monotone chains through node i as it has edges on its busier side, n_i, each carries 1 / n_i of its
    energy. After the backward pass what lies further along a chain is worth exactly 0 beyond its first node, so that
    the bound is the sum over chains of the least share at their first nodes.
    """
    n, ones = len(unary), np.ones(len(edges))
    bound = 0.0
    for turn in range(2):
        for step in range(n):
            i = step if turn == 0 else n - 1 - step
            forward = backward = 0
            for k in range(start[i], start[i + 1]):
                if edges[edge[k], 1 - side[k]] > i:
                    forward += 1
                else:
                    backward += 1
            share = 1.0 / max(forward, backward, 1)
            total = gathered(unary, messages, ones, start, edge, side, i, -1)
            if turn == 1 and forward > backward:
                bound += (forward - backward) * share * total[: states[i]].min()
            for k in range(start[i], start[i + 1]):
                e, s = edge[k], side[k]
                j = edges[e, 1 - s]
                if (j > i) == (turn == 0):
                    for b in range(states[j]):
                        low = np.inf
                        for a in range(states[i]):
                            pair = tables[e, a, b] if s == 0 else tables[e, b, a]
                            low = min(low, share * total[a] - messages[e, s, a] + pair)
                        messages[e, 1 - s, b] = low
    return bound


@numba.njit(cache=True)
def block_sweep(
    unary: FloatArray,
    tables: FloatArray,
    edges: IntArray,
    states: IntArray,
    messages: FloatArray,
    start: IntArray,
    edge: IntArray,
    side: IntArray,
) -> None:
    """One sweep of MPLP over all edges, in place: both messages of an edge are set to their best at once."""
    ones = np.ones(len(edges))
    for e in range(len(edges)):
        i, j = edges[e, 0], edges[e, 1]
        first = gathered(unary, messages, ones, start, edge, side, i, e)
        second = gathered(unary, messages, ones, start, edge, side, j, e)
        for a in range(states[i]):
            low = np.inf
            for b in range(states[j]):
                low = min(low, tables[e, a, b] + second[b])
            messages[e, 0, a] = 0.5 * (low - first[a])
        for b in range(states[j]):
            low = np.inf
            for a in range(states[i]):
                low = min(low, tables[e, a, b] + first[a])
            messages[e, 1, b] = 0.5 * (low - second[b])


@numba.njit(cache=True)
def dual_bound(
    unary: FloatArray,
    tables: FloatArray,
    edges: IntArray,
    states: IntArray,
    messages: FloatArray,
    start: IntArray,
    edge: IntArray,
    side: IntArray,
) -> float:
    """The least of every node with its messages plus the least of every table without them: a bound in any case."""
    ones = np.ones(len(edges))
    bound = 0.0
    for i in range(len(unary)):
        bound += gathered(unary, messages, ones, start, edge, side, i, -1)[: states[i]].min()
    for e in range(len(edges)):
        low = np.inf
        for a in range(states[edges[e, 0]]):
            for b in range(states[edges[e, 1]]):
                low = min(low, tables[e, a, b] - messages[e, 0, a] - messages[e, 1, b])
        bound += low
    return bound
