"""The README's first command after installation: the demo finds the planted structure, and proves its answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO

import taskpgm as tp

COPIES = ("copy", "echo", "same", "dupl")


def test_interchangeable_tasks_share_one_tasks_place(demo: tuple[Path, str]) -> None:
    mixture = tp.Mixture.from_json(demo[0] / "mixture.json")
    assert sum(mixture.weights[name] for name in COPIES) < 0.8 * 4 / 14
    assert mixture.weights["nois"] < 0.75 / 14
    assert min(mixture.weights.values()) >= 0.2 / 14


def test_couplings_show_the_planted_families(demo: tuple[Path, str]) -> None:
    """Both what examples count for other tasks, and how alike the experts' predictions are."""
    mixture = tp.Mixture.from_json(demo[0] / "mixture.json")
    network = mixture.network
    assert isinstance(network, tp.CoverageNetwork)
    index = {name: i for i, name in enumerate(network.names)}
    copies = [index[name] for name in COPIES]
    others = [i for i in range(14) if i not in copies]
    for coupling in (network.transfer, np.exp(-10.0 * np.array(mixture.details["divergence"]))):
        within = coupling[np.ix_(copies, copies)][~np.eye(4, dtype=bool)]
        assert within.min() > 2.0 * coupling[np.ix_(copies, others)].max()
        assert coupling[index["uppr"]].argsort()[-2] == index["caps"]


def test_the_base_model_is_small_and_loads_with_its_tokenizer(demo: tuple[Path, str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (base,) = (demo[0] / "base").iterdir()
    model = AutoModelForCausalLM.from_pretrained(base)
    assert 80_000 <= sum(parameter.numel() for parameter in model.parameters()) <= 100_000
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert tokenizer.decode(tokenizer("sort:dcba=abcd")["input_ids"]) == "sort:dcba=abcd"


def test_the_demo_ends_with_a_table_and_a_proof(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    for name in tp.demo_suite().names:
        assert f" {name} " in printed
    assert "Certified" in printed
    assert "every weight at least 0.01429" in printed
    verify = [sys.executable, "-m", "taskpgm", "verify", str(folder / "mixture.json")]
    assert subprocess.run(verify, check=True, capture_output=True, text=True).stdout.endswith("Proved.\n")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_ten_times_the_demo_ends_with_the_same_bytes(demo: tuple[Path, str], tmp_path: Path) -> None:
    """kill -9 at ten random moments, spread over the time that the whole demo takes."""
    import random

    moments = random.Random(1)
    for _ in range(10):
        process = subprocess.Popen(DEMO, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=moments.uniform(3.0, 12.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    subprocess.run(DEMO, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "taskpgm-demo" / "mixture.json").read_bytes() == (demo[0] / "mixture.json").read_bytes()
