"""toulbar2, an exact solver of cost function networks, for any pairwise network, with or without a budget.

toulbar2 (Hurley et al. 2016) is a branch and bound with soft arc consistency. It counts in whole numbers: pytoulbar2
multiplies energies by a power of ten, 10^0 if not told otherwise, and rounds them without a word. Here they are
multiplied by a power of two that makes all of them together about 2^50; what rounding then hides is subtracted from the
bound. A budget is a linear constraint of toulbar2's own. Dense couplings are counted first (see
`taskpgm.inference.counting`).

Where there is time, local search goes first, and toulbar2 is asked for something better than what it met. That none is
better is then toulbar2's own proof, from its own search.

    solution = solve(network.levels(None, cap=1), Toulbar2(), deadline=10.0)

What pytoulbar2 1.4 does otherwise than one may expect: its options belong to one thread of the process and to all
models at once (so each solve has a process of its own), its time limit counts its own processor seconds in whole
numbers, its lower bound after a proof may be below the optimum, and adding a constraint may raise a contradiction.
"""

from __future__ import annotations

import ctypes
import math
import signal
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from taskpgm.inference.counting import counted, with_the_count
from taskpgm.inference.decoding import most_agreeing
from taskpgm.inference.icm import IteratedConditionalModes
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray

BITS = 50  # of the largest energies of all factors together; a float64 holds 53, toulbar2's costs 58
STATE_LIMIT = 10_000
YEARS = 10**9
RESTARTS = 3
FEW_NODES = 20  # searched completely before a local search has begun
TIME_TO_COMPILE = 4.0  # seconds that the first local search of all may take to compile: with less there is none


@dataclass(frozen=True)
class Toulbar2(Method):
    """toulbar2 on networks of up to `limit` entries in all tables.

    counting: take out of dense couplings what is common to all, and count levels instead. At the deadline it hands in
    its best point and lower bound. stats["nodes"] and stats["backtracks"] count its search.
    """

    counting: bool = True
    limit: int = 4_000_000

    name: ClassVar[str] = "toulbar2"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = True
    foreign: ClassVar[tuple[str, ...]] = ("pytoulbar2", "taskpgm.inference.kernels")

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        if find_spec("pytoulbar2") is None:
            return "pytoulbar2 is not installed; install it with: pip install 'taskpgm[toulbar2]'"
        entries = sum(table.size for table in problem.tables)
        if entries > self.limit:
            return (
                f"{entries:.7g} entries in tables; toulbar2 is given up to {self.limit:.7g}: use fewer states or pairs"
            )
        if problem.states.max() > STATE_LIMIT:
            return f"a node of {problem.states.max()} states; toulbar2 takes up to {STATE_LIMIT}: use fewer states"
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        if deadline.passed():
            return Answer(_quick_point(problem), None, False)
        network = counted(problem) if self.counting else problem
        costs = WholeCosts.of(network)
        first = _searched(problem, deadline, seed)
        known = None if first is None else costs.of_states(with_the_count(problem, network, first))
        model = _encoded(network, costs, seed)
        found, ended = (None, True) if model is None else _solved(model, known, deadline)
        if found is None and ended and first is None:
            return Answer(None, message="no assignment keeps the budget")
        stats = {"nodes": model.GetNbNodes(), "backtracks": model.GetNbBacktracks()}
        if found is not None and costs.of_states(np.array(found[0])) != found[1]:
            raise RuntimeError(f"toulbar2 states a cost of {found[1]}, but its point costs otherwise")
        least = model.GetDDualBound()
        if ended:  # nothing costs less than what it found, or else than what it was to beat
            least = known if found is None else found[1]
        bound = costs.energy_of_bound(least) - 2.0 * network.rounding - problem.rounding
        point = (first if first is not None else _quick_point(problem)) if found is None else np.array(found[0])
        if point is not None:
            point = point[: len(problem)].astype(np.int64)
        deadline.note(point, bound)
        return Answer(point, bound, ended, "", stats)


