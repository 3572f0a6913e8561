"""taskpgm demo and taskpgm run: the whole way from tasks to a certified mixture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taskpgm.commands.options import Json, Out, Wait
from taskpgm.commands.places import Address, Gpus, On, executor_at

if TYPE_CHECKING:
    from taskpgm.mixture import Mixture
    from taskpgm.types import TaskSet


def demo(
    out: Out = Path("taskpgm-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the suite, the base model and the experts.", min=0)] = 0,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """The whole story on an embedded suite of fourteen small tasks: no network needed, about a minute."""
    from taskpgm.progress import terminal_progress
    from taskpgm.report_page import write_page
    from taskpgm.run_directory import run_directory
    from taskpgm.study import STUDIED_STEPS, study_line
    from taskpgm.suite_run import run_demo

    with terminal_progress(quiet=as_json) as progress, run_directory(out, "demo", progress, wait=wait) as logged:
        mixture, fresh, tasks = run_demo(out, seed, logged)
        page = write_page(out)
    _finish(mixture, tasks, out, page, fresh, as_json)
    if not as_json and (line := study_line("easy-redundant", STUDIED_STEPS)) is not None:
        print(line)


def run(
    config: Annotated[Path, typer.Argument(help="The run's YAML file.")],
    out: Out = Path("runs/default"),
    on: On = "local",
    address: Address = None,
    gpus: Gpus = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """From data sets to a certified mixture and a page that explains it: tasks, experts, affinities, mixture.

    Goes on where it stopped.
    """
    from taskpgm.config import load_config
    from taskpgm.pipeline import run as run_pipeline
    from taskpgm.progress import terminal_progress
    from taskpgm.report_page import write_page
    from taskpgm.run_directory import run_directory

    settings = load_config(config)
    with (
        terminal_progress(quiet=as_json) as progress,
        run_directory(out, "run", progress, wait=wait) as logged,
        executor_at(on, address, gpus) as executor,
    ):
        mixture, fresh, tasks = run_pipeline(settings, out, logged, executor)
        page = write_page(out)
    _finish(mixture, tasks, out, page, fresh, as_json)


def _finish(mixture: Mixture, tasks: TaskSet, out: Path, page: Path, fresh: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**mixture.as_dict(), "computed": fresh, "notes": list(tasks.notes)}, ensure_ascii=False))
        return
    from taskpgm.terminal import print_energy, print_mixture

    for note in tasks.notes:
        print(f"Note: {note}")
    print_mixture(mixture)
    print_energy(mixture)
    if not fresh:
        print(f"Nothing left to do: {out} already holds this run's mixture.")
    path = out / "mixture.json"
    print(f"Written to {path}; check it with: taskpgm verify {path}")
    print(f"The page that explains it: {page}")
