"""Divergences on a graphics card: its limits, ours, and torch's eager operators, in one run.

Two limits are measured: how fast the card reads memory (a sum over a gigabyte), and how fast its special function
units take logarithms (independent chains of lg2.approx in registers). Taking every input once and, in these units, one
logarithm for a pair and token plus one exponential for an input, no run can be faster than the slower of the two:
`limit_seconds`. The share of it that is reached is `share_of_limit`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from taskpgm.divergences import Batch
from taskpgm.divergences.arrays import on_device
from taskpgm.divergences.device import DeviceSums

Record = dict[str, Any]
TYPES = ("bfloat16", "float16", "float32")


def by_torch(logs: Any) -> Any:
    """Eager, context by context, every pair once for each order, in the type of the (n, C, V) log-probabilities."""
    import torch

    total = logs.new_zeros(len(logs), len(logs))
    for c in range(logs.shape[1]):
        p = logs[:, c].exp()
        entropies = -torch.special.xlogy(p, p).sum(dim=1)
        middle = 0.5 * (p[:, None] + p[None])
        total += -torch.special.xlogy(middle, middle).sum(dim=2) - 0.5 * (entropies[:, None] + entropies[None])
    return total / logs.shape[1]


def seconds(work: Callable[[], Any], device: Any, repetitions: int) -> float:
    """The least wall-clock seconds until the card is done; the first call, which compiles, is not counted."""
    import torch

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    taken = []
    for _ in range(repetitions + 1):
        wait()
        start = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def bytes_per_second(device: Any, repetitions: int, size: int = 2**30) -> float:
    import torch

    values = torch.ones(size // 4, dtype=torch.float32, device=device)
    return size / seconds(values.sum, device, repetitions)


def logarithms_per_second(device: Any, repetitions: int, programs: int = 4096, times: int = 256) -> float:
    import torch
    from parts.card_kernels import CHAINS, THREADS, logarithms

    out = torch.empty(programs, dtype=torch.float32, device=device)
    special = device.type == "cuda" and torch.version.hip is None
    taken = seconds(lambda: logarithms[(programs,)](out, times, SPECIAL=special), device, repetitions)
    return programs * CHAINS * THREADS * times / taken


def logits(shape: tuple[int, ...], device: Any) -> Any:
    """(n, C, V) float32: a common part for each context, and what each expert adds to it."""
    import torch

    generator = torch.Generator(device).manual_seed(0)
    common = torch.randn((1, *shape[1:]), generator=generator, device=device)
    return 2.0 * common + torch.randn(shape, generator=generator, device=device)


def summed(values: Any, are_logits: bool, scratch: int, arithmetic: Any = "float32") -> Any:
    """(n, n) divergences of all contexts in equal parts."""
    sums = DeviceSums(len(values), arithmetic=arithmetic, scratch=scratch)
    sums.add(Batch(values, logits=are_logits))
    return sums.divergence[0] / sums.weight


def card_records(options: argparse.Namespace) -> Iterator[Record]:
    """One record for the card, one for each type of input; or one that says why there is none."""
    import torch

    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        yield {"figure": "card", "refused": "torch finds no graphics card"}
        return
    if not on_device(torch.empty(1, device=device)):
        yield {"figure": "card", "refused": "triton is not installed, or the device is no card"}
        return
    full = device.type == "cuda"
    limits = {
        "bytes_per_second": bytes_per_second(device, options.repetitions, 2**30 if full else 2**10),
        "logarithms_per_second": logarithms_per_second(device, options.repetitions, *(() if full else (2, 2))),
    }
    name = _name(device)
    yield {"figure": "card limits", "device": name, "torch": torch.__version__} | limits
    made = logits(tuple(options.shape), device)
    for dtype in TYPES:
        for are_logits in (True, False):
            values = (made if are_logits else torch.log_softmax(made, dim=-1)).to(getattr(torch, dtype))
            record = {"figure": "card", "device": name, "type": dtype, "logits": are_logits}
            yield record | _measured(values, are_logits, limits, device, options)


def _name(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the processor, interpreted"


def _measured(values: Any, are_logits: bool, limits: Record, device: Any, options: argparse.Namespace) -> Record:
    n, contexts, vocabulary = values.shape
    taken = seconds(lambda: summed(values, are_logits, options.scratch), device, options.repetitions)
    special = (n * (n + 1) // 2 + n) * contexts * vocabulary
    least = {
        "bytes_limit_seconds": values.numel() * values.element_size() / limits["bytes_per_second"],
        "special_limit_seconds": special / limits["logarithms_per_second"],
    }
    eager = seconds(lambda: by_torch(_log_probs(values, are_logits)), device, 2)
    return {
        **{"experts": n, "contexts": contexts, "vocabulary": vocabulary, "scratch": options.scratch},
        **{"seconds": taken, **least, "limit_seconds": max(least.values())},
        "share_of_limit": max(least.values()) / taken,
        **{"torch_seconds": eager, "torch_over_ours": eager / taken},
        **_differences(values, are_logits, options.scratch),
    }


def _log_probs(values: Any, are_logits: bool) -> Any:
    """float32, as eager torch needs them."""
    return values.float().log_softmax(dim=-1) if are_logits else values.float()


def _differences(values: Any, are_logits: bool, scratch: int) -> Record:
    """From eager torch in float64, and what float32 gives to equal experts, on a few of the contexts."""
    few = values[:, :2]
    exact = by_torch(few.double().log_softmax(dim=-1)).cpu().numpy()
    twice = summed(few[[0, 1, 0, 1] * 5], are_logits, scratch)
    return {
        "largest_difference_of_float32": float(np.abs(summed(few, are_logits, scratch) - exact).max()),
        "largest_difference_of_float64": float(np.abs(summed(few, are_logits, scratch, "float64") - exact).max()),
        "equal_experts_at": float(twice[::2, ::2].max()),
    }
