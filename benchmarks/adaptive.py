"""What deciding in the middle of a run costs: curves fitted to training losses, the mixture, its proof, and all of it.

    python benchmarks/adaptive.py plans --sizes 14 50 300       # seconds, status and gap, with and without a prior
    python benchmarks/adaptive.py verify --sizes 14 50          # seconds to prove a plan again from its file's numbers
    python benchmarks/adaptive.py cost --steps 240              # an adaptive mixture's share of a run's processor time
    python benchmarks/adaptive.py all --out adaptive.jsonl

For plans, training losses are made up: late and early curves seen through the noise of twelve bins of 2,000 tokens
each. The run of `cost` trains a model of 8 million parameters with a vocabulary of 8,000, made on the spot, on
fourteen tasks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from parts.figures import print_figures
from parts.run_cost import cost_record

from taskpgm.expected_curves import ExpectedCurves
from taskpgm.planning import plan_mixture
from taskpgm.training_curves import bin_losses, fit_training_curves

BUDGET = 1e6
STEPS = 200
TOKENS = 2_000.0


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """(wall-clock seconds, result)."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def made_up(n: int) -> dict[str, Any]:
    """What a run of n tasks has seen after a third of its budget, as `fit_training_curves` takes it."""
    rng = np.random.default_rng(n)
    even = BUDGET / n
    truth = ExpectedCurves(
        [f"task {i}" for i in range(n)],
        1.0,
        rng.uniform(0.1, 0.8, (n, 1)),
        rng.uniform(0.5, 3.0, (n, 1)),
        even * np.exp(rng.uniform(np.log(0.03), np.log(3.0), (n, 1))),
        rng.choice([1.0, 1.5, 2.0, 3.0], (n, 1)),
        1.0,
    )
    amounts = even / 3.0 / STEPS * rng.uniform(0.5, 1.5, (STEPS, n))
    losses = truth.mean(np.cumsum(amounts, axis=0))
    tokens = np.full(amounts.shape, 12.0 * TOKENS / STEPS)
    noisy = losses * np.maximum(1.0 + 0.8 * rng.standard_normal(losses.shape) / np.sqrt(tokens), 0.0)
    exposures, means, counts = bin_losses(amounts, noisy, tokens)
    known = {"exposures": exposures, "losses": means, "tokens": counts, "start_losses": truth.mean(np.zeros(n))}
    return known | {"budget": BUDGET, "names": truth.names, "done": amounts.sum(axis=0)}


def plan_records(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for n in (2, *options.sizes):  # the first compiles, and is not reported
        known = made_up(n)
        done = known.pop("done")
        fitted, curves = seconds(lambda known=known: fit_training_curves(**known))
        for name, settings in (("prior", {"lower": 0.1 / n}), ("no prior", {"tau": 0.0})):
            left = BUDGET - float(done.sum())
            planned, mixture = seconds(
                lambda curves=curves, done=done, left=left, settings=settings: plan_mixture(
                    curves, done, left, **settings
                )
            )
            record = {"figure": "plans", "n": n, "kind": name, "fit_seconds": fitted, "plan_seconds": planned}
            if n > 2:
                yield record | {"status": mixture.status, "gap": mixture.gap, "energy": mixture.energy}


def verify_records(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for n in options.sizes:
        known = made_up(n)
        done = known.pop("done")
        mixture = plan_mixture(fit_training_curves(**known), done, BUDGET - float(done.sum()))
        taken, checks = seconds(mixture.verify)
        proved = all(check.passed for check in checks)
        yield {"figure": "verify", "n": n, "seconds": taken, "proved": proved, "gap": mixture.gap}


def cost_records(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for losses_every in options.losses_every:
        measured = cost_record(losses_every, steps=options.steps, batch=options.batch, tokens=options.tokens)
        yield {"figure": "cost", **measured}


FIGURES = {"plans": plan_records, "verify": verify_records, "cost": cost_records}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("figure", choices=[*FIGURES, "all"])
    made.add_argument("--sizes", type=int, nargs="+", default=[14, 50, 300], help="numbers of tasks")
    made.add_argument(
        "--losses-every", type=int, nargs="+", default=[4, 1], help="measure losses in every so many steps"
    )
    made.add_argument("--steps", type=int, default=240, help="of the run whose cost is measured")
    made.add_argument("--batch", type=int, default=8, help="its examples a step")
    made.add_argument("--tokens", type=int, default=64, help="of an example, half of them targets")
    made.add_argument("--out", type=Path, help="a file for the records; the terminal where not given")
    return made


if __name__ == "__main__":
    print_figures(parser, FIGURES)
