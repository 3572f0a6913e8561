"""Published mixture rules, one file each, on the evidence that the task networks use.

A baseline takes an `Evidence` and returns a point of the simplex that follows the tasks when these are reordered, or
says what it lacks. To add one: write a file, and put an instance into BASELINES.

    evidence = Evidence(tasks.names, sizes, budget=10_000, predictions=predictions, affinity=affinity)
    for baseline in BASELINES:
        print(baseline.name, baseline.refuses(evidence) or baseline.mixture(evidence))
"""

from taskpgm.baselines.ado import Ado
from taskpgm.baselines.baseline import Baseline
from taskpgm.baselines.capacity import Capacity
from taskpgm.baselines.careful_pairwise import CarefulPairwise
from taskpgm.baselines.chameleon import Chameleon
from taskpgm.baselines.evidence import Evidence, PilotRun, ProxyRuns
from taskpgm.baselines.literal_pairwise import LiteralPairwise
from taskpgm.baselines.mixing_law import SftMixingLaw
from taskpgm.baselines.mixmin import MixMin
from taskpgm.baselines.pmi_pairwise import PmiPairwise
from taskpgm.baselines.proportional import Proportional
from taskpgm.baselines.regmix import RegMix
from taskpgm.baselines.smart import SmartFacilityLocation, SmartGraphCut
from taskpgm.baselines.temperature import Temperature
from taskpgm.baselines.uniform import Uniform
from taskpgm.baselines.unimax import UniMax

BASELINES: tuple[Baseline, ...] = (
    Uniform(),
    Proportional(),
    Temperature(2.0),
    Temperature(5.0),
    UniMax(),
    MixMin(),
    Chameleon(),
    SmartGraphCut(),
    SmartFacilityLocation(),
    Capacity(),
    LiteralPairwise(),
    CarefulPairwise(),
    PmiPairwise(),
    SftMixingLaw(),
    Ado(),
    RegMix(),
)

__all__ = [
    "BASELINES",
    "Ado",
    "Baseline",
    "Capacity",
    "CarefulPairwise",
    "Chameleon",
    "Evidence",
    "LiteralPairwise",
    "MixMin",
    "PilotRun",
    "PmiPairwise",
    "Proportional",
    "ProxyRuns",
    "RegMix",
    "SftMixingLaw",
    "SmartFacilityLocation",
    "SmartGraphCut",
    "Temperature",
    "UniMax",
    "Uniform",
]
