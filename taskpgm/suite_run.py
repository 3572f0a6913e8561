"""Runs on the embedded suites, base model included, which is trained here.

mixture, fresh, tasks = run_suite("interacting", Path("runs/a"))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from taskpgm.base import Base, locate_base
from taskpgm.config import FeasibleSettings, MixtureSettings
from taskpgm.energy_settings import EnergySettings
from taskpgm.executors import LOCAL, Executor
from taskpgm.integrity import folder_damage, keep_sound, write_sums
from taskpgm.mixture import Mixture
from taskpgm.pipeline import mix
from taskpgm.progress import Progress, silent
from taskpgm.storage import atomic_directory, content_hash, versions
from taskpgm.types import TaskSet

if TYPE_CHECKING:
    from taskpgm.suite import Architecture


def run_demo(out: Path, seed: int = 0, progress: Progress = silent) -> tuple[Mixture, bool, TaskSet]:
    """The whole way on the suite "easy-redundant", base model included."""
    return run_suite("easy-redundant", out, seed, progress)


def run_suite(
    name: str, out: Path, seed: int = 0, progress: Progress = silent, executor: Executor = LOCAL
) -> tuple[Mixture, bool, TaskSet]:
    """The whole way on an embedded suite, base model included, which is trained here.

    Raises:
        InputError: there is no suite of this name.
    """
    from taskpgm.suite import DEMO_PROBES, DEMO_TRAINING, embedded_suite

    tasks = embedded_suite(name, seed)
    base = suite_base(name, out, seed, progress)
    training = DEMO_TRAINING.model_copy(update={"seed": seed})
    others = (EnergySettings(), FeasibleSettings(), MixtureSettings())
    mixture, fresh = mix(tasks, base, out, training, DEMO_PROBES, *others, progress=progress, executor=executor)
    return mixture, fresh, tasks


def suite_base(
    name: str, out: Path, seed: int = 0, progress: Progress = silent, *, architecture: Architecture = "Llama"
) -> Base:
    """The base model of an embedded suite: trained, or found in out/base."""
    from taskpgm.suite import BASE_TRAINING, build_base, find_suite

    suite = find_suite(name)
    recipe = {**suite.base_recipe(seed, architecture), "versions": versions("torch", "transformers", "accelerate")}
    directory = out / "base" / content_hash(recipe)
    if not (directory.is_dir() and keep_sound(directory, folder_damage)):
        total = BASE_TRAINING.steps
        with atomic_directory(directory) as folder:
            told = "operations under random names"
            build_base(suite, folder, seed, lambda step: progress("base", step, total, told), architecture)
            write_sums(folder)
    return locate_base(directory)
