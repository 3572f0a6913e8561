"""How close cheaper evidence comes to that of full experts, on an embedded suite, and what it costs.

    python benchmarks/evidence.py --suite easy-redundant --out runs/evidence
    python benchmarks/evidence.py --suite easy-redundant --in-a-row --out runs/evidence

Each kind of evidence gives divergences J, utilities and a pairwise mixture, which are compared with those of experts
that are trained whole for 100 steps: rank correlations, the relative error of J, the mixture's total variation from
the reference's, and how much of the energy between the uniform and the best mixture it misses under the reference's
network; that once more with J scaled to the reference's mean, as another kappa does it. Next to them are full experts
that saw their examples in another order: what two such runs differ by anyway. Costs are counted as `taskpgm plan` does,
reading included, in final runs of 125 steps, and once more without what is read for learning curves, which a pairwise
mixture does not look at. With --in-a-row the base has also been trained on five examples of one
operation in a row, under one random name each: it has seen what in-context experts ask of it. What is on disk in --out
is not computed again; one JSON line a kind goes to --record, and a table to the screen.
"""

from __future__ import annotations

import argparse
import json
import random
import string
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import taskpgm as tp
from taskpgm.base import Base, load_base, load_tokenizer, locate_base, save_parts, torch_threads
from taskpgm.building import pairwise_network
from taskpgm.config import FeasibleSettings, RunConfig
from taskpgm.demonstrations import demonstrations_of
from taskpgm.energy_settings import EnergySettings
from taskpgm.expert_settings import FINE_TUNED
from taskpgm.experts import tokenize_for, train_tokenised
from taskpgm.feasible_settings import feasible_set
from taskpgm.fine_tuning import fine_tune, training_sequence
from taskpgm.hardware import named_hardware
from taskpgm.model_shape import read_shape
from taskpgm.operations import OPERATIONS
from taskpgm.predictive import predict_tokenised
from taskpgm.progress import silent
from taskpgm.run_costs import Costing
from taskpgm.storage import atomic_directory
from taskpgm.suite import BASE_TRAINING, DEMO_PROBES, DEMO_TRAINING, find_suite
from taskpgm.suite_run import suite_base
from taskpgm.tokens import TokenExample, TokenTask, probes_by_task
from taskpgm.types import Affinity, FloatArray

WINDOW = 512  # of the base's copy: enough for eight demonstrations
FINAL_STEPS = 125
ROW = 5  # examples of one operation in a row
LORA = tp.LoraSettings(rank=8, alpha=16.0)
ADAPTED = {"lora": LORA, "learning_rate": 1e-2}
PAIRWISE = EnergySettings(kind="pairwise")
REFERENCE = "trained whole, 100 steps"


@dataclass(frozen=True)
class Kind:
    """One kind of evidence. changes: to the settings of training."""

    name: str
    changes: dict[str, Any]
    experts: tp.ExpertSettings = FINE_TUNED


KINDS = (
    Kind(REFERENCE, {}),
    Kind("the same in another order", {"seed": 20_000}),
    Kind("trained whole, 50 steps", {"steps": 50, "warmup_steps": 10}),
    Kind("trained whole, 25 steps", {"steps": 25, "warmup_steps": 5}),
    Kind("LoRA, 100 steps", ADAPTED),
    Kind("LoRA, 25 steps", {"steps": 25, "warmup_steps": 5, **ADAPTED}),
    *(Kind(f"in context, k = {k}", {}, tp.ExpertSettings(kind="in_context", demonstrations=k)) for k in (4, 8)),
    *(
        Kind(f"multi-task, {steps} own steps", {}, tp.ExpertSettings(kind="multi_task", own_steps=steps))
        for steps in (10, 25)
    ),
    *(
        Kind(
            f"multi-task, 25 shared, {steps} own steps",
            {"steps": 25, "warmup_steps": 5},
            tp.ExpertSettings(kind="multi_task", own_steps=steps),
        )
        for steps in (25, 50)
    ),
    Kind("multi-task, LoRA, 10 own steps", ADAPTED, tp.ExpertSettings(kind="multi_task", own_steps=10)),
    Kind("linearised, 64 examples each", {}, tp.ExpertSettings(kind="linearised")),
    Kind("linearised, 25 shared steps", {"steps": 25, "warmup_steps": 5}, tp.ExpertSettings(kind="linearised")),
    Kind("linearised, LoRA, 64 examples each", ADAPTED, tp.ExpertSettings(kind="linearised")),
)


