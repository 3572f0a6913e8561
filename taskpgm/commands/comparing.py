"""taskpgm compare: every inference method on the same discrete networks, each answer judged."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taskpgm.commands.options import Beta, Floor, Json, Lam, Rho, SimilarityFile, Tau, UtilityFile, network_from_files
from taskpgm.network import DEFAULT_RHO
from taskpgm.types import InputError

if TYPE_CHECKING:
    from taskpgm.network import TaskNetwork
    from taskpgm.pairwise import PairwiseNetwork
    from taskpgm.progress import Progress


def compare(
    source: Annotated[
        Path | None,
        typer.Argument(help="A run's folder, a mixture.json, or a model file (.uai, .wcsp, .cfn, .fg)."),
    ] = None,
    similarity: Annotated[Path | None, SimilarityFile] = None,
    utility: Annotated[Path | None, UtilityFile] = None,
    quanta: Annotated[
        list[int] | None, typer.Option(min=1, help="Into how many equal parts the budget is cut; may be given again.")
    ] = None,
    free: Annotated[bool, typer.Option("--free", help="No budget: any level up to the cap of any task.")] = False,
    cap: Annotated[int | None, typer.Option(min=1, help="Most parts of one task; 1 selects tasks.")] = None,
    neighbours: Annotated[
        int | None, typer.Option(min=0, help="Keep only the strongest couplings of each task; the error is bounded.")
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.0, help="Seconds for each method.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the methods that draw random numbers.")] = 0,
    rho: Rho = DEFAULT_RHO,
    beta: Beta = None,
    lam: Lam = 1.0,
    tau: Tau = 0.0,
    floor: Floor = 0.0,
    plot: Annotated[Path | None, typer.Option(help="Also draw the comparison: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Every inference method on the same discrete networks, each answer judged; JSON is one line per method."""
    from taskpgm.comparison import compare as compare_methods
    from taskpgm.inference import METHODS
    from taskpgm.pictures import check_ending
    from taskpgm.plots import save_comparison
    from taskpgm.problems import discrete_problems, load_model
    from taskpgm.progress import terminal_progress
    from taskpgm.terminal import print_comparison

    if plot is not None:
        check_ending(plot)
    if source is not None and similarity is None and utility is None:
        model = load_model(source)
    elif source is None and similarity is not None and utility is not None:
        model = network_from_files(similarity, utility, rho, beta, lam, tau, floor)
    else:
        raise InputError("give either a run's folder or a file, or both --similarity and --utility.")
    if neighbours is not None:
        model = _sparse(model, neighbours)
    problems = discrete_problems(model, quanta=quanta or (), free=free, cap=cap)
    rows = []
    with terminal_progress(quiet=as_json) as progress:
        for place, (name, problem) in enumerate(problems):
            report = partial(_report, progress, place, len(problems), name)
            found = compare_methods(problem, METHODS, name=name, deadline=deadline, seed=seed, done=report)
            rows += found
            if as_json:
                for row in found:
                    print(json.dumps(row.as_dict(), ensure_ascii=False), flush=True)
    if not as_json:
        print_comparison(rows)
    if plot is not None:
        save_comparison(rows, plot)
        print(f"Drawn to {plot}.", file=sys.stderr)


def _sparse(model: TaskNetwork | PairwiseNetwork, neighbours: int) -> TaskNetwork:
    """The task network with its strongest couplings only; says what that can change."""
    from taskpgm.network import TaskNetwork
    from taskpgm.sparse import sparsified

    if not isinstance(model, TaskNetwork):
        raise InputError("--neighbours is for task networks: a model file keeps the couplings that it has.")
    sparse = sparsified(model, neighbours)
    low, high = sparse.error
    print(
        f"Without {sparse.dropped} weak couplings the energy of a mixture is off by {low:.3g} to {high:.3g}.",
        file=sys.stderr,
    )
    return sparse.network


def _report(progress: Progress, place: int, total: int, problem: str, method: str) -> None:
    progress("methods", place, total, f"{problem}: {method}")
