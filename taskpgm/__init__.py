"""TaskPGM: how much of each task goes into a fine-tuning budget, as a Markov random field over tasks, with a proof.

The public names are spelled out here and imported on first use: `import taskpgm` itself stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Imported now, not on first use: the module of the same name would otherwise hide the function.
from taskpgm.judge import certificate, judge

if TYPE_CHECKING:
    from taskpgm.adaptive import AdaptiveMixture
    from taskpgm.affinity import ExponentialSimilarity, LinearSimilarity, estimate_affinity
    from taskpgm.capacity import CapacityMixture
    from taskpgm.choice import choose
    from taskpgm.config import LoraSettings, ProbeSettings, SplitSettings, TaskSource, TrainingSettings
    from taskpgm.constraints import CostBound, EffectiveTasks, EpochCap, Group, TrustRegion, UtilityFloor
    from taskpgm.contradictions import contested_prompts
    from taskpgm.coverage import CoverageNetwork
    from taskpgm.curvature import convexity, projected, shifted
    from taskpgm.curves import diagnose, fit_curves
    from taskpgm.divergences import (
        Hellinger,
        JensenShannon,
        KullbackLeibler,
        RenyiJensen,
        TotalVariation,
        jensen_shannon,
    )
    from taskpgm.envelope_curves import EnvelopeCurves
    from taskpgm.exact import exact_certificate
    from taskpgm.exact_path import TradeOff, trade_off
    from taskpgm.executors.cluster import ray_cluster
    from taskpgm.expected_curves import ExpectedCurves
    from taskpgm.expert_settings import ExpertSettings
    from taskpgm.experts import train_experts
    from taskpgm.explanation import explain, sensitivity
    from taskpgm.exporting import export
    from taskpgm.factored import FactoredNetwork
    from taskpgm.forecasting import forecast
    from taskpgm.formats import read_network, write_network
    from taskpgm.global_search import global_solution
    from taskpgm.incremental import DivergenceTable, without_task
    from taskpgm.inference import (
        MARGINAL_METHODS,
        METHODS,
        Allocation,
        BranchAndBound,
        CoverageDescent,
        CoverageProgram,
        DynamicProgram,
        EnvelopeProgram,
        Exhaustive,
        SimplexQP,
        TransferDescent,
        best_method,
        marginals,
        solve,
    )
    from taskpgm.interplay import Interplay
    from taskpgm.intervals import interval_effect
    from taskpgm.learning_curves import LearningCurves
    from taskpgm.mixed_data import materialise
    from taskpgm.mixture import Mixture
    from taskpgm.movement import expert_movement
    from taskpgm.network import TaskNetwork, balanced_beta
    from taskpgm.pairwise import PairwiseNetwork
    from taskpgm.pgm import from_pgmpy
    from taskpgm.planning import plan_mixture
    from taskpgm.predictive import predict
    from taskpgm.probe_count import enough_probes
    from taskpgm.report_page import write_page
    from taskpgm.sampler import MixtureSampler
    from taskpgm.separable import SeparableNetwork
    from taskpgm.served import predictions_from_logprobs
    from taskpgm.shadow_prices import prices
    from taskpgm.suite import demo_suite, embedded_suite
    from taskpgm.tasks import load_tasks
    from taskpgm.training_curves import bin_losses, fit_training_curves
    from taskpgm.training_mixture import TrainingMixture
    from taskpgm.transfer import exposure_transfer
    from taskpgm.transfer_network import TransferNetwork
    from taskpgm.truncation import predict_within, smallest_top_k
    from taskpgm.types import InputError, Solution, Status
    from taskpgm.uncertainty import bootstrap
    from taskpgm.utilities import HeldoutGain, Learnability, Representativeness, Supplied

__version__ = "0.1.0"

_HOME = {
    "adaptive": ("AdaptiveMixture",),
    "affinity": ("ExponentialSimilarity", "LinearSimilarity", "estimate_affinity"),
    "capacity": ("CapacityMixture",),
    "choice": ("choose",),
    "config": ("LoraSettings", "ProbeSettings", "SplitSettings", "TaskSource", "TrainingSettings"),
    "constraints": ("CostBound", "EffectiveTasks", "EpochCap", "Group", "TrustRegion", "UtilityFloor"),
    "coverage": ("CoverageNetwork",),
    "curvature": ("convexity", "projected", "shifted"),
    "curves": ("diagnose", "fit_curves"),
    "divergences": (
        "Hellinger",
        "JensenShannon",
        "KullbackLeibler",
        "RenyiJensen",
        "TotalVariation",
        "jensen_shannon",
    ),
    "contradictions": ("contested_prompts",),
    "exact": ("exact_certificate",),
    "exact_path": ("TradeOff", "trade_off"),
    "executors.cluster": ("ray_cluster",),
    "expected_curves": ("ExpectedCurves",),
    "expert_settings": ("ExpertSettings",),
    "experts": ("train_experts",),
    "exporting": ("export",),
    "explanation": ("explain", "sensitivity"),
    "factored": ("FactoredNetwork",),
    "global_search": ("global_solution",),
    "formats": ("read_network", "write_network"),
    "forecasting": ("forecast",),
    "incremental": ("DivergenceTable", "without_task"),
    "inference": (
        "MARGINAL_METHODS",
        "METHODS",
        "Allocation",
        "BranchAndBound",
        "CoverageDescent",
        "CoverageProgram",
        "DynamicProgram",
        "EnvelopeProgram",
        "Exhaustive",
        "SimplexQP",
        "TransferDescent",
        "best_method",
        "marginals",
        "solve",
    ),
    "envelope_curves": ("EnvelopeCurves",),
    "interplay": ("Interplay",),
    "intervals": ("interval_effect",),
    "learning_curves": ("LearningCurves",),
    "mixed_data": ("materialise",),
    "mixture": ("Mixture",),
    "movement": ("expert_movement",),
    "network": ("TaskNetwork", "balanced_beta"),
    "pairwise": ("PairwiseNetwork",),
    "pgm": ("from_pgmpy",),
    "planning": ("plan_mixture",),
    "predictive": ("predict",),
    "probe_count": ("enough_probes",),
    "sampler": ("MixtureSampler",),
    "separable": ("SeparableNetwork",),
    "report_page": ("write_page",),
    "served": ("predictions_from_logprobs",),
    "shadow_prices": ("prices",),
    "suite": ("demo_suite", "embedded_suite"),
    "tasks": ("load_tasks",),
    "training_mixture": ("TrainingMixture",),
    "training_curves": ("bin_losses", "fit_training_curves"),
    "transfer": ("exposure_transfer",),
    "transfer_network": ("TransferNetwork",),
    "truncation": ("predict_within", "smallest_top_k"),
    "types": ("InputError", "Solution", "Status"),
    "uncertainty": ("bootstrap",),
    "utilities": ("HeldoutGain", "Learnability", "Representativeness", "Supplied"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "MARGINAL_METHODS",
    "METHODS",
    "AdaptiveMixture",
    "Allocation",
    "BranchAndBound",
    "CapacityMixture",
    "CostBound",
    "CoverageDescent",
    "CoverageNetwork",
    "CoverageProgram",
    "DivergenceTable",
    "DynamicProgram",
    "EffectiveTasks",
    "EnvelopeCurves",
    "EnvelopeProgram",
    "EpochCap",
    "Exhaustive",
    "ExpectedCurves",
    "ExpertSettings",
    "ExponentialSimilarity",
    "FactoredNetwork",
    "Group",
    "HeldoutGain",
    "Hellinger",
    "InputError",
    "Interplay",
    "JensenShannon",
    "KullbackLeibler",
    "Learnability",
    "LearningCurves",
    "LinearSimilarity",
    "LoraSettings",
    "Mixture",
    "MixtureSampler",
    "PairwiseNetwork",
    "ProbeSettings",
    "RenyiJensen",
    "Representativeness",
    "SeparableNetwork",
    "SimplexQP",
    "Solution",
    "SplitSettings",
    "Status",
    "Supplied",
    "TaskNetwork",
    "TaskSource",
    "TotalVariation",
    "TradeOff",
    "TrainingMixture",
    "TrainingSettings",
    "TransferDescent",
    "TransferNetwork",
    "TrustRegion",
    "UtilityFloor",
    "balanced_beta",
    "best_method",
    "bin_losses",
    "bootstrap",
    "certificate",
    "choose",
    "contested_prompts",
    "convexity",
    "demo_suite",
    "diagnose",
    "embedded_suite",
    "enough_probes",
    "estimate_affinity",
    "exact_certificate",
    "expert_movement",
    "explain",
    "export",
    "exposure_transfer",
    "fit_curves",
    "fit_training_curves",
    "forecast",
    "from_pgmpy",
    "global_solution",
    "interval_effect",
    "jensen_shannon",
    "judge",
    "load_tasks",
    "marginals",
    "materialise",
    "plan_mixture",
    "predict",
    "predict_within",
    "predictions_from_logprobs",
    "prices",
    "projected",
    "ray_cluster",
    "read_network",
    "sensitivity",
    "shifted",
    "smallest_top_k",
    "solve",
    "trade_off",
    "train_experts",
    "without_task",
    "write_network",
    "write_page",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'taskpgm' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"taskpgm.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
