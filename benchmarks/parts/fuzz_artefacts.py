"""Readers of what taskpgm itself wrote: mixtures, decisions, evaluations, curves, checksums, locks, states of draws."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from parts.fuzz_reader import JSON, SEALED, Reader

from taskpgm.constraints import CostBound, EffectiveTasks, Group, TrustRegion
from taskpgm.coverage import CoverageNetwork
from taskpgm.decisions import read_decisions
from taskpgm.drawing import Drawing
from taskpgm.envelope_curves import EnvelopeCurves
from taskpgm.evaluation_file import FORMAT, read_evaluation
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.expert_curves import expert_damage, read_curves, stored_weights_hash
from taskpgm.exporting import export
from taskpgm.html_page import as_bytes
from taskpgm.inference import convex_method, solve
from taskpgm.inference.allocation import Allocation
from taskpgm.integrity import folder_damage, seal
from taskpgm.interplay import Interplay
from taskpgm.learning_curves import LearningCurves
from taskpgm.mixture import Mixture
from taskpgm.mixture_ledger import Ledger
from taskpgm.network import TaskNetwork
from taskpgm.report_page import document_of, load_page
from taskpgm.run_cleaning import clean
from taskpgm.run_lock import LOCK_FILE, holder
from taskpgm.run_status import run_status
from taskpgm.separable import SeparableNetwork
from taskpgm.storage import canonical_json
from taskpgm.types import TaskSize

NAMES = ("a", "b", "c")
SIZES = {name: TaskSize(10 * i, 100 * i, 30 * i) for i, name in enumerate(NAMES, 1)}
DETAILS = {
    "key": "0123",
    "settings": {"training": {"seed": 0, "steps": 10}, "probes": {"per_task": 3}},
    "base": "abc",
    "versions": {"numpy": "2"},
    "utility": "learnability",
    "similarity": "exponential",
    "gain": np.eye(3).tolist(),
    "divergence": (0.1 * (1 - np.eye(3))).tolist(),
    "divergence_interval": [np.zeros((3, 3)).tolist(), np.ones((3, 3)).tolist()],
    "findings": [{"task": "a", "kind": "late", "text": "task 'a': late"}],
    "dropped_examples": {"b": 2},
    "data": {
        "splits": {"probe": 0.15, "eval": 0.15},
        "tasks": {"a": {"path": "a.jsonl", "columns": {"prompt": "prompt"}}},
    },
    "artefacts": {"experts": ["k1", "k2"]},
}


def _pairwise() -> TaskNetwork:
    constraints = (
        Group(("a", "b"), upper=0.9, name="g"),
        CostBound({"a": 1.0, "b": 2.0, "c": 3.0}, 2.5),
        TrustRegion({"a": 0.3, "b": 0.4, "c": 0.3}, 0.5),
        EffectiveTasks(1.5),
    )
    s = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])
    return TaskNetwork([0.3, 0.2, 0.1], s, NAMES, lower=0.05, constraints=constraints)


def _plain() -> TaskNetwork:
    return TaskNetwork([0.3, 0.2, 0.1], np.eye(3), NAMES, tau=0.1)


def _coverage() -> CoverageNetwork:
    curves = LearningCurves(NAMES, 0.5, [[0.1, 0.2]] * 3, [[2.0, 1.0]] * 3, [[50.0, 20.0]] * 3, [[1.0, 0.5]] * 3)
    known = Interplay(np.full(3, 4.0), contested=0.5 * (1.0 - np.eye(3)), movement=0.5 + 0.5 * np.eye(3))
    return CoverageNetwork(curves, np.eye(3) + 0.1, 600.0, forgetting=[0.0, 0.5, 0.1], interplay=known)


def _envelope() -> CoverageNetwork:
    curves = EnvelopeCurves(NAMES, [[0, 100, 300]] * 3, [[2.0, 0.5, 0.2], [1.8, 0.9, 0.4], [1.0, 0.9, 0.1]])
    return CoverageNetwork(curves, np.eye(3), 600.0)


def _separable() -> SeparableNetwork:
    curves = ExpectedCurves(NAMES, 0.5, [[0.1, 0.2]] * 3, [[2.0, 1.0]] * 3, [[50.0, 20.0]] * 3, 1.5, [[1.0, 0.5]] * 3)
    return SeparableNetwork(curves, [0.0, 10.0, 20.0], 300.0)


def _mixture(network: Any, details: Any) -> Any:
    method = Allocation() if isinstance(network, SeparableNetwork) else convex_method(network)
    return Mixture.from_solution(network, solve(network, method), sizes=SIZES, details=details).as_dict()


def _mixtures() -> list[bytes]:
    networks = (_pairwise(), _plain(), _coverage(), _envelope(), _separable())
    return [(canonical_json(_mixture(network, DETAILS)) + "\n").encode() for network in networks]


def _sealed_mixtures() -> list[bytes]:
    return [seal(_mixture(network, DETAILS)) for network in (_plain(), _coverage())]


def _decisions() -> list[bytes]:
    row = {"expected": 1.0, "spread": 0.1, "latest": 2.0}
    told = {
        "step": 10,
        "steps": 100,
        "followed": True,
        "reason": "forecasts held",
        "mean": 1.0,
        "mean_spread": 0.1,
        "tasks": dict.fromkeys(NAMES, row),
    }
    return [canonical_json(_mixture(_separable(), {"decision": told})).encode()]


def _verify(path: Path) -> None:
    mixture = Mixture.from_json(path)
    mixture.verify()
    mixture.counts(100)
    if mixture.sizes is not None:
        mixture.epochs(1_000, "examples")
    export(mixture, "trl", budget=100, unit="examples", folder=path.parent)


def _page(path: Path) -> None:
    as_bytes(document_of(load_page(path)))


def _status(path: Path) -> None:
    run_status(path.parent)
    clean(path.parent, older_than=0.0, dry_run=True)


def _evaluations() -> list[bytes]:
    difference = {
        "steps": 10,
        "measure": "loss",
        "mixture": "ours",
        "view": "tasks",
        "level": "all",
        "mean": -0.1,
        "reference_mean": 1.0,
        "interval": [-0.2, 0.0],
        "corrected": None,
    }
    value = {
        "format": FORMAT,
        "reference": "uniform",
        "seeds": [0, 1],
        "evidence_examples": 100,
        "differences": [difference],
        "failed": [{"mixture": "x", "steps": 10, "seed": 0, "why": "memory"}],
        "runs": [{"key": "k"}],
    }
    return [json.dumps(value).encode(), seal(value)]


def _curves() -> list[bytes]:
    value = {
        "steps": [0, 5],
        "examples": [0, 50],
        "target_tokens": [0, 200],
        "losses": {"k1": [2.0, 1.0], "k2": [3, 2]},
    }
    return [seal({**value, "weights": "abc"})]


def _read_curve(path: Path) -> None:
    expert_damage(path.parent)
    stored_weights_hash(path.parent)
    read_curves(("a", "b"), [path.parent, path.parent], ["k1", "k2"])


def _sums() -> list[bytes]:
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    return [f"{digest}  empty\n".encode(), f"{digest}  a/b\n{digest}  ../x\n".encode()]


def _read_sums(path: Path) -> None:
    (path.parent / "empty").touch()
    folder_damage(path.parent)


def _lock(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        holder(path.parent)
    finally:
        os.close(handle)


def _states() -> list[bytes]:
    drawing = _drawing()
    for _ in range(7):
        drawing.draw()
    drawing.set_shares({"a": 0.5, "b": 0.25, "c": 0.25}, at=20)
    ledger = Ledger(NAMES)
    ledger.set_totals(np.arange(15.0).reshape(3, 5))
    ledger.close_window(3, np.full(3, 1 / 3), [1.0, None, 2.0])
    return [json.dumps({"drawing": drawing.state_dict(), "ledger": ledger.state_dict()}).encode()]


def _drawing() -> Drawing:
    return Drawing({"a": 10, "b": 20, "c": 5}, {"a": 0.2, "b": 0.3, "c": 0.5})


def _read_state(path: Path) -> None:
    from taskpgm.storage import read_json

    state, drawing, ledger = read_json(path), _drawing(), Ledger(NAMES)
    if not isinstance(state, dict) or not {"drawing", "ledger"} <= set(state):
        return  # the trainer's own file: `MixtureCallback` looks the two up
    drawing.load_state_dict(state["drawing"])
    ledger.load_state_dict(state["ledger"])
    for _ in range(5):
        drawing.draw()


def _decide(path: Path) -> None:
    read_decisions(path.parent)


def _evaluated(path: Path) -> None:
    read_evaluation(path)


ARTEFACT_READERS: tuple[Reader, ...] = (
    Reader("mixture.json", "mixture.json", _mixtures, _verify, JSON, 15),
    Reader("page", "mixture.json", _mixtures, _page, JSON, 1),
    Reader("decisions", "step-10.json", _decisions, _decide, JSON, 16),
    Reader("evaluation.json", "evaluation.json", _evaluations, _evaluated, JSON, 16),
    Reader("run-folder", "mixture.json", _sealed_mixtures, _status, SEALED, 12),
    Reader("run-evaluation", "evaluation.json", lambda: _evaluations()[1:], _status, SEALED, 12),
    Reader("curve.json", "curve.json", _curves, _read_curve, SEALED, 20),
    Reader("SHA256SUMS", "SHA256SUMS", _sums, _read_sums, None, 16),
    Reader("lock", LOCK_FILE, lambda: [b'{"host":"h","pid":1,"since":"2026-01-01T00:00:00Z"}'], _lock, JSON, 12),
    Reader("draws", "state.json", _states, _read_state, JSON, 20),
)
