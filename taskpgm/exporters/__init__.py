"""Mixtures in the formats of trainers, one file a trainer.

To add a trainer: write one file with a subclass of Exporter, and put it into EXPORTERS. The contract tests take it from
there: reading its files back by the trainer's own rules must give the same weights.
"""

from taskpgm.exporters.axolotl import Axolotl
from taskpgm.exporters.energon import Energon
from taskpgm.exporters.exporter import Exporter, File
from taskpgm.exporters.hugging_face import HuggingFace
from taskpgm.exporters.levanter import Levanter
from taskpgm.exporters.llama_factory import LlamaFactory
from taskpgm.exporters.megatron_lm import MegatronLm
from taskpgm.exporters.mosaicml import MosaicMl
from taskpgm.exporters.ms_swift import MsSwift
from taskpgm.exporters.nanotron import Nanotron
from taskpgm.exporters.nemo import Nemo
from taskpgm.exporters.open_instruct import OpenInstruct
from taskpgm.exporters.places import Place
from taskpgm.exporters.plan import Plan, PlannedTask, Wish
from taskpgm.exporters.torchtitan import Torchtitan
from taskpgm.exporters.torchtune import Torchtune
from taskpgm.exporters.trl import Trl

EXPORTERS: tuple[Exporter, ...] = (
    HuggingFace(),
    Trl(),
    LlamaFactory(),
    Axolotl(),
    OpenInstruct(),
    MsSwift(),
    MegatronLm(),
    Nemo(),
    Energon(),
    MosaicMl(),
    Torchtitan(),
    Nanotron(),
    Levanter(),
    Torchtune(),
)

__all__ = ["EXPORTERS", "Exporter", "File", "Place", "Plan", "PlannedTask", "Wish"]
