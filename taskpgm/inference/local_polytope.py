"""The linear-programming relaxation: marginals of nodes and pairs that agree with each other, the budget in the mean.

    minimise sum_i unary_i . mu_i + sum_(i,j) table_ij . mu_ij      over mu >= 0 with
    sum of mu_i = 1,    rows and columns of mu_ij add up to mu_i and mu_j,    sum_i levels_i . mu_i = budget

(Schlesinger 1976; Wainwright & Jordan 2008, section 4.1), solved by HiGHS. It is tight on trees and on submodular
networks of two states without a budget. The bound does not rest on the solver: whatever numbers its dual variables are,
moving them between tables and nodes changes no energy, so the least entries of what results, added up, are a bound.

    solution = solve(network, LocalPolytope())
    solution.bound                      # <= the least energy; the point is the marginals, rounded
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from taskpgm.inference.decoding import most_agreeing
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class LocalPolytope(Method):
    """HiGHS on up to `limit` variables, one for each state and each pair of states along an edge.

    Stopped at the deadline, the bound is the sum of the least entries of all factors. stats["variables"] and
    stats["rows"] say how large the program is, stats["solver"] how it ended.
    """

    limit: int = 100_000

    name: ClassVar[str] = "local-polytope"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = False

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        size = sum(table.size for table in (*problem.unary, *problem.tables))
        if size > self.limit:
            return f"{size} variables of the linear program; HiGHS is asked for up to {self.limit}: use fewer states"
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        duals, marginals, stats = _solved(problem, deadline)
        point = most_agreeing(problem, marginals)
        finished = stats["solver"] == 0
        message = "" if finished else "HiGHS stopped before the end: the bound is the sum of least entries"
        if point is None:
            return Answer(None, None, finished, "no assignment keeps the budget", stats)
        bound = max(dual_bound(problem, duals), dual_bound(problem, np.zeros_like(duals)))
        deadline.note(point, bound)
        return Answer(point, bound, finished, message, stats)


def dual_bound(network: PairwiseNetwork, duals: FloatArray) -> float:
    """A lower bound on the least energy from any numbers, less what rounding may have added.

    duals: one for each node, for every edge those of its rows and of its columns, and one for the budget: in the order
    of the rows of the program. Those of the nodes are not needed.
    """
    messages, price = duals[len(network) : len(duals) - (network.budget is not None)], 0.0
    unary = [values.copy() for values in network.unary]
    size, terms, total = float(abs(network.constant)), 1, network.constant
    if network.budget is not None:
        price = float(duals[-1])
        total += price * network.budget
        size += abs(price * network.budget)
        for values, levels in zip(unary, network.levels, strict=True):
            values -= price * levels
    place = 0
    for (i, j), table in zip(network.edges.tolist(), network.tables, strict=True):
        rows, columns = np.split(messages[place : place + sum(table.shape)], [table.shape[0]])
        place += sum(table.shape)
        left = table - rows[:, None] - columns
        total += float(left.min())
        unary[i] += rows
        unary[j] += columns
        size += float(np.abs(table).max() + 2.0 * np.abs(rows).max() + 2.0 * np.abs(columns).max())
        terms += 5
    total += float(sum(values.min() for values in unary))
    for values, levels in zip(network.unary, network.levels, strict=True):
        size += float(np.abs(values).max() + abs(price) * np.abs(levels).max())
        terms += 2
    return total - 2.0 * float(np.finfo(np.float64).eps) * terms * size


def _solved(problem: PairwiseNetwork, deadline: Deadline) -> tuple[FloatArray, list[FloatArray], dict[str, Any]]:
    """(dual variables of the rows, marginals of the nodes, counts).

    Where the solver has none, the dual variables are zeros and the marginals are replaced by minus the energies.
    """
    from scipy.optimize import linprog

    cost = np.concatenate([table.ravel() for table in (*problem.unary, *problem.tables)])
    rows, right = _rows(problem)
    unit = float(np.abs(cost).max()) or 1.0
    options: dict[str, Any] = {"presolve": True}
    if np.isfinite(deadline.left()):
        options["time_limit"] = max(deadline.left(), 1e-3)
    found = linprog(cost / unit, A_eq=rows, b_eq=right, bounds=(0.0, None), method="highs", options=options)
    stats = {"variables": rows.shape[1], "rows": rows.shape[0], "solver": int(found.status)}
    duals, values = found.eqlin.get("marginals"), found.x
    duals = np.zeros(len(right)) if duals is None or len(duals) != len(right) else unit * np.nan_to_num(duals)
    cuts = np.cumsum(problem.states)
    scores = -cost[: cuts[-1]] if values is None else np.asarray(values, dtype=np.float64)[: cuts[-1]]
    return np.asarray(duals, dtype=np.float64), np.split(scores, cuts[:-1]), stats


def _rows(problem: PairwiseNetwork) -> tuple[Any, FloatArray]:
    """The equations: one for each node, those of each edge, one for the budget."""
    from scipy.sparse import coo_matrix

    starts = np.concatenate([[0], np.cumsum(problem.states)])
    row: list[Any] = [np.repeat(np.arange(len(problem)), problem.states)]
    column: list[Any] = [np.arange(starts[-1])]
    value: list[Any] = [np.ones(starts[-1])]
    count, variable = len(problem), int(starts[-1])
    for (i, j), table in zip(problem.edges.tolist(), problem.tables, strict=True):
        a, b = table.shape
        pair = np.arange(variable, variable + table.size).reshape(a, b)
        row += [np.repeat(count + np.arange(a), b), np.repeat(count + a + np.arange(b), a), count + np.arange(a + b)]
        column += [pair.ravel(), pair.T.ravel(), np.r_[starts[i] : starts[i + 1], starts[j] : starts[j + 1]]]
        value += [np.ones(2 * table.size), -np.ones(a + b)]
        count, variable = count + a + b, variable + table.size
    right = np.concatenate([np.ones(len(problem)), np.zeros(count - len(problem))])
    if problem.budget is not None:
        row.append(np.full(starts[-1], count))
        column.append(np.arange(starts[-1]))
        value.append(np.concatenate(problem.levels).astype(np.float64))
        count, right = count + 1, np.append(right, float(problem.budget))
    entries = (np.concatenate(value), (np.concatenate(row), np.concatenate(column)))
    return coo_matrix(entries, shape=(count, variable)).tocsr(), right