def widened(base: Base, folder: Path) -> Base:
    """The base with a window of WINDOW tokens, weights as they are: its rotary positions have no limit of their own."""
    if not folder.is_dir():
        model, tokenizer = load_base(base, "float32"), load_tokenizer(base)
        model.config.max_position_embeddings = tokenizer.model_max_length = WINDOW
        with atomic_directory(folder) as place:
            save_parts(place, model, tokenizer)
    return locate_base(folder)


def in_a_row(base: Base, suite: str, seed: int, folder: Path) -> Base:
    """The base after more training, on examples in a row: ROW of an operation under one random name."""
    if not folder.is_dir():
        model, tokenizer = load_base(base, "float32"), load_tokenizer(base)
        source, rows = random.Random(f"taskpgm in a row {seed}"), []
        for operation in find_suite(suite).known:
            for _ in range(400):
                name = "".join(source.choice(string.ascii_lowercase) for _ in range(4))
                given = [OPERATIONS[operation](source) for _ in range(ROW)]
                whole = [tokenizer(f"{name}:{one}={two}")["input_ids"] + [tokenizer.eos_token_id] for one, two in given]
                rows.append(TokenExample(tuple(token for ids in whole for token in ids), 1))
        training = BASE_TRAINING.model_copy(update={"seed": seed})
        with torch_threads(training.threads):
            fine_tune(model, training_sequence(rows, training), training, lambda step: None)
        with atomic_directory(folder) as place:
            save_parts(place, model, tokenizer)
    return locate_base(folder)


def cost(kind: Kind, training: tp.TrainingSettings, tasks: tuple[TokenTask, ...], base: Base) -> tuple[float, float]:
    """(in final runs, the same without what is read for learning curves only)."""
    config = RunConfig.model_validate(
        {
            "tasks": ["suite"],
            "model": {"name": str(base.path)},
            "energy": {"kind": "pairwise"},
            "evaluation": {"steps": FINAL_STEPS},
        }
    ).model_copy(update={"training": training, "probes": DEMO_PROBES, "experts": kind.experts})
    shown = ()
    if kind.experts.kind == "in_context":
        own = tuple(probes_by_task(tasks, DEMO_PROBES.per_task)[1].values())
        shown = tuple(demonstrations_of(tasks, base, training.seed, kind.experts, own))
    hardware, whole = named_hardware("h100-sxm"), read_shape(base.path, None)
    final = Costing(config.model_copy(update={"training": DEMO_TRAINING}), tasks, whole, hardware).final.flops
    shape = read_shape(base.path, training.lora)

    def of(snapshots: tuple[float, ...]) -> float:
        settings = config.model_copy(update={"training": training.model_copy(update={"snapshots": snapshots})})
        costing = Costing(settings, tasks, shape, hardware, shown=shown)
        return sum(stage.flops for stage in costing.evidence()) / final

    one, two, as_is = of((0.0, 1.0)), of((0.0, 0.5, 1.0)), of(training.snapshots)
    return as_is, 2.0 * one - two


def measured(
    kind: Kind, tasks: tuple[TokenTask, ...], base: Base, out: Path, seed: int
) -> tuple[dict[str, Any], Affinity]:
    """(what one kind says by itself, its affinity)."""
    training = DEMO_TRAINING.model_copy(update={"seed": seed})
    changes = {**kind.changes, **({"seed": seed + kind.changes["seed"]} if "seed" in kind.changes else {})}
    training = training.model_copy(update=changes)
    experts = train_tokenised(tasks, base, out, training, DEMO_PROBES, silent, curves=False, settings=kind.experts)
    predictions = predict_tokenised(experts, tasks, DEMO_PROBES, silent)
    own = predictions.context_task == np.arange(len(tasks))[:, None]
    loss = -np.sum(predictions.target_log_probs * own, axis=1) / own.sum(axis=1)
    base_loss = -np.sum(predictions.base_target_log_probs * own, axis=1) / own.sum(axis=1)
    final_runs, without_curves = cost(kind, training, tasks, base)
    record = {
        "kind": kind.name,
        "final_runs": final_runs,
        "without_curves": without_curves,
        "own_loss": float(loss.mean()),
        "base_loss": float(base_loss.mean()),
    }
    return record, tp.estimate_affinity(predictions)


