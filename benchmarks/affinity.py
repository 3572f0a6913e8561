"""The speed of the Jensen-Shannon divergences, each figure within one run, one JSON line for each measurement.

    python benchmarks/affinity.py speed         # against the machine's limit, scipy and torch, 16 x 8 x 32,000
    python benchmarks/affinity.py scaling       # how the time grows with experts, contexts and vocabulary, fitted
    python benchmarks/affinity.py large         # 1,000 experts x 512 contexts x 1,025 tokens from a memory-mapped file
    python benchmarks/affinity.py card          # logits and log-probabilities on a graphics card, against its limits
    python benchmarks/affinity.py all --out affinity.jsonl

The limit ("ceiling") is the rate at which as many threads evaluate the kernel's own float32 logarithm on 16 kilobytes,
which stay in the first-level cache, and only add up the results. Where others use the machine, processor time is what
can be compared. Threads: NUMBA_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
from parts.card import by_torch, card_records
from parts.figures import print_figures

from taskpgm.divergences import LN2, jensen_shannon, streamed_divergences
from taskpgm.divergences.device import SCRATCH
from taskpgm.divergences.kernels import SUMS, log2_single
from taskpgm.divergences.streaming import ContextSlices, available_threads, of_negative_type
from taskpgm.progress import terminal_progress

Record = dict[str, Any]
Array = np.ndarray[Any, Any]


@numba.njit(fastmath=SUMS, error_model="numpy")
def _sum_of_logarithms(x: Array) -> Any:
    total = np.float32(0.0)
    for v in range(len(x)):
        total += log2_single(x[v])
    return total


@numba.njit(nogil=True, error_model="numpy")
def _logarithms(x: Array, times: int) -> float:
    total = 0.0
    for k in range(times):
        x[0] = np.float32(1.0 / (k + 2.0))  # so that no compiler takes the repetitions for one
        total += _sum_of_logarithms(x)
    return total


def ceiling_seconds(repetitions: int) -> tuple[float, float]:
    """The least wall-clock seconds for a logarithm, all threads together, and the least processor seconds."""
    threads, size, times = available_threads(), 4096, 4000
    values = [np.random.default_rng(t).random(size, dtype=np.float32) for t in range(threads)]
    _logarithms(values[0], 1)
    with ThreadPoolExecutor(threads) as pool:
        wall, processor = best(lambda: list(pool.map(_logarithms, values, [times] * threads)), repetitions)
    return wall / (threads * size * times), processor / (threads * size * times)


def best(work: Callable[[], Any], repetitions: int) -> tuple[float, float]:
    """(wall-clock, processor) seconds: the least of each over the repetitions, since others use the machine too."""
    taken = []
    for _ in range(repetitions):
        start, used = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - start, time.process_time() - used))
    wall, processor = np.min(taken, axis=0).tolist()
    return wall, processor


def log_probs(n: int, contexts: int, vocabulary: int, seed: int = 0) -> Array:
    """(n, C, V) float32: a common part for each context, and what each expert adds to it."""
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.standard_normal((1, contexts, vocabulary), dtype=np.float32)
    logits = logits + rng.standard_normal((n, contexts, vocabulary), dtype=np.float32)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return logits


def by_scipy(probabilities: Array) -> Array:
    from scipy.spatial.distance import cdist

    contexts = range(probabilities.shape[1])
    return np.mean([cdist(probabilities[:, c], probabilities[:, c], "jensenshannon") ** 2 for c in contexts], axis=0)


def speed_records(options: argparse.Namespace) -> Iterator[Record]:
    """Ceiling, ours, scipy, torch, and the ratios. Ours and torch start from logarithms, scipy from probabilities."""
    n, contexts, vocabulary = options.shape
    shape = {"experts": n, "contexts": contexts, "vocabulary": vocabulary, "threads": available_threads()}
    logs = log_probs(n, contexts, vocabulary)
    start = time.perf_counter()
    ours = jensen_shannon(logs)
    record = {"figure": "speed", **shape, "first_call_seconds": time.perf_counter() - start}
    limit, processor_limit = ceiling_seconds(options.repetitions)
    wall, processor = best(lambda: jensen_shannon(logs), options.repetitions)
    logarithms, exponentials = n * (n + 1) // 2 * contexts * vocabulary, n * contexts * vocabulary
    record |= {"ceiling_logarithms_per_second": 1.0 / limit, "seconds": wall, "processor_seconds": processor}
    record |= {
        "logarithms_per_second": logarithms / wall,
        "times_the_ceiling": wall / (limit * logarithms),
        "times_the_ceiling_of_processor_time": processor / (processor_limit * logarithms),
        "the_same_with_exponentials_counted": processor / (processor_limit * (logarithms + exponentials)),
    }
    yield record | _others(logs, ours, wall)


def _others(logs: Array, ours: Array, wall: float) -> Record:
    import torch

    probabilities = np.exp(logs, dtype=np.float64)
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(available_threads())
    tensor = torch.as_tensor(logs)
    by_torch(tensor)
    scipy_seconds, torch_seconds = (
        best(work, 3)[0] for work in (lambda: by_scipy(probabilities), lambda: by_torch(tensor))
    )
    torch.set_num_threads(threads)
    return {
        "scipy_seconds": scipy_seconds,
        "torch_seconds": torch_seconds,
        "scipy_over_ours": scipy_seconds / wall,
        "torch_over_ours": torch_seconds / wall,
        "largest_difference_from_scipy": float(np.abs(by_scipy(probabilities) - ours).max()),
    }


def scaling_records(options: argparse.Namespace) -> Iterator[Record]:
    """Processor seconds at doubled sizes of each kind, and the power that fits them: 2 in experts, 1 in the others."""
    middle = {"experts": 128, "contexts": 32, "vocabulary": 2048}
    for kind, sizes in (
        ("experts", (64, 128, 256, 512)),
        ("contexts", (16, 32, 64, 128)),
        ("vocabulary", (1024, 2048, 4096, 8192)),
    ):
        taken = []
        for size in sizes:
            shape = middle | {kind: size}
            logs = log_probs(*shape.values())
            taken.append(best(lambda logs=logs: jensen_shannon(logs), options.repetitions)[1])
            yield {"figure": "scaling", "varied": kind, **shape, "processor_seconds": taken[-1]}
        power = np.polyfit(np.log(sizes), np.log(taken), 1)[0]
        yield {"figure": "scaling", "varied": kind, "sizes": sizes, "fitted_power": float(power)}


def large_records(options: argparse.Namespace) -> Iterator[Record]:
    """Time of the divergences alone; the peak is of the whole process, with the file's pages that are in memory."""
    n, contexts, vocabulary = options.shape
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, terminal_progress() as progress:
        path = Path(folder) / "log_probs.npy"
        stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, contexts, vocabulary))
        for low in range(0, contexts, 16):
            stored[:, low : low + 16] = log_probs(n, min(16, contexts - low), vocabulary, seed=low)
            progress("writing", low, contexts, str(path))
        del stored
        logs = np.load(path, mmap_mode="r")
        members = np.arange(contexts) * options.blocks // contexts
        slices = ContextSlices(logs, np.full(contexts, 1.0 / contexts), members)
        start, used = time.perf_counter(), time.process_time()
        divergence = streamed_divergences(slices, options.blocks, contexts=contexts, progress=progress)
        record = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - used}
    total = divergence.sum(axis=0)
    yield {
        "figure": "large",
        "experts": n,
        "contexts": contexts,
        "vocabulary": vocabulary,
        "blocks": options.blocks,
    } | {
        **record,
        "threads": available_threads(),
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "of_negative_type": of_negative_type(total, 0.0),
        "mean_in_ln_2": float(total.mean() / LN2),
    }


