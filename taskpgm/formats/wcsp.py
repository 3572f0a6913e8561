"""toulbar2's WCSP files: whole costs."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from taskpgm.formats.factors import OURS, Factor, factors_of, network_of, refuse_budget
from taskpgm.formats.words import Words
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.storage import write_atomic
from taskpgm.types import InputError

WHOLE = 2**62


def read_wcsp(path: str | Path) -> PairwiseNetwork:
    """toulbar2's text format: a cost at or above the file's upper bound is forbidden.

    Raises:
        InputError: not such a file, or a constraint given by a formula instead of a table; the message names the line.
    """
    words = Words(Path(path))
    words.word("the name")
    nodes, _, count = (words.whole(f"the number of {what}") for what in ("variables", "values", "constraints"))
    top = words.number("the upper bound")
    states = [words.states("a number of values") for _ in range(nodes)]
    factors: list[Factor] = []
    for k in range(count):
        arity = words.whole(f"the arity of constraint {k}")
        if arity > 2:
            raise words.wrong(f"constraint {k} is over {arity} variables; only networks of pairs can be read")
        scope = words.scope(arity, nodes, f"constraint {k}")
        default = words.number(f"the default cost of constraint {k}")
        if default < 0:
            raise words.wrong(f"constraint {k} is given by a formula; only tables of costs can be read")
        words.make_room(states[i] for i in scope)
        table = np.full(tuple(states[i] for i in scope), default)
        for _ in range(words.whole(f"the number of tuples of constraint {k}")):
            values = tuple(words.whole("a value") for _ in scope)
            if any(v >= states[i] for v, i in zip(values, scope, strict=True)):
                raise words.wrong(f"constraint {k} names the values {list(values)}, which its variables do not have")
            table[values] = words.number("a cost")
        factors.append((scope, np.where(table >= top, np.inf, table)))
    return network_of(words.path, states, factors)


def write_wcsp(network: PairwiseNetwork, path: str | Path, decimals: int = 6) -> float:
    """Whole costs: energies, each factor's least 0, times 10^decimals and rounded; the constant is a factor as well.

    Returns:
        By how much the energy of an assignment, read back and divided by 10^decimals, may differ, but for a constant
        that makes the least of all factors 0.

    Raises:
        InputError: a budget, or costs that do not fit 62 bits.
    """
    refuse_budget(network, path)
    scale, shifted = 10.0**decimals, network.shifted()
    tables = [(scope, np.rint(scale * table)) for scope, table in factors_of(shifted)]
    top = 1.0 + sum(float(table[np.isfinite(table)].max(initial=0.0)) for _, table in tables)
    if top >= WHOLE:
        raise InputError(f"{path}: costs of up to {top:.3g} do not fit; use fewer decimals, or write .cfn instead.")
    lines = [f"{OURS} {len(network)} {int(network.states.max())} {len(tables)} {int(top)}"]
    lines.append(" ".join(map(str, network.states)))
    for scope, table in tables:
        costs = np.where(np.isfinite(table), table, top).astype(np.int64)
        lines.append(" ".join(map(str, [len(scope), *scope, 0, costs.size])))
        lines += [" ".join(map(str, [*place, costs[place]])) for place in product(*map(range, costs.shape))]
    write_atomic(Path(path), ("\n".join(lines) + "\n").encode())
    return 0.5 * len(tables) / scale
