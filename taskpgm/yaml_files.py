"""YAML that is data alone: no objects of Python, no key twice, and no more values than were written down.

    read_yaml(Path("run.yaml"))

An alias can stand for a list of aliases of lists of aliases, so that a short file means billions of values. They are
counted before any is made. An alias inside of what it stands for is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from taskpgm.limits import MOST_SETTINGS, MOST_VALUES
from taskpgm.text_files import read_text
from taskpgm.types import InputError

MERGE = "tag:yaml.org,2002:merge"
_UNUSABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def read_yaml(path: Path) -> Any:
    """The value in a YAML file.

    Raises:
        InputError: not YAML, a key that stands twice in one mapping, or more than plain values.
    """
    text = read_text(path, MOST_SETTINGS)
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node, path)
            _check_keys(node, path)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}" if place else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{path}: not valid YAML{where}: {problem}.") from error
    except InputError:
        raise
    except _UNUSABLE as error:  # a date in month 13, "!!int x", or nesting without end
        plain = isinstance(error, ValueError | RecursionError)
        raise InputError(f"{path}: not usable YAML ({error if plain else repr(error)}).") from error


def _check_size(root: yaml.Node, path: Path) -> None:
    """Complain of an alias inside of itself, and of too many values with every alias written out."""
    sizes: dict[int, int] = {}
    entered: set[int] = set()
    waiting = [(root, False)]
    while waiting:
        node, children_done = waiting.pop()
        key = id(node)
        if children_done:
            sizes[key] = 1 + sum(sizes[id(child)] for child in _children(node))
            entered.discard(key)
            if sizes[key] > MOST_VALUES:
                raise InputError(f"{path}: more than {MOST_VALUES:,} values once its aliases are written out.")
        elif key in entered:
            raise InputError(f"{path}, line {node.start_mark.line + 1}: an alias inside of what it stands for.")
        elif key not in sizes:
            entered.add(key)
            waiting.append((node, True))
            waiting += [(child, False) for child in _children(node) if id(child) not in sizes]


def _check_keys(root: yaml.Node, path: Path) -> None:
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        waiting += _children(node)
        if isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != MERGE]
            first: dict[tuple[str, str], int] = {}
            for key in keys:
                line = key.start_mark.line + 1
                if (key.tag, key.value) in first:
                    also = first[key.tag, key.value]
                    raise InputError(f"{path}, line {line}: the key {key.value!r} is there twice (line {also}).")
                first[key.tag, key.value] = line


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (key, value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
