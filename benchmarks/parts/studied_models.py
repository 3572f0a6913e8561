"""What the study fine-tunes, and how: its own small Llama as a whole, and one of Qwen2's architecture by adapters."""

from __future__ import annotations

from dataclasses import dataclass

from taskpgm.config import LoraSettings, TrainingSettings
from taskpgm.suite import DEMO_TRAINING, Architecture


@dataclass(frozen=True)
class Studied:
    """A suite's base model by its architecture, and how it is fine-tuned, for as long as experts are."""

    name: str
    architecture: Architecture
    training: TrainingSettings


WHOLE = Studied("llama", "Llama", DEMO_TRAINING)
ADAPTERS = Studied(
    "qwen2-lora",
    "Qwen2",
    DEMO_TRAINING.model_copy(update={"learning_rate": 1e-2, "lora": LoraSettings(rank=16, alpha=32.0)}),
)
MODELS = {model.name: model for model in (WHOLE, ADAPTERS)}
