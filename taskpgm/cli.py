"""The command line: parse, call, print. Everything heavy is imported inside the commands."""

from __future__ import annotations

import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskpgm.network import DEFAULT_FLOOR, DEFAULT_RHO
from taskpgm.types import InputError

if TYPE_CHECKING:
    from taskpgm.mixture import Mixture
    from taskpgm.network import TaskNetwork
    from taskpgm.pairwise import PairwiseNetwork
    from taskpgm.progress import Progress
    from taskpgm.types import TaskSet

app = typer.Typer(
    name="taskpgm",
    help="How much of each task goes into a fine-tuning budget: a Markov random field over tasks, solved with a proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines instead of tables.")]
Out = Annotated[
    Path, typer.Option("--out", help="Folder for everything that the run makes; a later run goes on from it.")
]


@app.command()
def demo(
    out: Out = Path("taskpgm-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the suite, the base model and the experts.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """The whole story on an embedded suite of fourteen small tasks: no network needed, about a minute."""
    from taskpgm.pipeline import run_demo
    from taskpgm.progress import terminal_progress
    from taskpgm.study import STUDIED_STEPS, study_line

    with terminal_progress(quiet=as_json) as progress:
        mixture, fresh, tasks = run_demo(out, seed, progress)
    _finish(mixture, tasks, out, fresh, as_json)
    if not as_json and (line := study_line("easy-redundant", STUDIED_STEPS)) is not None:
        print(line)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The run's YAML file.")],
    out: Out = Path("runs/default"),
    as_json: Json = False,
) -> None:
    """From data sets to a certified mixture: tasks, experts, affinities, mixture. Goes on where it stopped."""
    from taskpgm.config import load_config
    from taskpgm.pipeline import run as run_pipeline
    from taskpgm.progress import terminal_progress

    settings = load_config(config)
    with terminal_progress(quiet=as_json) as progress:
        mixture, fresh, tasks = run_pipeline(settings, out, progress)
    _finish(mixture, tasks, out, fresh, as_json)


SimilarityFile = typer.Option(help="CSV: task names as header and first column, symmetric numbers.")
UtilityFile = typer.Option(help="CSV: a header, then a task name and a number per row.")
Rho = Annotated[float, typer.Option(min=0.0, help="Strength of the utilities; beta follows from it.")]
Beta = Annotated[float | None, typer.Option(help="Weight of the utilities, instead of the balanced one.")]
Lam = Annotated[float, typer.Option(min=0.0, help="Weight of the redundancy term.")]
Tau = Annotated[float, typer.Option(min=0.0, help="Weight of the pull towards the uniform mixture.")]
Floor = Annotated[float, typer.Option(min=0.0, max=1.0, help="Least weight of a task, in uniform weights.")]


@app.command()
def solve(
    similarity: Annotated[Path, SimilarityFile],
    utility: Annotated[Path, UtilityFile],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the mixture and its proof to this JSON file.")
    ] = None,
    rho: Rho = DEFAULT_RHO,
    beta: Beta = None,
    lam: Lam = 1.0,
    tau: Tau = 0.0,
    floor: Floor = DEFAULT_FLOOR,
    feasible: Annotated[
        Path | None, typer.Option(help="YAML: the section `feasible` of a run's file, instead of --floor.")
    ] = None,
    choose: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Choose beta by effective_tasks=NUMBER, knee or utility_share=SHARE; or nearest_prior=SHARE, the"
            " mixture nearest to the prior with that share of the utility.",
        ),
    ] = None,
    indefinite: Annotated[
        str,
        typer.Option(
            metavar="WAY",
            help="What to do with similarities that are not positive semidefinite: refuse; shift or project, and say"
            " how far off the energy can be; or global, a search with a bound.",
        ),
    ] = "refuse",
    plot_path: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw weights along all trade-offs, and this one: .png, .svg or .pdf."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Only the mathematics: a certified mixture from your own similarities and utilities."""
    from taskpgm.choice import Rule, apply_rule, path_of
    from taskpgm.indefinite import Treatment
    from taskpgm.mixture import Mixture
    from taskpgm.plots import check_ending, save_trade_off
    from taskpgm.shadow_prices import prices

    if plot_path is not None:
        check_ending(plot_path)
    if choose is not None and beta is not None:
        raise InputError("give --beta or --choose, not both: the rule chooses beta.")
    rule = None if choose is None else Rule.parse(choose)
    network = _network_from_files(similarity, utility, rho, beta, lam, tau, floor)
    settings: dict[str, Any] = {
        "rho": rho if beta is None else None,
        "beta": network.beta,
        "lam": lam,
        "tau": tau,
        "floor": floor,
    }
    details: dict[str, Any] = {"settings": settings}
    if feasible is not None:
        network, settings["feasible"] = _constrained(network, feasible)
    treated = Treatment.of(network, indefinite)
    network = whole = treated.network
    chosen = None
    if treated.how == "global" and (rule is not None or plot_path is not None):
        raise InputError("--indefinite global finds no path of trade-offs: leave --choose and --plot-path out.")
    if rule is not None:
        chosen = apply_rule(network, rule)
        network, details["choice"] = chosen.network, chosen.as_dict()
        settings |= {"rho": None, "beta": network.beta, "lam": network.lam, "tau": network.tau}
    solution = treated.solve(network)
    if treated.how != "refuse":
        details["indefinite"] = treated.as_dict(solution)
    if feasible is not None and solution.point is not None:
        details["constraints"] = prices(network, solution).as_dict()
    mixture = Mixture.from_solution(network, solution, details=details)
    if out is not None:
        mixture.to_json(out)
    if plot_path is not None:
        path = path_of(whole) if chosen is None or chosen.path is None else chosen.path
        on_path = rule is None or rule.nearest_prior is None
        save_trade_off(plot_path, path, solution.point, network.beta if on_path else None)
        print(f"Drawn to {plot_path}.", file=sys.stderr)
    if as_json:
        print(json.dumps(mixture.as_dict(), ensure_ascii=False))
        return
    from taskpgm.terminal import print_energy, print_mixture

    print_mixture(mixture)
    print_energy(mixture)
    if out is not None:
        check = "" if indefinite == "global" else f"; check it with: taskpgm verify {out}"  # it knows convex energies
        print(f"Written to {out}{check}")


@app.command()
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
    from taskpgm.plots import check_ending, save_comparison
    from taskpgm.problems import discrete_problems, load_model
    from taskpgm.progress import terminal_progress
    from taskpgm.terminal import print_comparison

    if plot is not None:
        check_ending(plot)
    if source is not None and similarity is None and utility is None:
        model = load_model(source)
    elif source is None and similarity is not None and utility is not None:
        model = _network_from_files(similarity, utility, rho, beta, lam, tau, floor)
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


@app.command()
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
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each in a process of its own.")] = 1,
    as_json: Json = False,
) -> None:
    """Train on our mixture and on the baselines at equal budget, and compare held-out losses, paired by seed.

    Goes on where it stopped. Exit 1 if a training run failed.
    """
    from taskpgm.config import EvaluationSettings, load_config
    from taskpgm.evaluation_report import evaluate_config, evaluate_suite
    from taskpgm.progress import terminal_progress
    from taskpgm.settings import validated

    if (config is None) == (suite is None):
        raise InputError("give either a run's YAML file or --suite.")
    file = None if config is None else load_config(config)
    settings = EvaluationSettings() if file is None else file.evaluation
    if steps:
        settings = validated(EvaluationSettings, {**settings.model_dump(), "steps": steps}, "--steps")
    with terminal_progress(quiet=as_json) as progress:
        if file is not None:
            changed = file.model_copy(update={"evaluation": settings})
            report = evaluate_config(changed, out, seeds=seeds, jobs=jobs, progress=progress)
        else:
            report = evaluate_suite(str(suite), out, seeds=seeds, settings=settings, jobs=jobs, progress=progress)
    if as_json:
        print(json.dumps(report.as_dict(), ensure_ascii=False))
    else:
        from taskpgm.evaluation_terminal import print_report

        print_report(report)
        print(f"Written to {out / 'evaluation.json'}, every run included.")
    raise typer.Exit(1 if report.evaluation.failed else 0)


@app.command()
def verify(
    mixture: Annotated[Path, typer.Argument(help="A mixture.json.")],
    as_json: Json = False,
) -> None:
    """Prove a mixture again from its own file, in exact arithmetic. Exit 0 if proved, 1 if not."""
    from taskpgm.mixture import Mixture

    checks = Mixture.from_json(mixture).verify()
    proved = all(check.passed for check in checks)
    if as_json:
        rows = [{"name": check.name, "passed": check.passed, "text": check.text} for check in checks]
        print(json.dumps({"proved": proved, "checks": rows}))
    else:
        for check in checks:
            print(f"{'ok ' if check.passed else 'NO '} {check.name}: {check.text}")
        print("Proved." if proved else "Not proved.")
    raise typer.Exit(0 if proved else 1)


def main() -> None:
    """Entry point: bad input and the system's refusals end with one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a task's name must not end the run
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="taskpgm")
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}. Nothing finished so far is lost.")
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _finish(mixture: Mixture, tasks: TaskSet, out: Path, fresh: bool, as_json: bool) -> None:
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


def _network_from_files(
    similarity: Path, utility: Path, rho: float, beta: float | None, lam: float, tau: float, floor: float
) -> TaskNetwork:
    from taskpgm.network import TaskNetwork, balanced_beta
    from taskpgm.tables import read_similarity, read_utility

    names, s = read_similarity(similarity)
    checked = TaskNetwork(read_utility(utility, names), s, names)  # before beta is computed from what may not fit
    u, s = checked.utility, checked.similarity
    chosen = balanced_beta(u, s, lam=lam, rho=rho) if beta is None else beta
    return TaskNetwork(u, s, names, beta=chosen, lam=lam, tau=tau, lower=floor / len(names))


def _constrained(network: TaskNetwork, path: Path) -> tuple[TaskNetwork, dict[str, Any]]:
    """The network within the feasible set that a file describes, and what the file says."""
    from taskpgm.config import FeasibleSettings
    from taskpgm.feasible_settings import feasible_set
    from taskpgm.settings import read_yaml, validated

    settings = validated(FeasibleSettings, read_yaml(path), str(path))
    lower, upper, constraints = feasible_set(settings, network.names, None, "tokens", None)
    return network.changed(lower=lower, upper=upper, constraints=constraints), settings.model_dump(mode="json")


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
