"""How much memory a process holds, and at most held, where the system tells (Linux).

before = start_of_memory()
peak_of_memory(before)              # bytes at most held since then, beyond those before; None elsewhere
"""

from __future__ import annotations

from pathlib import Path


def start_of_memory() -> int | None:
    """The process's resident bytes now, its peak being measured anew; None where the system cannot tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return resident_memory("VmRSS")


def peak_of_memory(before: int | None) -> int | None:
    """By how many bytes the resident peak since `start_of_memory` exceeds what it returned."""
    peak = None if before is None else resident_memory("VmHWM")
    return None if before is None or peak is None else max(0, peak - before)


def resident_memory(field: str) -> int | None:
    """Bytes in a line of the process's status file: VmRSS is held now, VmHWM the most since the start."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = [line.split()[1] for line in status.splitlines() if line.startswith(f"{field}:")]
    return 1024 * int(found[0]) if found else None
