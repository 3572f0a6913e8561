"""The least energy as a mixed-integer linear program, solved by HiGHS's branch and cut.

One 0-1 variable for every state of a node but its first, one continuous variable in [0, 1] for every pair of such
states along an edge, tied to them as in the local polytope (Adams & Sherali 1986). Tables are reparametrised so that
their first row and column are 0: two nodes of two states need one variable. A budget is one equation. Dense couplings
are counted first (see `taskpgm.inference.counting`), as for toulbar2.

    solution = solve(network.levels(quanta=5, cap=1), MixedInteger(), deadline=20.0)

HiGHS (Huangfu & Hall 2018) works in floating point with tolerances; what they may hide is subtracted from its bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from taskpgm.inference.counting import counted
from taskpgm.inference.decoding import most_agreeing
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray

LARGEST_COST = 1e6  # HiGHS's tolerances are absolute: costs are scaled to this
TOLERANCE = 1e-7  # of a reduced cost
ABSOLUTE_GAP = 1e-6


@dataclass(frozen=True)
class MixedInteger(Method):
    """HiGHS on programs of up to `limit` variables. At the deadline it hands in its best point and lower bound.

    counting: take out of dense couplings what is common to all, and count levels instead. stats: the program's
    variables and rows, and the nodes of HiGHS's tree.
    """

    counting: bool = True
    limit: int = 500_000

    name: ClassVar[str] = "highs"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = True
    foreign: ClassVar[tuple[str, ...]] = ("scipy.optimize", "scipy.sparse")

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        size = sum(values.size - 1 for values in problem.unary)
        size += sum((table.shape[0] - 1) * (table.shape[1] - 1) for table in problem.tables)
        if size > self.limit:
            return f"{size} variables of the integer program; HiGHS is asked for up to {self.limit}: use fewer states"
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        from scipy.optimize import Bounds, LinearConstraint, milp

        if problem.states.max() == 1:
            only = np.zeros(len(problem), dtype=np.int64)
            return Answer(only, problem.energy(only) - problem.rounding)
        network = counted(problem) if self.counting else problem
        program = Program.of(network)
        options: dict[str, Any] = {"mip_rel_gap": 0.0}
        if np.isfinite(deadline.end):
            options["time_limit"] = max(deadline.left(), 1e-3)
        unit = (float(np.abs(program.cost).max(initial=0.0)) or 1.0) / LARGEST_COST
        found = milp(
            program.cost / unit,
            integrality=np.arange(len(program.cost)) < program.binary,
            bounds=Bounds(0.0, 1.0),
            constraints=LinearConstraint(program.rows, program.low, program.high),
            options=options,
        )
        stats = {"variables": len(program.cost), "rows": program.rows.shape[0], "nodes": found.get("mip_node_count")}
        if found.status == 2:
            return Answer(None, message="no assignment keeps the budget", stats=stats)
        scores = [-values for values in network.unary] if found.x is None else program.scores(found.x)
        point = most_agreeing(problem, scores[: len(problem)])
        dual = found.get("mip_dual_bound")
        bound = None
        if dual is not None and np.isfinite(dual):
            hidden = ABSOLUTE_GAP + TOLERANCE * len(program.cost)
            bound = unit * (float(dual) - hidden) + program.constant - network.rounding - problem.rounding
        finished = found.status == 0
        deadline.note(point, bound)
        return Answer(point, bound, finished, "" if finished else str(found.message), stats)


@dataclass(frozen=True, eq=False)
class Program:
    """Minimise cost'y + constant over low <= rows y <= high, 0 <= y <= 1, the first `binary` variables 0 or 1."""

    network: PairwiseNetwork
    cost: FloatArray
    rows: Any
    low: FloatArray
    high: FloatArray
    binary: int
    constant: float

    @classmethod
    def of(cls, network: PairwiseNetwork) -> Program:
        from scipy.sparse import coo_matrix

        unary, tables, constant = reparametrised(network)
        states = network.states - 1
        starts = np.concatenate([[0], np.cumsum(states)])
        binary = variable = int(starts[-1])
        row: list[Any] = [np.repeat(np.arange(len(network)), states)]
        column: list[Any] = [np.arange(binary)]
        value: list[Any] = [np.ones(binary)]
        low, high = [np.full(len(network), -np.inf)], [np.ones(len(network))]
        count = len(network)
        for (i, j), table in zip(network.edges.tolist(), tables, strict=True):
            a, b = table.shape
            pair = np.arange(variable, variable + a * b).reshape(a, b)
            first, second = np.arange(starts[i], starts[i + 1]), np.arange(starts[j], starts[j + 1])
            # pairs of a state add up to at most that state, and all pairs to at least what the states exceed 1 by
            row += [
                np.repeat(count + np.arange(a), b),
                np.repeat(count + a + np.arange(b), a),
                count + np.arange(a + b),
            ]
            column += [pair.ravel(), pair.T.ravel(), np.concatenate([first, second])]
            value += [np.ones(2 * a * b), -np.ones(a + b)]
            last = count + a + b
            row.append(np.full(a * b + a + b, last))
            column.append(np.concatenate([pair.ravel(), first, second]))
            value.append(np.concatenate([np.ones(a * b), -np.ones(a + b)]))
            low.append(np.append(np.full(a + b, -np.inf), -1.0))
            high.append(np.append(np.zeros(a + b), np.inf))
            count, variable = last + 1, variable + a * b
        if network.budget is not None:
            rise = [levels[1:] - levels[0] for levels in network.levels]
            row.append(np.full(binary, count))
            column.append(np.arange(binary))
            value.append(np.concatenate(rise).astype(np.float64))
            missing = float(network.budget - sum(int(levels[0]) for levels in network.levels))
            low.append(np.array([missing]))
            high.append(np.array([missing]))
            count += 1
        entries = (np.concatenate(value), (np.concatenate(row), np.concatenate(column)))
        rows = coo_matrix(entries, shape=(count, variable)).tocsr()
        cost = np.concatenate([values.ravel() for values in (*unary, *tables)])
        return cls(network, cost, rows, np.concatenate(low), np.concatenate(high), binary, constant)

    def scores(self, solution: FloatArray) -> list[FloatArray]:
        """For each node how much the solution is in each of its states."""
        others = np.split(np.asarray(solution[: self.binary]), np.cumsum(self.network.states - 1)[:-1])
        return [np.append(1.0 - values.sum(), values) for values in others]


def reparametrised(network: PairwiseNetwork) -> tuple[list[FloatArray], list[FloatArray], float]:
    """(unary, tables, constant) of the same energies, without each node's first state, whose entries are all 0."""
    unary, tables, constant = [values.copy() for values in network.unary], [], network.constant
    for (i, j), table in zip(network.edges.tolist(), network.tables, strict=True):
        unary[i] += table[:, 0]
        unary[j] += table[0] - table[0, 0]
        tables.append((table - table[:, :1] - table[:1] + table[0, 0])[1:, 1:])
    constant += sum(float(values[0]) for values in unary)
    return [values[1:] - values[0] for values in unary], tables, constant
