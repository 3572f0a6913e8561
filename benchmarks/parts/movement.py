"""How alike experts changed the base model: cosines between the changes of their attention weights.

Losses show what an expert answers. Two tasks that share a mechanism and no answer (copying letters as they are, and
copying each shifted by one) change the same heads in the same way, which shows here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[np.float64]
ATTENTION = ".self_attn."
WEIGHTS_FILE = "model.safetensors"


def attention_movement(experts: Sequence[Path], base: Path) -> Array:
    """(n, n) in [0, 1]: cosines of the experts' changes to the base, 0 where they point apart; 1 on the diagonal."""
    start = _attention(base)
    moved = np.array([(_attention(folder) - start) for folder in experts])
    products = moved @ moved.T
    lengths = np.sqrt(np.diag(products))
    cosines = products / np.maximum(np.outer(lengths, lengths), np.finfo(np.float64).tiny)
    np.fill_diagonal(cosines, 1.0)
    return np.clip(cosines, 0.0, 1.0)


def _attention(folder: Path) -> Array:
    """All of a model's attention weights in one row."""
    weights = load_file(folder / WEIGHTS_FILE)
    return np.concatenate([weights[name].ravel() for name in sorted(weights) if ATTENTION in name]).astype(np.float64)
