"""What a run's mixture file says beside the mixture: forecasts, doubts, the evidence, and what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from taskpgm.config import ProbeSettings
from taskpgm.coverage import CoverageNetwork
from taskpgm.curves import Finding, diagnose
from taskpgm.forecasting import forecast
from taskpgm.interplay import contested_findings
from taskpgm.types import Affinity, FloatArray, LossCurves, Solution

if TYPE_CHECKING:
    from taskpgm.experts import Experts


def forecast_details(network: CoverageNetwork, solution: Solution) -> dict[str, Any]:
    """What the mixture is forecast to reach, and the mean that the uniform one would."""
    even = np.full(len(network), 1.0 / len(network))
    return forecast(network, solution).as_dict() | {"uniform": forecast(network, even).mean}


def doubts(losses: LossCurves | None, learned: CoverageNetwork | None, solution: Solution) -> tuple[Finding, ...]:
    """What is doubtful of what the tasks want together, and of their curves."""
    curves = () if losses is None else diagnose(losses)
    if learned is None or solution.point is None:
        return curves
    return (*contested_findings(learned, solution.point), *curves)


def evidence_details(affinity: Affinity) -> dict[str, Any]:
    """What the experts say of each other, for whoever reads the file."""
    return {
        "utility": affinity.utility_name,
        "similarity": affinity.similarity_name,
        "gain": affinity.gain.tolist(),
        "divergence": affinity.divergence.tolist(),
        "divergence_interval": [affinity.divergence_lower.tolist(), _finite(affinity.divergence_upper)],
    }


def _finite(values: FloatArray) -> list[list[float | None]]:
    """As JSON values, None where a value is infinite."""
    return [[float(value) if np.isfinite(value) else None for value in row] for row in values]


def artefacts_of(experts: Experts, probes: ProbeSettings) -> dict[str, list[str]]:
    """The artefacts in the run's folder that the mixture rests on, by kind, in an order of their own."""
    from taskpgm.predictive import prediction_folders

    folders = [*experts.directories, *experts.shared, *prediction_folders(experts, probes)]
    if experts.base.path.parent == experts.out / "base":
        folders.append(experts.base.path)
    kinds = sorted({folder.parent.name for folder in folders})
    return {kind: sorted({folder.name for folder in folders if folder.parent.name == kind}) for kind in kinds}