FIGURES: dict[str, Callable[[argparse.Namespace], Iterator[Record]]] = {
    "speed": speed_records,
    "scaling": scaling_records,
    "large": large_records,
    "card": card_records,
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    figures = made.add_subparsers(dest="figure", required=True)
    found = {name: figures.add_parser(name) for name in (*FIGURES, "all")}
    for one in found.values():
        one.add_argument("--out", type=Path, help="JSON lines go to this file instead of the standard output")
    for name, shape in (("speed", (16, 8, 32_000)), ("large", (1000, 512, 1025)), ("card", (64, 32, 32_000))):
        found[name].add_argument("--shape", type=int, nargs=3, default=shape, metavar=("EXPERTS", "CONTEXTS", "TOKENS"))
    for name, repetitions in (("speed", 30), ("scaling", 3), ("card", 10)):
        found[name].add_argument("--repetitions", type=int, default=repetitions)
    found["large"].add_argument("--blocks", type=int, default=32)
    found["large"].add_argument("--folder", type=Path, help="where 2 gigabytes of predictions are written to")
    found["card"].add_argument(
        "--device", default="cuda", help="cpu where TRITON_INTERPRET=1 is set: a check, no speed"
    )
    found["card"].add_argument("--scratch", type=int, default=SCRATCH, help="bytes of scaled probabilities at a time")
    return made


if __name__ == "__main__":
    print_figures(parser, FIGURES)