def rank(found: FloatArray, true: FloatArray) -> float | None:
    """Spearman's correlation; None where all values are the same, as utilities that are all 0."""
    return float(spearmanr(found, true).statistic) if np.ptp(found) > 0.0 else None


def compared(affinity: Affinity, reference: Affinity, tasks: tuple[TokenTask, ...]) -> dict[str, Any]:
    """How far one affinity, and the mixture that follows, are from another one's."""
    names = tuple(task.name for task in tasks)
    sizes = {task.name: task.size for task in tasks}
    allowed = feasible_set(FeasibleSettings(), names, sizes, "tokens", None)

    def network(utility: FloatArray, similarity: FloatArray) -> tp.TaskNetwork:
        return pairwise_network(names, utility, similarity, None, PAIRWISE, allowed)

    def best_of(of: tp.TaskNetwork) -> FloatArray:
        point = tp.solve(of, tp.SimplexQP()).point
        assert point is not None
        return point

    true = network(reference.utility, reference.similarity)
    found, best = best_of(network(affinity.utility, affinity.similarity)), best_of(true)
    even = np.full(len(names), 1.0 / len(names))
    off = ~np.eye(len(names), dtype=bool)
    J, J_true = affinity.divergence[off], reference.divergence[off]
    ratio = float(J_true.mean() / J.mean())
    scaled = best_of(network(affinity.utility, np.exp(-PAIRWISE.kappa * ratio * affinity.divergence)))

    def missed(point: FloatArray) -> float:
        return float((true.energy(point) - true.energy(best)) / (true.energy(even) - true.energy(best)))

    return {
        "J_rank": rank(J, J_true),
        "J_error": float(np.linalg.norm(J - J_true) / np.linalg.norm(J_true)),
        "J_mean": float(J.mean()),
        "utility_rank": rank(affinity.utility, reference.utility),
        "mixture_distance": float(0.5 * np.abs(found - best).sum()),
        "uniform_distance": float(0.5 * np.abs(even - best).sum()),
        "energy_missed": missed(found),
        "scaled_J_error": float(np.linalg.norm(ratio * J - J_true) / np.linalg.norm(J_true)),
        "scaled_energy_missed": missed(scaled),
        "weights": dict(zip(names, found.tolist(), strict=True)),
    }


def records(suite: str, seed: int, out: Path, row: bool, kinds: tuple[Kind, ...]) -> Iterator[dict[str, Any]]:
    """One a kind; the reference is the first."""
    base = widened(suite_base(suite, out, seed), out / f"wide-{seed}")
    if row:
        base = in_a_row(base, suite, seed, out / f"row-{seed}")
    tasks = tokenize_for(find_suite(suite).tasks(seed), base, DEMO_PROBES)
    about = {"suite": suite, "seed": seed, "base": "examples in a row" if row else "single examples"}
    reference: Affinity | None = None
    for kind in kinds:
        try:
            record, affinity = measured(kind, tasks, base, out, seed)
        except tp.InputError as error:
            yield {**about, "kind": kind.name, "failed": str(error)}
            continue
        reference = reference or affinity
        yield {**about, **record, **compared(affinity, reference, tasks)}


COLUMNS = {
    "final runs": "final_runs",
    "without curves": "without_curves",
    "own loss": "own_loss",
    "J rank": "J_rank",
    "J error": "J_error",
    "utility rank": "utility_rank",
    "mixture TV": "mixture_distance",
    "energy missed": "energy_missed",
    "missed, J scaled": "scaled_energy_missed",
}


def shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [f"| evidence | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for row in rows:
        cells = [f"failed: {row['failed']}"] if "failed" in row else [shown(row[key]) for key in COLUMNS.values()]
        lines.append(f"| {row['kind']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="easy-redundant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-a-row", action="store_true", help="a base that has seen examples in a row")
    parser.add_argument("--only", nargs="+", default=[""], help="kinds whose name contains one of these")
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--record", type=Path, help="JSON lines")
    arguments = parser.parse_args()
    kinds = tuple(kind for kind in KINDS if kind.name == REFERENCE or any(part in kind.name for part in arguments.only))
    rows = []
    for row in records(arguments.suite, arguments.seed, arguments.out, arguments.in_a_row, kinds):
        rows.append(row)
        print(f"{row['kind']}: done", file=sys.stderr, flush=True)
    print(table(rows))
    if arguments.record is not None:
        arguments.record.parent.mkdir(parents=True, exist_ok=True)
        arguments.record.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


if __name__ == "__main__":
    main()
