"""What a computer can do: found by a short measurement, or named from a table of the makers' figures.

named_hardware("h100-sxm").rate("bfloat16")         # 989e12 operations a second
found_hardware(None, {"float32"})                   # half a second of matrix products, on the card if there is one
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from taskpgm.costs import Precision
from taskpgm.settings import suggestion
from taskpgm.types import InputError

MEASURED_SECONDS = 0.5
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Hardware:
    """One device. rates: peak operations a second by precision. memory: bytes. source: where the numbers are from."""

    name: str
    rates: Mapping[Precision, float]
    memory: float
    source: str

    def rate(self, precision: Precision) -> float:
        """Peak operations a second of matrix products in this precision.

        Raises:
            InputError: not known of this device.
        """
        if precision not in self.rates:
            raise InputError(f"hardware {self.name}: its speed in {precision} is not known; set training.precision.")
        return self.rates[precision]


def _listed(name: str, bfloat16: float, float32: float, memory: float, source: str) -> Hardware:
    """A device of the table; rates in 1e12 a second, memory in GB."""
    return Hardware(name, {"bfloat16": bfloat16 * 1e12, "float32": float32 * 1e12}, memory * 1e9, source)


# bfloat16: dense tensor-core products with float32 sums, without sparsity. float32: the ordinary units, since torch
# rounds no float32 product to TF32 unless it is told to.
HARDWARE = (
    _listed("h100-sxm", 989, 67, 80, "NVIDIA H100 data sheet (half of the sparse 1,979)"),
    _listed("h100-pcie", 756, 51, 80, "NVIDIA H100 data sheet (half of the sparse 1,513)"),
    _listed("h200-sxm", 989, 67, 141, "NVIDIA H200 data sheet (half of the sparse 1,979)"),
    _listed("a100-80gb", 312, 19.5, 80, "NVIDIA A100 data sheet"),
    _listed("a100-40gb", 312, 19.5, 40, "NVIDIA A100 data sheet"),
    _listed("l40s", 362, 91.6, 48, "NVIDIA L40S data sheet"),
    _listed("l4", 121, 30.3, 24, "NVIDIA L4 data sheet (half of the sparse 242)"),
    _listed("a10", 125, 31.2, 24, "NVIDIA A10 data sheet"),
    _listed("rtx-4090", 165.2, 82.6, 24, "NVIDIA Ada GPU architecture paper, appendix A"),
    _listed("rtx-3090", 71, 35.6, 24, "NVIDIA GA102 architecture paper, appendix A"),
    _listed("mi300x", 1307, 163.4, 192, "AMD Instinct MI300X data sheet"),
)


def named_hardware(name: str) -> Hardware:
    """The device of a name in the table.

    Raises:
        InputError: there is none.
    """
    found = next((each for each in HARDWARE if each.name == name.lower()), None)
    if found is None:
        known = [each.name for each in HARDWARE]
        raise InputError(f"--hardware {name!r} is not in the table{suggestion(name.lower(), known)}.")
    return found


def found_hardware(threads: int | None, precisions: Collection[Precision]) -> Hardware:
    """The device that a run would use here, its speed measured with matrix products in these precisions."""
    import torch

    from taskpgm.base import device, torch_threads

    place = device()
    with torch_threads(threads):
        rates = {precision: _measured_rate(place, precision) for precision in sorted(precisions)}
        count = torch.get_num_threads()
    if place == "cuda":
        card = torch.cuda.get_device_properties(0)
        name, memory = str(card.name), float(card.total_memory)
    else:
        name, memory = f"this processor, {count} thread{'s' if count > 1 else ''}", machine_memory()
    return Hardware(name, rates, memory, f"measured here in {MEASURED_SECONDS:g} s of matrix products")


def machine_memory() -> float:
    """Bytes of memory that processes here may use together."""
    whole = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    text = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.is_file() else "max"
    return min(whole, float(text)) if text.isdigit() else whole


def _measured_rate(place: str, precision: Precision) -> float:
    """Operations a second of large square products, as many as fit into the time; others that compute here count."""
    import torch

    size = 4096 if place == "cuda" else 1024
    matrix = torch.ones(size, size, dtype=getattr(torch, precision), device=place)
    torch.mm(matrix, matrix)  # the first one also looks for the way to do it
    start, done, passed = time.perf_counter(), 0, 0.0
    while passed < MEASURED_SECONDS:
        torch.mm(matrix, matrix)
        if place == "cuda":
            torch.cuda.synchronize()
        done, passed = done + 1, time.perf_counter() - start
    return 2.0 * size**3 * done / passed
