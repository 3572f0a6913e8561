"""The public face: every name is there, comes from where it says, and no module hides it."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from public_api import public_api

import taskpgm as tp


@pytest.mark.parametrize("name", tp.__all__)
def test_every_public_name_is_what_it_says(name: str) -> None:
    value = getattr(tp, name)
    assert not isinstance(value, type(tp)), f"tp.{name} is a module"
    assert value.__doc__ or name.isupper()


def test_no_module_has_the_name_of_something_public() -> None:
    """Importing such a module would put it in the place of what users mean by the name."""
    modules = {module.name for module in pkgutil.iter_modules(tp.__path__)}
    assert modules & set(tp.__all__) == {"judge"}  # imported with the package itself, so that the function wins


def test_names_are_listed_once_and_unknown_ones_are_named() -> None:
    assert len(set(tp.__all__)) == len(tp.__all__)
    assert set(tp.__all__) <= set(dir(tp))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        tp.nonsense  # noqa: B018


def test_importing_the_package_is_light() -> None:
    heavy = ("torch", "cvxpy", "pgmpy", "numba", "matplotlib", "pytoulbar2", "scipy.optimize")
    code = f"import sys, taskpgm.inference, taskpgm.baselines; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_module_imports() -> None:
    for module in pkgutil.walk_packages(tp.__path__, "taskpgm."):
        if module.name not in {
            "taskpgm.__main__",
            "taskpgm.divergences.triton_kernels",
        }:  # test_device.py runs the latter
            importlib.import_module(module.name)


def test_what_users_can_rely_on_changes_by_decision() -> None:
    """Names, parameters and members, each with its default, as they were when somebody last decided on them."""
    stored = (Path(__file__).parent / "public_api.txt").read_text(encoding="utf-8")
    known, found = set(stored.splitlines()), set(public_api().splitlines())
    gone, new = sorted(known - found), sorted(found - known)
    assert public_api() == stored, (
        f"the public face is another one: gone {gone}, new {new}. A change is a decision: if it is one, run"
        " `python tests/public_api.py > tests/public_api.txt`, and tell users in CHANGELOG.md."
    )
