"""Tensors and logits; and the Triton kernels, in Triton's interpreter and through its compiler."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evidence import random_log_probs

import taskpgm as tp
from taskpgm.divergences import Batch, DivergenceSums, empty_sums, jensen_shannon_reference, streamed_divergences
from taskpgm.divergences.device import DEVICE_ROUNDING

TESTS = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed (on Linux: pip install triton)"
)


def run(arguments: list[str], folder: Path, **settings: str) -> str:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder / "triton"), **settings}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_triton
def test_the_kernels_in_their_interpreter(tmp_path: Path) -> None:
    printed = run(["-m", "pytest", str(TESTS / "interpreted_kernels.py")], tmp_path, TRITON_INTERPRET="1")
    passed = re.search(r"(\d+) passed", printed)
    assert passed is not None, printed
    assert int(passed[1]) >= 70
    assert "skipped" not in printed


@needs_triton
@pytest.mark.parametrize("real", ["fp32", "fp64"])
def test_the_kernels_compile_for_a_card_that_need_not_be_there(real: str, tmp_path: Path) -> None:
    printed = run([str(TESTS / "compiled_kernels.py"), real], tmp_path)
    kernels = dict(line.split() for line in printed.splitlines())
    assert {name.split(":")[0] for name in kernels} == {"log_sums", "scale", "pair_sums"}
    if real == "fp32":  # one logarithm for each pair and token, and each by the special function unit
        assert kernels["pair_sums:4"] == str(4 * 4)
        assert kernels["pair_sums:8"] == str(8 * 8)


@needs_triton
def test_the_benchmark_of_a_card_runs_in_the_interpreter(tmp_path: Path) -> None:
    script = TESTS.parent / "benchmarks" / "affinity.py"
    arguments = ["card", "--device", "cpu", "--shape", "5", "2", "60", "--repetitions", "1"]
    limits, *records = map(json.loads, run([str(script), *arguments], tmp_path, TRITON_INTERPRET="1").splitlines())
    assert "interpreted" in limits["device"]
    assert len(records) == 6
    for record in records:
        assert record["largest_difference_of_float32"] <= DEVICE_ROUNDING
        assert record["largest_difference_of_float64"] <= 1e-13
        assert record["equal_experts_at"] == 0.0
        assert record["limit_seconds"] == max(record["bytes_limit_seconds"], record["special_limit_seconds"])
        assert record["share_of_limit"] == pytest.approx(record["limit_seconds"] / record["seconds"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_tensors_on_the_processor_use_its_kernel(dtype: torch.dtype) -> None:
    values = torch.as_tensor(random_log_probs(0, 4, 3, 40, 2.0, 0.1)).to(dtype)
    exact = torch.log_softmax(values.double(), dim=-1).numpy()
    assert isinstance(empty_sums(Batch(values)), DivergenceSums)
    np.testing.assert_allclose(tp.jensen_shannon(values), jensen_shannon_reference(exact), atol=1e-12, rtol=0.0)
    values.requires_grad_()
    np.testing.assert_allclose(tp.jensen_shannon(values), jensen_shannon_reference(exact), atol=1e-12, rtol=0.0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_logits_are_normalised(dtype: type) -> None:
    rng = np.random.default_rng(0)
    logits = (5.0 * rng.standard_normal((4, 3, 60)) + 30.0).astype(dtype)
    logits[0, 1, :20] = -np.inf
    before = logits.copy()
    wide = logits.astype(np.float64)
    expected = jensen_shannon_reference(wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True)))
    tolerance = 1e-13 if dtype is np.float64 else 3e-7
    np.testing.assert_allclose(tp.jensen_shannon(logits, logits=True), expected, atol=tolerance, rtol=0.0)
    np.testing.assert_array_equal(logits, before)
    with pytest.raises(tp.InputError, match="sum to"):
        tp.jensen_shannon(logits)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_without_a_softmax_are_named(bad: float) -> None:
    logits = np.zeros((3, 4, 50), dtype=np.float32)
    logits[1, 2] = bad
    with pytest.raises(tp.InputError, match=r"log_probs\[1, 2\]"):
        streamed_divergences([Batch(logits, logits=True)])


def test_bfloat16_that_sums_to_more_than_its_rounding_can_do_is_refused() -> None:
    halves = torch.full((2, 1, 2), float(np.log(0.55)), dtype=torch.bfloat16)
    with pytest.raises(tp.InputError, match=r"sum to 1\.1"):
        tp.jensen_shannon(halves)
