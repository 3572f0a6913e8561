"""The models of experts, one after the other; with adapters, or in context, all on one base in memory.

    models = ExpertModels(experts)
    for index in range(len(experts.names)):
        model = models.expert(index)        # takes the last one's adapter off

Each predicts what `Experts.load` gives, bit for bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taskpgm.adapters import adapted, without_adapter
from taskpgm.base import load_base
from taskpgm.experts import Experts


class ExpertModels:
    """The base and the experts, to read predictions from. A model is good until the next one is asked for."""

    def __init__(self, experts: Experts) -> None:
        self.experts = experts
        self._shared: Any | None = None

    def base(self) -> Any:
        """The base model."""
        if self._shared is not None:
            self._shared = without_adapter(self._shared)
            return self._shared
        loaded = load_base(self.experts.base, self.experts.training.precision)
        if self.experts.on_base:
            self._shared = loaded
        return loaded

    def expert(self, index: int) -> Any:
        """One expert's model."""
        return self.at(self.experts.directories[index])

    def at(self, folder: Path) -> Any:
        """The model of the expert in a folder; of an in-context one it is the base."""
        if not self.experts.settings.trained:
            return self.base()
        if self.experts.training.lora is None:
            return self.experts.load_from(folder)
        self._shared = adapted(self.base(), folder)
        return self._shared
