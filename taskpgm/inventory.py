"""What lies in a run's folder, and what of it a finished mixture rests on.

    artefacts(Path("runs/a"))           # every expert, every file of predictions, every training run, ...
    all_sound(out, references)          # False where one of those that are referred to was damaged, and is gone now

Nothing here trains or loads a model, and nothing is looked for outside the folder: links are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from taskpgm.expert_curves import expert_damage
from taskpgm.integrity import folder_damage, keep_sound, sealed_damage
from taskpgm.tensor_files import tensors_damage

References: TypeAlias = Mapping[str, Collection[str]]
"""By kind, the names of the artefacts that something rests on."""
CHECKS: Mapping[str, Callable[[Path], str | None]] = {
    "base": folder_damage,
    "experts": expert_damage,
    "predictions": tensors_damage,
    "training_runs": sealed_damage,
    "trained_models": folder_damage,
    "harness": sealed_damage,
    "diverged": sealed_damage,
}
"""By kind, which is the name of the folder in a run's folder, what is wrong with an artefact."""
PATTERNS = {
    "predictions": "[!.]*/[!.]*.safetensors",
    "training_runs": "[!.]*.json",
    "harness": "[!.]*.json",
    "diverged": "[!.]*.json",
}


@dataclass(frozen=True)
class Artefact:
    """A folder or file that was computed. key: what it depends on, by which it is referred to."""

    kind: str
    path: Path

    @property
    def key(self) -> str:
        if self.kind == "predictions":
            return self.path.parent.name
        return self.path.stem.partition("-")[0]  # of the harness, the trained model's, and what was asked

    def damage(self) -> str | None:
        """Which file is damaged, if one is."""
        return CHECKS[self.kind](self.path)

    def keep_sound(self) -> bool:
        """Whether it is sound; it is removed, with a line about it, where it is not."""
        return keep_sound(self.path, CHECKS[self.kind])


def artefacts(out: Path) -> list[Artefact]:
    """Everything in a run's folder that was computed and is complete, by kind and name."""
    found = []
    for kind in CHECKS:
        folder = out / kind
        paths = [] if folder.is_symlink() else sorted(folder.glob(PATTERNS.get(kind, "[!.]*")))
        found += [Artefact(kind, path) for path in paths if not (path.is_symlink() or path.parent.is_symlink())]
    return found


def all_sound(out: Path, references: References) -> bool:
    """Whether nothing that is referred to is damaged (what is not there any more is not); what is, is removed."""
    sound = [each.keep_sound() for each in artefacts(out) if each.key in references.get(each.kind, ())]
    return all(sound)
