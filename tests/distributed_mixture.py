"""One process of a small run on a mixture, for a test that starts two: python distributed_mixture.py MODEL OUT STOP."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mixture_runs import train
from test_training_mixture import by_measured_loss

if __name__ == "__main__":
    model, out, stop = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    resume = any(out.glob("checkpoint-*"))
    mixture = {"decide": by_measured_loss, "decide_every": 2, "examples_per_epoch": 80}
    settings = {"gradient_accumulation_steps": 2, "dataloader_num_workers": 1, "mixture": mixture}
    run = train(model, out, stop=stop or None, resume=resume, **settings)
    value = {
        "seen": run.seen,
        "state": run.callback.state(),
        "log": [log for log in run.logs if "loss" in log][-1],
        "weights": {name: value.double().sum().item() for name, value in run.weights.items()},
    }
    rank = os.environ["RANK"]
    (out.parent / f"{out.name}-{'rest' if resume else 'first'}-{rank}.json").write_text(json.dumps(value))
