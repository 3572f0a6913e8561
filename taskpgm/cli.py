"""The command line: parse, call, print. Everything heavy is imported inside the commands."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taskpgm.network import DEFAULT_FLOOR, DEFAULT_RHO
from taskpgm.types import InputError

if TYPE_CHECKING:
    from taskpgm.comparison import Row
    from taskpgm.mixture import Mixture
    from taskpgm.network import TaskNetwork
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

    with terminal_progress(quiet=as_json) as progress:
        mixture, fresh, tasks = run_demo(out, seed, progress)
    _finish(mixture, tasks, out, fresh, as_json)


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
    as_json: Json = False,
) -> None:
    """Only the mathematics: a certified mixture from your own similarities and utilities."""
    from taskpgm.inference import SimplexQP
    from taskpgm.inference import solve as solve_network
    from taskpgm.mixture import Mixture

    network = _network_from_files(similarity, utility, rho, beta, lam, tau, floor)
    settings = {"rho": rho if beta is None else None, "beta": network.beta, "lam": lam, "tau": tau, "floor": floor}
    solution = solve_network(network, SimplexQP())
    mixture = Mixture.from_solution(network, solution, details={"settings": settings})
    if out is not None:
        mixture.to_json(out)
    if as_json:
        print(json.dumps(mixture.as_dict(), ensure_ascii=False))
        return
    _print_table(mixture)
    _print_energy(mixture)
    if out is not None:
        print(f"Written to {out}; check it with: taskpgm verify {out}")


@app.command()
def compare(
    quanta: Annotated[int, typer.Option(min=1, help="Into how many equal parts the budget is cut.")],
    similarity: Annotated[Path | None, SimilarityFile] = None,
    utility: Annotated[Path | None, UtilityFile] = None,
    mixture: Annotated[Path | None, typer.Option(help="A mixture.json, instead of the two CSV files.")] = None,
    cap: Annotated[int | None, typer.Option(min=1, help="Most parts of one task; 1 selects tasks.")] = None,
    deadline: Annotated[float, typer.Option(min=0.0, help="Seconds for each method.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the methods that draw random numbers.")] = 0,
    rho: Rho = DEFAULT_RHO,
    beta: Beta = None,
    lam: Lam = 1.0,
    tau: Tau = 0.0,
    floor: Floor = 0.0,
    as_json: Json = False,
) -> None:
    """Every inference method on the same discrete network, each answer judged; JSON is one line per method."""
    from taskpgm.comparison import compare as compare_methods
    from taskpgm.inference import METHODS
    from taskpgm.mixture import Mixture

    if mixture is not None and similarity is None and utility is None:
        network = Mixture.from_json(mixture).network
    elif mixture is None and similarity is not None and utility is not None:
        network = _network_from_files(similarity, utility, rho, beta, lam, tau, floor)
    else:
        raise InputError("give either --mixture, or both --similarity and --utility.")
    rows = compare_methods(network.levels(quanta, cap), METHODS, deadline=deadline, seed=seed)
    if as_json:
        for row in rows:
            print(json.dumps(row.as_dict(), ensure_ascii=False))
    else:
        _print_comparison(rows)


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


# ------------------------------------------------------------------------------------------------------------ printing


def _finish(mixture: Mixture, tasks: TaskSet, out: Path, fresh: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**mixture.as_dict(), "computed": fresh, "notes": list(tasks.notes)}, ensure_ascii=False))
        return
    for note in tasks.notes:
        print(f"Note: {note}")
    _print_table(mixture)
    _print_energy(mixture)
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


def _print_comparison(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Methods, best energy first")
    for heading in ("method", "status", "energy", "excess", "gap", "seconds", "remark"):
        table.add_column(heading, justify="left" if heading in ("method", "status", "remark") else "right")
    for row in rows:
        verdict = row.verdict
        found = verdict.energy < float("inf")
        table.add_row(
            verdict.method,
            "proved" if verdict.proved else verdict.status.name,
            f"{verdict.energy:.9g}" if found else "",
            f"{verdict.excess:.2g}" if found else "",
            f"{verdict.gap:.2g}" if verdict.gap < float("inf") else "",
            f"{row.seconds:.3f}",
            verdict.message if row.trusted else f"NOT TRUSTED: {row.reason}",
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _print_table(mixture: Mixture) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from taskpgm.mixture import most_alike

    network, sizes = mixture.network, mixture.sizes
    total = sum(size.tokens for size in sizes.values()) if sizes else 0
    table = Table(title=f"Mixture (shares of the budget in {mixture.unit})" if sizes else "Mixture")
    table.add_column("task", overflow="fold")
    for heading in (*(("examples", "by size") if sizes else ()), "weight", "x uniform", "utility"):
        table.add_column(heading, justify="right")
    table.add_column("most alike", overflow="fold")
    for i, (name, (other, alike)) in enumerate(zip(network.names, most_alike(network), strict=True)):
        weight = mixture.weights[name]
        table.add_row(
            Text(name),
            *((f"{sizes[name].examples}", f"{sizes[name].tokens / total:.1%}") if sizes else ()),
            f"{weight:.1%}",
            f"{weight * len(network):.2f}",
            f"{network.utility[i]:.3f}",
            Text(f"{other} ({alike:.2f})"),
        )
    width = None if sys.stdout.isatty() else 200  # in a log: no folding
    Console(width=width).print(table)


def _print_energy(mixture: Mixture) -> None:
    network = mixture.network
    least = float(network.lower.min())
    utility = mixture.details.get("utility", "supplied")
    similarity = mixture.details.get("similarity", "supplied")
    print(f"Energy: utility {utility}, similarity {similarity}, {_terms(network)}, every weight at least {least:.4g}.")
    _print_caution(network, utility)
    if mixture.status == "optimal":
        print(f"Certified: no feasible mixture has an energy lower by more than {mixture.gap:.2g}.")
    else:
        print(f"NOT certified ({mixture.status}): the gap is {mixture.gap:.2g}.")


def _print_caution(network: TaskNetwork, utility: str) -> None:
    """Say where the utilities tell little, instead of letting the weights look better founded than they are."""
    unlearned = int((network.utility == 0.0).sum())
    if utility == "learnability" and unlearned > len(network) / 2:
        print(
            f"Beware: {unlearned} of {len(network)} tasks have utility 0: their experts learned nothing yet beyond how"
            " often each answer occurs. More training steps, or a stronger base, would tell hard tasks from noise."
        )
    elif network.beta == 0.0:
        print("The utilities are all equal, or were given no strength: the weights follow from the similarities alone.")


def _terms(network: TaskNetwork) -> str:
    prior = f", tau {network.tau:.4g}" if network.tau > 0.0 else ""
    return f"beta {network.beta:.4g}, lam {network.lam:.4g}{prior}"
