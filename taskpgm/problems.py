"""Where the discrete problems of a comparison come from: a run, a mixture, or anyone's model file.

model = load_model(Path("runs/a"))                  # a task network, or a pairwise network from a .uai file
discrete_problems(model, quanta=(6, 12))            # [("6 quanta", ...), ("12 quanta", ...)]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taskpgm.coverage import CoverageNetwork
from taskpgm.judge import Problem
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.separable import SeparableNetwork
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import InputError

MODEL_SUFFIXES = (".uai", ".wcsp", ".cfn", ".fg")
MIXTURE_FILE = "mixture.json"


def load_model(path: Path) -> TaskNetwork | PairwiseNetwork:
    """The network in a run's folder, in a mixture.json, or in a model file.

    Of a coverage energy it is the pairwise network that agrees with it to second order at the file's mixture.

    Raises:
        InputError: none of these, or a file that cannot be used.
    """
    if path.suffix.lower() in MODEL_SUFFIXES:
        from taskpgm.formats import read_network

        return read_network(path)
    from taskpgm.mixture import Mixture

    mixture = Mixture.from_json(mixture_path(path))
    if isinstance(mixture.network, CoverageNetwork):
        return mixture.network.expand(list(mixture.weights.values()))
    if isinstance(mixture.network, SeparableNetwork):
        raise InputError(f"{path}: its tasks share nothing but the budget, which dynamic programming solves exactly.")
    if isinstance(mixture.network, TransferNetwork):
        raise InputError(f"{path}: its tasks meet in what they learn, not in pairs: no discrete method takes that.")
    return mixture.network


def mixture_path(path: Path) -> Path:
    """The mixture's file in a run's folder, or the file itself.

    Raises:
        InputError: a folder without one.
    """
    if not path.is_dir():
        return path
    if not (path / MIXTURE_FILE).is_file():
        raise InputError(f"{path}: holds no {MIXTURE_FILE}: finish the run first (taskpgm run ... --out {path}).")
    return path / MIXTURE_FILE


def discrete_problems(
    model: TaskNetwork | PairwiseNetwork, *, quanta: Sequence[int] = (), free: bool = False, cap: int | None = None
) -> list[tuple[str, Problem]]:
    """The levels of a task network for each number of quanta and, if asked for, without a budget; or the model itself.

    Raises:
        InputError: a task network and no levels asked for; or levels asked of a model that is discrete already.
    """
    if isinstance(model, PairwiseNetwork):
        if quanta or free or cap is not None:
            raise InputError("the model file is a discrete network already: leave out --quanta, --free and --cap.")
        return [("the model", model)]
    if not quanta and not free:
        raise InputError("say into how many parts the budget is cut (--quanta 10), or that there is none (--free).")
    capped = "" if cap is None else f", at most {cap} each"
    problems: list[tuple[str, Problem]] = [
        (f"{count} quanta{capped}", model.levels(count, cap)) for count in dict.fromkeys(quanta)
    ]
    if free:
        problems.append((f"free budget, levels 0 to {cap or 1}", model.levels(None, cap or 1)))
    return problems
