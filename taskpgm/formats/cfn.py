"""toulbar2's CFN files: names and real costs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from taskpgm.formats.factors import OURS, Factor, factors_of, network_of, refuse_budget
from taskpgm.limits import MOST_ENTRIES
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.storage import read_json, write_atomic
from taskpgm.types import FloatArray, InputError


def read_cfn(path: str | Path) -> PairwiseNetwork:
    """toulbar2's JSON format, cost functions as tables only; costs at or above the `mustbe` bound are forbidden.

    Raises:
        InputError: not such a file; the message names the function.
    """
    path = Path(path)
    value = read_json(path)
    try:
        header, variables, functions = value["problem"], value["variables"], value["functions"]
        domains, bound = dict(variables), str(header.get("mustbe", ""))
        named = dict(functions)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: not a CFN file: problem, variables and functions are needed ({error}).") from error
    values = {name: _domain(path, name, domain) for name, domain in domains.items()}
    if sum(map(len, values.values())) > MOST_ENTRIES:
        raise InputError(f"{path}: variables of more than {MOST_ENTRIES:,} values.")
    reader = _CfnFunctions(path, list(values), list(values.values()), _mustbe(path, bound))
    factors = [reader.factor(name, function) for name, function in named.items()]
    names = list(values)
    if header.get("name") == OURS:
        names = [unquote(name, errors="surrogatepass") for name in names]
    return network_of(path, [len(domain) for domain in values.values()], factors, names)


def _mustbe(path: Path, bound: str) -> float:
    """The cost from which on something is forbidden."""
    if bound[:1] == ">":
        raise InputError(f"{path}: a problem to be maximised (mustbe {bound}); write it with costs to be minimised.")
    try:
        top = float(bound[1:]) if bound[:1] == "<" else math.inf
    except ValueError:
        top = math.nan
    if math.isnan(top):
        raise InputError(f"{path}: mustbe is {bound[:40]!r}; expected < and a number.")
    return top


def _domain(path: Path, name: str, domain: Any) -> Sequence[Any]:
    """The values of a variable: a list of them, or how many there are."""
    if isinstance(domain, int) and 0 <= domain <= MOST_ENTRIES:
        return range(domain)
    if isinstance(domain, list):
        return domain
    raise InputError(f"{path}: variable {name!r} has the values {repr(domain)[:40]}; expected a list, or how many.")


@dataclass
class _CfnFunctions:
    """Turns the functions of a CFN file into factors. entries: of the tables so far."""

    path: Path
    names: list[str]
    values: list[Sequence[Any]]
    top: float
    entries: int = 0

    def factor(self, name: str, function: Any) -> Factor:
        def wrong(text: str) -> InputError:
            return InputError(f"{self.path}: function {name!r} {text}.")

        if not isinstance(function, dict) or "scope" not in function or "costs" not in function:
            raise wrong("has no scope and costs; only tables of costs can be read")
        scope = self._scope(function["scope"], wrong)
        shape = tuple(len(self.values[i]) for i in scope)
        self.entries += math.prod(shape)
        if self.entries > MOST_ENTRIES:
            raise wrong(f"makes tables of more than {MOST_ENTRIES:,} entries; no method takes a network of that size")
        costs = function["costs"] if isinstance(function["costs"], list) else [function["costs"]]
        if "defaultcost" in function:
            table = self._sparse_table(costs, scope, np.full(shape, _cost(function["defaultcost"], wrong)), wrong)
        elif len(costs) != math.prod(shape):
            raise wrong(f"has {len(costs)} costs, but its variables have {math.prod(shape)} values")
        else:
            table = np.array([_cost(x, wrong) for x in costs], dtype=np.float64).reshape(shape)
        return scope, np.where(table >= self.top, np.inf, table)

    def _scope(self, given: Any, wrong: Callable[[str], InputError]) -> list[int]:
        if not isinstance(given, list) or len(given) > 2:
            raise wrong(f"is over {repr(given)[:80]}; only nodes and pairs of different nodes can be read")
        unknown = [v for v in given if v not in self.names and not isinstance(v, int)]
        if unknown:
            raise wrong(f"is over an unknown variable ({repr(unknown[0])[:40]})")
        scope = [self.names.index(v) if isinstance(v, str) else int(v) for v in given]
        if len(set(scope)) < len(scope) or any(not 0 <= i < len(self.names) for i in scope):
            raise wrong(f"is over {given}; only nodes and pairs of different nodes can be read")
        return scope

    def _sparse_table(
        self, costs: Sequence[Any], scope: list[int], table: FloatArray, wrong: Callable[[str], InputError]
    ) -> FloatArray:
        width = len(scope) + 1
        if len(costs) % width:
            raise wrong(f"lists {len(costs)} numbers, which is not a multiple of {width}")
        for row in (costs[k : k + width] for k in range(0, len(costs), width)):
            place = []
            for value, i in zip(row[:-1], scope, strict=True):
                known = value in self.values[i]
                index = self.values[i].index(value) if known else value if isinstance(value, int) else -1
                if not 0 <= index < len(self.values[i]):
                    raise wrong(f"names the value {repr(value)[:40]}, which its variable does not have")
                place.append(index)
            table[tuple(place)] = _cost(row[-1], wrong)
        return table


def _cost(value: Any, wrong: Callable[[str], InputError]) -> float:
    if value == "inf":
        return math.inf
    try:
        cost = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:  # a whole number of hundreds of digits
        cost = math.nan
    if math.isnan(cost):
        raise wrong(f"has the cost {repr(value)[:40]}, which is not a number")
    return cost


def write_cfn(network: PairwiseNetwork, path: str | Path) -> None:
    """Names, real costs and the constant; infinite energies as the upper bound.

    toulbar2 takes no spaces in names: they and other odd characters are written as in web addresses (%20), and
    `read_cfn` reads them back.

    Raises:
        InputError: a budget.
    """
    refuse_budget(network, path)
    finite = [table[np.isfinite(table)] for _, table in factors_of(network)]
    top = 1.0 + 2.0 * (abs(network.constant) + sum(float(np.abs(v).max(initial=0.0)) for v in finite))
    names = [quote(name, safe="", errors="surrogatepass") for name in network.names]
    functions: dict[str, Any] = {}
    for k, (scope, table) in enumerate(factors_of(network)):
        costs = np.where(np.isfinite(table), table, top).ravel().tolist()
        functions[f"f{k}"] = {"scope": [names[i] for i in scope], "costs": costs}
    variables = dict(zip(names, network.states.tolist(), strict=True))
    problem = {"name": OURS, "mustbe": f"<{top!r}"}
    text = json.dumps(
        {"problem": problem, "variables": variables, "functions": functions}, ensure_ascii=False, indent=1
    )
    write_atomic(Path(path), (text + "\n").encode())
