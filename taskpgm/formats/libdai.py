"""libDAI's factor graphs (.fg): probabilities, which become energies."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from taskpgm.formats.factors import energies_of, network_of
from taskpgm.formats.words import Words
from taskpgm.pairwise import PairwiseNetwork


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
        blocks.append((scope, energies_of(table, words, f"factor {k}")))
    nodes = sorted(states)
    place_of = {node: place for place, node in enumerate(nodes)}
    factors = [([place_of[i] for i in scope], table) for scope, table in blocks]
    return network_of(words.path, [states[i] for i in nodes], factors, [f"x{i}" for i in nodes])