@dataclass(frozen=True, eq=False)
class WholeCosts:
    """A network's energies as whole numbers from 0: each is within half of scale times what it stands for.

    network: its factors' least entries are 0, the rest is in its constant.
    """

    network: PairwiseNetwork
    unary: tuple[FloatArray, ...]
    tables: tuple[FloatArray, ...]
    scale: float

    @classmethod
    def of(cls, network: PairwiseNetwork) -> WholeCosts:
        shifted = network.shifted()
        total = sum(float(table.max()) for table in (*shifted.unary, *shifted.tables))
        exponent = BITS - math.frexp(total)[1] if total > 0.0 else 0
        scale = math.ldexp(1.0, max(min(exponent, 1000), -1000))  # a power of two: products are exact
        return cls(
            shifted,
            tuple(np.rint(scale * values) for values in shifted.unary),
            tuple(np.rint(scale * table) for table in shifted.tables),
            scale,
        )

    def of_states(self, states: IntArray) -> float:
        """The whole cost of a point, as toulbar2 must have it."""
        cost = sum(float(values[s]) for values, s in zip(self.unary, states, strict=True))
        edges = self.network.edges.tolist()
        return cost + sum(float(table[states[i], states[j]]) for (i, j), table in zip(edges, self.tables, strict=True))

    def energy_of_bound(self, cost: float) -> float:
        """What no energy is below, if no whole cost is below this one."""
        factors = sum(bool(table.any()) for table in (*self.unary, *self.tables))
        return (max(cost, 0.0) - 0.5 * factors) / self.scale + self.network.constant


def _encoded(network: PairwiseNetwork, costs: WholeCosts, seed: int) -> Any:
    """The network as a model of pytoulbar2, one variable a node, its values the numbers of the states.

    None where toulbar2 sees already from the budget that nothing keeps it.
    """
    import pytoulbar2

    model = pytoulbar2.CFN(resolution=0, seed=seed % 2**31)  # whole costs need no decimals
    for i, count in enumerate(network.states.tolist()):
        model.AddVariable(f"node {i}", range(count))
    for i, values in enumerate(costs.unary):
        model.AddFunction([i], values.tolist())
    for edge, table in zip(network.edges.tolist(), costs.tables, strict=True):
        model.AddFunction(edge, table.ravel().tolist())
    if network.budget is not None:
        uses = [(i, s, level) for i, values in enumerate(network.levels) for s, level in enumerate(values.tolist())]
        try:
            model.AddGeneralizedLinearConstraint(uses, "==", network.budget)
        except model.Contradiction:
            return None
    return model


def _searched(problem: PairwiseNetwork, deadline: Deadline, seed: int) -> IntArray | None:
    """(n,) the best states of a local search that keep the budget, if it has time and finds any."""
    if len(problem) < FEW_NODES or deadline.left() < TIME_TO_COMPILE:
        return None
    point = IteratedConditionalModes(restarts=RESTARTS).run(problem, deadline, seed).point
    if point is None or not problem.violation(point) <= 0.0:
        return None
    return np.asarray(point, dtype=np.int64)


def _solved(model: Any, known: float | None, deadline: Deadline) -> tuple[tuple[list[int], float, int] | None, bool]:
    """toulbar2's (point, cost, number of points found) if it found one, and whether it ended before the deadline.

    known: a cost that is to be beaten, or None.
    """
    model.UbInit = known
    if math.isfinite(deadline.end):
        _stop_at(model, deadline)
    found = model.Solve()
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    return found, not model.Option.limited


def _stop_at(model: Any, deadline: Deadline) -> None:
    """Have toulbar2 stop at the deadline.

    Its own time limit arms a timer that counts the process's processor time in whole seconds, and stops the search in
    the handler of that timer's signal. The same handler on the alarm signal follows the clock on the wall.
    """
    model.CFN.timer(YEARS)
    library = ctypes.CDLL(None)
    library.signal.restype, library.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    library.signal(signal.SIGALRM, library.signal(signal.SIGVTALRM, None))
    signal.setitimer(signal.ITIMER_REAL, max(deadline.left(), 1e-3))


def _quick_point(problem: PairwiseNetwork) -> IntArray | None:
    """The cheapest state of each node, changed to keep the budget."""
    return most_agreeing(problem, [-values for values in problem.unary])
