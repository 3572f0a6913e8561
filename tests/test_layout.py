"""The direction of imports: no circles, and the half that works on graphical models needs no model and no GPU."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import taskpgm

ROOT = Path(taskpgm.__file__).parent
MODEL_LIBRARIES = {"torch", "transformers", "datasets", "peft", "accelerate", "tokenizers", "lm_eval", "triton"}
PGM_HALF = ("network", "coverage", "inference", "judge", "explanation", "uncertainty", "shadow_prices", "forecasting")
PIPELINE = (
    *("types", "tasks", "experts", "predictive", "divergences", "utilities", "affinity", "network", "judge"),
    *("inference", "mixture", "exporters", "baselines", "pipeline", "cli"),
)
"""DESIGN section 3, but that the judge stands before inference: the driver asks it, and it asks nobody."""


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = ast.parse(path.read_text())
    return found


def statements(tree: ast.AST, everywhere: bool) -> Iterator[ast.stmt]:
    """Import statements: of the module's own level, without those for type checkers alone; or all of them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from statements(node, everywhere)


def imported(tree: ast.AST, everywhere: bool) -> set[str]:
    """Dotted names; of `from a import b` both a and a.b, since b may be a module."""
    names: set[str] = set()
    for node in statements(tree, everywhere):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def own_imports(everywhere: bool) -> dict[str, set[str]]:
    """Which of the package's modules each of them imports."""
    trees = modules()
    known = set(trees)
    return {
        name: {target for each in imported(tree, everywhere) if (target := each.removeprefix("taskpgm.")) in known}
        - {name, ""}
        for name, tree in trees.items()
    }


def reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [each for each in graph if each in graph[name]]
    return seen


def test_no_module_imports_itself_through_others() -> None:
    graph = own_imports(everywhere=False)
    inside = {name: {each for each in targets if not name.startswith(f"{each}.")} for name, targets in graph.items()}
    circles = [name for name in inside if any(name in reachable(other, inside) for other in inside[name] if other)]
    # a package's __init__ lists its files, which may import each other but not the list
    assert [name for name in circles if name] == []


def test_the_pipeline_points_one_way() -> None:
    graph = own_imports(everywhere=False)
    order = {name: place for place, name in enumerate(PIPELINE)}
    for name, targets in graph.items():
        mine = order.get(name.split(".")[0])
        for target in targets:
            theirs = order.get(target.split(".")[0])
            if mine is not None and theirs is not None:
                assert theirs <= mine, f"taskpgm.{name} imports taskpgm.{target}, which comes later"


def test_the_graphical_model_half_needs_no_model_library() -> None:
    graph, trees = own_imports(everywhere=False), modules()
    half = set().union(*(reachable(name, graph) for each in PGM_HALF for name in graph if name.split(".")[0] == each))
    assert len(half) > 40
    for name in sorted(half):
        wrong = {each.split(".")[0] for each in imported(trees[name], everywhere=True)} & MODEL_LIBRARIES
        assert not wrong, f"taskpgm.{name} imports {wrong}"


def test_exporting_starts_without_any_model_library() -> None:
    """A function may import one; loading a module may not, so that an export needs neither model half nor trainer."""
    graph, trees = own_imports(everywhere=False), modules()
    for name in sorted(reachable("exporting", graph) | reachable("commands.exporting", graph)):
        assert not {each.split(".")[0] for each in imported(trees[name], everywhere=False)} & MODEL_LIBRARIES, name
