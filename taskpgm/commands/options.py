"""Options that several commands share, and the network that CSV files describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from taskpgm.network import TaskNetwork

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines instead of tables.")]
Out = Annotated[
    Path, typer.Option("--out", help="Folder for everything that the run makes; a later run goes on from it.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another run in the same folder, instead of an error.")]
SimilarityFile = typer.Option(help="CSV: task names as header and first column, symmetric numbers.")
UtilityFile = typer.Option(help="CSV: a header, then a task name and a number per row.")
Rho = Annotated[float, typer.Option(min=0.0, help="Strength of the utilities; beta follows from it.")]
Beta = Annotated[float | None, typer.Option(help="Weight of the utilities, instead of the balanced one.")]
Lam = Annotated[float, typer.Option(min=0.0, help="Weight of the redundancy term.")]
Tau = Annotated[float, typer.Option(min=0.0, help="Weight of the pull towards the uniform mixture.")]
Floor = Annotated[float, typer.Option(min=0.0, max=1.0, help="Least weight of a task, in uniform weights.")]


def network_from_files(
    similarity: Path, utility: Path, rho: float, beta: float | None, lam: float, tau: float, floor: float
) -> TaskNetwork:
    from taskpgm.network import TaskNetwork, balanced_beta
    from taskpgm.tables import read_similarity, read_utility

    names, s = read_similarity(similarity)
    checked = TaskNetwork(read_utility(utility, names), s, names)  # before beta is computed from what may not fit
    u, s = checked.utility, checked.similarity
    chosen = balanced_beta(u, s, lam=lam, rho=rho) if beta is None else beta
    return TaskNetwork(u, s, names, beta=chosen, lam=lam, tau=tau, lower=floor / len(names))
