"""Discrete networks in the files of others: UAI, toulbar2's WCSP and CFN, and libDAI's factor graphs.

    network = read_network("model.uai")         # by the file's ending: .uai, .wcsp, .cfn, .fg
    write_network(network, "model.cfn")         # .uai, .wcsp, .cfn

Files of probabilities become energies, E = -log p, with infinity for 0. A UAI file holds no constant, and a WCSP file
whole numbers: what that changes is said at their functions. A CFN file holds names and real costs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from taskpgm.limits import MOST_ENTRIES
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.storage import read_json, write_atomic
from taskpgm.types import FloatArray, InputError
from taskpgm.words import Words

Factor = tuple[list[int], FloatArray]
LOG_RANGE = 700.0  # beyond it a float64 probability is 0
WHOLE = 2**62
OURS = "taskpgm"


def read_network(path: str | Path) -> PairwiseNetwork:
    """The network in a file, by the ending of its name.

    Raises:
        InputError: another ending, or a file that cannot be read as what its ending says.
    """
    network: PairwiseNetwork = _by_ending(Path(path), READERS)(Path(path))
    return network


def write_network(network: PairwiseNetwork, path: str | Path) -> None:
    """Write a network in the format that the file's ending names.

    Raises:
        InputError: another ending, or a network that the format cannot hold; the message says which can.
    """
    _by_ending(Path(path), WRITERS)(network, Path(path))


def _by_ending(path: Path, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    try:
        return known[path.suffix.lower()]
    except KeyError:
        raise InputError(f"{path}: the name must end in {', '.join(known)}.") from None


def _energies(probabilities: FloatArray, words: Words, what: str) -> FloatArray:
    if (probabilities < 0.0).any() or np.isinf(probabilities).any():
        raise words.wrong(f"{what} has a value that is negative or infinite")
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(probabilities))


# ----------------------------------------------------------------------------------------------------------------- UAI


def read_uai(path: str | Path, evidence: str | Path | None = None) -> PairwiseNetwork:
    """A UAI file (MARKOV, or BAYES with at most one parent), energies in nats; with evidence, of what is left.

    Raises:
        InputError: not such a file; the message names the line.
    """
    words = Words(Path(path))
    kind = words.word("MARKOV or BAYES")
    if kind.upper() not in ("MARKOV", "BAYES"):
        raise words.wrong(f"starts with {kind!r} instead of MARKOV or BAYES")
    nodes = words.whole("the number of variables", 1)
    states = [words.states("a number of states") for _ in range(nodes)]
    scopes = [
        words.scope(words.whole("a number of variables"), nodes, f"factor {k}")
        for k in range(words.whole("the number of factors"))
    ]
    factors: list[Factor] = []
    for k, scope in enumerate(scopes):
        shape = tuple(states[i] for i in scope)
        entries = words.whole(f"the number of entries of factor {k}")
        if entries != math.prod(shape):
            raise words.wrong(f"factor {k} has {entries} entries, but its variables have {math.prod(shape)} states")
        values = np.array([words.number(f"an entry of factor {k}") for _ in range(entries)]).reshape(shape)
        factors.append((scope, _energies(values, words, f"factor {k}")))
    network = _network(words.path, states, factors)
    return network if evidence is None else network.conditioned(_evidence(Path(evidence), network))


def _evidence(path: Path, network: PairwiseNetwork) -> dict[str, int]:
    words = Words(path)
    found = {}
    for _ in range(words.whole("the number of observed variables")):
        node = words.whole("a variable")
        if node >= len(network):
            raise words.wrong(f"variable {node} of {len(network)}")
        found[network.names[node]] = words.whole("its state")
    return found


def write_uai(network: PairwiseNetwork, path: str | Path) -> None:
    """exp(-energy), each factor's largest 1: probabilities are kept, energies up to a constant.

    Raises:
        InputError: a budget, or energies of a factor that lie further apart than probabilities can tell.
    """
    _refuse_budget(network, path)
    factors = list(_factors(network))
    for scope, table in factors:
        finite = table[np.isfinite(table)]
        if finite.size and np.ptp(finite) > LOG_RANGE:
            names = " and ".join(repr(network.names[i]) for i in scope)
            raise InputError(f"{path}: the energies of {names} lie {np.ptp(finite):.3g} apart; write .cfn instead.")
    lines = ["MARKOV", str(len(network)), " ".join(map(str, network.states)), str(len(factors))]
    lines += [" ".join(map(str, [len(scope), *scope])) for scope, _ in factors]
    for _, table in factors:
        least = table.min()
        values = np.exp(-(table - (least if np.isfinite(least) else 0.0)))
        lines += ["", str(table.size), " ".join(repr(float(x)) for x in values.ravel())]
    write_atomic(Path(path), ("\n".join(lines) + "\n").encode())


# -------------------------------------------------------------------------------------------------------------- libDAI


def read_fg(path: str | Path) -> PairwiseNetwork:
    """A libDAI factor graph: of each factor the first variable varies fastest, and entries left out are 0."""
    words = Words(Path(path), comment="#")
    blocks = []
    states: dict[int, int] = {}
    for k in range(words.whole("the number of factors")):
        count = words.whole(f"the number of variables of factor {k}")
        if count > 2:
            raise words.wrong(f"factor {k} is over {count} variables; only networks of pairs can be read")
        scope = [words.whole(f"a variable of factor {k}") for _ in range(count)]
        sizes = [words.states(f"a number of states of factor {k}") for _ in range(count)]
        for node, size in zip(scope, sizes, strict=True):
            if states.setdefault(node, size) != size:
                raise words.wrong(f"variable {node} has {size} states here and {states[node]} before")
        if len(set(scope)) < count:
            raise words.wrong(f"factor {k} is over variables {scope}; a pair is of two different ones")
        words.make_room(sizes)
        values = np.zeros(math.prod(sizes))
        for _ in range(words.whole(f"the number of entries of factor {k}")):
            place = words.whole("the place of an entry")
            if place >= len(values):
                raise words.wrong(f"place {place} in factor {k}, which has {len(values)} entries")
            values[place] = words.number("an entry")
        table = values.reshape(sizes[::-1]).T if sizes else values.reshape(())
        blocks.append((scope, _energies(table, words, f"factor {k}")))
    nodes = sorted(states)
    place_of = {node: place for place, node in enumerate(nodes)}
    factors = [([place_of[i] for i in scope], table) for scope, table in blocks]
    return _network(words.path, [states[i] for i in nodes], factors, [f"x{i}" for i in nodes])


# ---------------------------------------------------------------------------------------------------------------- WCSP


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
    return _network(words.path, states, factors)


def write_wcsp(network: PairwiseNetwork, path: str | Path, decimals: int = 6) -> float:
    """Whole costs: energies, each factor's least 0, times 10^decimals and rounded; the constant is a factor as well.

    Returns:
        By how much the energy of an assignment, read back and divided by 10^decimals, may differ, but for a constant
        that makes the least of all factors 0.

    Raises:
        InputError: a budget, or costs that do not fit 62 bits.
    """
    _refuse_budget(network, path)
    scale, shifted = 10.0**decimals, network.shifted()
    tables = [(scope, np.rint(scale * table)) for scope, table in _factors(shifted)]
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


# ----------------------------------------------------------------------------------------------------------------- CFN


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
    return _network(path, [len(domain) for domain in values.values()], factors, names)


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
    _refuse_budget(network, path)
    finite = [table[np.isfinite(table)] for _, table in _factors(network)]
    top = 1.0 + 2.0 * (abs(network.constant) + sum(float(np.abs(v).max(initial=0.0)) for v in finite))
    names = [quote(name, safe="", errors="surrogatepass") for name in network.names]
    functions: dict[str, Any] = {}
    for k, (scope, table) in enumerate(_factors(network)):
        costs = np.where(np.isfinite(table), table, top).ravel().tolist()
        functions[f"f{k}"] = {"scope": [names[i] for i in scope], "costs": costs}
    variables = dict(zip(names, network.states.tolist(), strict=True))
    problem = {"name": OURS, "mustbe": f"<{top!r}"}
    text = json.dumps(
        {"problem": problem, "variables": variables, "functions": functions}, ensure_ascii=False, indent=1
    )
    write_atomic(Path(path), (text + "\n").encode())


# ---------------------------------------------------------------------------------------------------------------- both


def _factors(network: PairwiseNetwork) -> Iterator[Factor]:
    """The constant, if it is not 0, then nodes, then edges."""
    if network.constant != 0.0:
        yield [], np.array(network.constant)
    for i, values in enumerate(network.unary):
        yield [i], values
    yield from zip(network.edges.tolist(), network.tables, strict=True)


def _network(
    path: Path, states: Sequence[int], factors: Sequence[Factor], names: Sequence[str] = ()
) -> PairwiseNetwork:
    try:
        return PairwiseNetwork.from_factors(states, factors, names=names)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _refuse_budget(network: PairwiseNetwork, path: str | Path) -> None:
    if network.budget is not None:
        raise InputError(
            f"{path}: the format holds no budget; write network.folded(), where it is part of the energies."
        )


READERS: dict[str, Callable[[Path], PairwiseNetwork]] = {
    ".uai": read_uai,
    ".wcsp": read_wcsp,
    ".cfn": read_cfn,
    ".fg": read_fg,
}
WRITERS: dict[str, Callable[[PairwiseNetwork, Path], Any]] = {".uai": write_uai, ".wcsp": write_wcsp, ".cfn": write_cfn}
