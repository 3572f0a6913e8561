"""Where log-probabilities are: numpy arrays, or torch tensors on any device. torch is never imported here."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from taskpgm.stored import StoredLogProbs

INTERPRETED = "TRITON_INTERPRET"
"""The environment variable that, set to 1, has Triton run its kernels on the processor: how they are tested."""


def is_tensor(values: object) -> TypeGuard[Any]:
    """Whether it is a torch tensor."""
    return "torch" in sys.modules and isinstance(values, loaded_torch().Tensor)  # else there can be none


def loaded_torch() -> Any:
    """torch, which whoever made a tensor has imported."""
    return sys.modules["torch"]


def on_device(values: object) -> bool:
    """Whether Triton computes on it: a tensor on a card, or anywhere where the kernels are interpreted."""
    if not is_tensor(values) or importlib.util.find_spec("triton") is None:
        return False
    return bool(values.is_cuda) or os.environ.get(INTERPRETED) == "1"


def settled(values: Any) -> Any:
    """The same where its divergences will be computed: brought to the host from a card that Triton cannot use."""
    return values.detach().cpu() if is_tensor(values) and not on_device(values) else values


def host_array(values: object) -> NDArray[Any]:
    """As an array of numpy, brought to the host if need be; bfloat16, which numpy does not know, becomes float32."""
    if not is_tensor(values):
        return np.asarray(values)
    tensor: Any = values.detach().cpu()
    return np.asarray((tensor.float() if tensor.dtype == loaded_torch().bfloat16 else tensor).numpy())


def precision(values: object) -> float:
    """The distance from 1 to the next number of its type; 0 of integers."""
    if is_tensor(values):
        return float(loaded_torch().finfo(values.dtype).eps) if values.dtype.is_floating_point else 0.0
    dtype = values.dtype if isinstance(values, StoredLogProbs) else np.asanyarray(values).dtype
    return float(np.finfo(dtype).eps) if np.issubdtype(dtype, np.floating) else 0.0
