"""taskpgm evaluate: does the mixture help the final model?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from taskpgm.commands.options import Json, Out, Wait
from taskpgm.commands.places import Address, Gpus, On, executor_at
from taskpgm.types import InputError


def evaluate(
    config: Annotated[Path | None, typer.Argument(help="The run's YAML file, with its section evaluation.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Training runs on each mixture; one gives no interval.")] = 3,
    out: Out = Path("runs/default"),
    suite: Annotated[
        str | None, typer.Option(help="An embedded suite instead: easy-redundant, hard-redundant or interacting.")
    ] = None,
    steps: Annotated[
        list[int] | None, typer.Option(min=1, help="Steps of each run, instead of the file's; may be given again.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time here, each in a process of its own.")] = 1,
    on: On = "local",
    address: Address = None,
    gpus: Gpus = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Train on our mixture and on the baselines at equal budget, and compare held-out losses, paired by seed.

    Goes on where it stopped. Exit 1 if a training run failed.
    """
    from taskpgm.config import EvaluationSettings, load_config
    from taskpgm.evaluation_run import evaluate_config, evaluate_suite
    from taskpgm.problems import MIXTURE_FILE
    from taskpgm.progress import terminal_progress
    from taskpgm.report_page import write_page
    from taskpgm.run_directory import run_directory
    from taskpgm.settings import validated

    if (config is None) == (suite is None):
        raise InputError("give either a run's YAML file or --suite.")
    file = None if config is None else load_config(config)
    settings = EvaluationSettings() if file is None else file.evaluation
    if steps:
        settings = validated(EvaluationSettings, {**settings.model_dump(), "steps": steps}, "--steps")
    if on != "local" and jobs != 1:
        raise InputError(f"--jobs {jobs} is for runs here; a cluster does as many at a time as it has room for.")
    with (
        terminal_progress(quiet=as_json) as shown,
        run_directory(out, "evaluate", shown, wait=wait) as progress,
        executor_at(on, address, gpus) as executor,
    ):
        places: dict[str, Any] = {"jobs": jobs, "progress": progress, "executor": executor}
        if file is not None:
            changed = file.model_copy(update={"evaluation": settings})
            report = evaluate_config(changed, out, seeds=seeds, **places)
        else:
            report = evaluate_suite(str(suite), out, seeds=seeds, settings=settings, **places)
        page = write_page(out) if (out / MIXTURE_FILE).is_file() else None
    if as_json:
        print(json.dumps(report.as_dict(), ensure_ascii=False))
    else:
        from taskpgm.evaluation_terminal import print_report

        print_report(report)
        print(f"Written to {out / 'evaluation.json'}, every run included.")
        if page is not None:
            print(f"The page that explains the mixture shows it as well: {page}")
    raise typer.Exit(1 if report.evaluation.failed else 0)
