"""taskpgm solve: only the mathematics, on similarities and utilities of the user's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskpgm.commands.options import Beta, Floor, Json, Lam, Rho, SimilarityFile, Tau, UtilityFile, network_from_files
from taskpgm.network import DEFAULT_FLOOR, DEFAULT_RHO
from taskpgm.types import InputError

if TYPE_CHECKING:
    from taskpgm.network import TaskNetwork


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
    from taskpgm.pictures import check_ending
    from taskpgm.plots import save_trade_off
    from taskpgm.shadow_prices import prices

    if plot_path is not None:
        check_ending(plot_path)
    if choose is not None and beta is not None:
        raise InputError("give --beta or --choose, not both: the rule chooses beta.")
    rule = None if choose is None else Rule.parse(choose)
    network = network_from_files(similarity, utility, rho, beta, lam, tau, floor)
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


def _constrained(network: TaskNetwork, path: Path) -> tuple[TaskNetwork, dict[str, Any]]:
    """The network within the feasible set that a file describes, and what the file says."""
    from taskpgm.config import FeasibleSettings
    from taskpgm.feasible_settings import feasible_set
    from taskpgm.settings import validated
    from taskpgm.yaml_files import read_yaml

    settings = validated(FeasibleSettings, read_yaml(path), str(path))
    lower, upper, constraints = feasible_set(settings, network.names, None, "tokens", None)
    return network.changed(lower=lower, upper=upper, constraints=constraints), settings.model_dump(mode="json")
