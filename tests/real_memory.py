"""Trains and reads with an address space that is too small for whole batches: memory that really runs out.

python tests/real_memory.py FOLDER    # prints JSON: what was logged, and how far the weights and losses are apart
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny import save_model

import taskpgm as tp
from taskpgm.base import locate_base
from taskpgm.fine_tuning import fine_tune, trainable
from taskpgm.forward import task_losses
from taskpgm.tokens import TokenExample, TokenTask, make_probes

ROOM = 350 * 2**20
LENGTH, VOCABULARY, ROWS = 64, 4000, 256


class Told(logging.Handler):
    """The lines that were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def done(base: Any, rows: tuple[TokenExample, ...]) -> tuple[np.ndarray, float]:
    training = tp.TrainingSettings(steps=1, batch_size=ROWS, learning_rate=0.01, warmup_steps=0, threads=1)
    model = trainable(base, training)
    fine_tune(model, rows, training, lambda step: None)
    weights = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()]).numpy()
    task = TokenTask("one", rows, rows, rows, 0)
    return weights, float(task_losses(model, make_probes([task], ROWS), ROWS)[0])


def main() -> None:
    torch.set_num_threads(1)
    base = locate_base(save_model(Path(sys.argv[1]) / "m", vocab_size=VOCABULARY, max_position_embeddings=LENGTH))
    draw = np.random.default_rng(0)
    rows = tuple(TokenExample(tuple(draw.integers(5, VOCABULARY, LENGTH).tolist()), 4) for _ in range(ROWS))
    told = Told()
    logging.getLogger("taskpgm").addHandler(told)
    free = done(base, rows)
    assert told.lines == []
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    tight = done(base, rows)
    apart = {"weights": float(np.abs(tight[0] - free[0]).max()), "loss": abs(tight[1] - free[1])}
    print(json.dumps({"told": told.lines, **apart}))


if __name__ == "__main__":
    main()
