"""What share of a training run's processor time its mixture takes, measured within the run itself, part by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

TASKS, ROWS = 14, 200
VOCABULARY, HIDDEN, LAYERS = 8_000, 256, 5
PARTS = {
    "draws": ("epoch_of", "on_step_begin"),
    "amounts": ("begin_batch",),
    "losses": ("_see_outputs",),
    "decisions": ("on_step_end",),
    "log": ("figures",),
    "state": ("state",),
}
"""What is timed of a mixture's callback, by what it is for."""


class Clock:
    """Processor seconds by part; time in a part that another part asks for counts once, for the outer one."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._inside = False

    def watch(self, callback: Any) -> None:
        """Time a callback's methods."""
        for part, methods in PARTS.items():
            for method in methods:
                work = getattr(callback, method)
                setattr(callback, method, self._draws(work) if method == "epoch_of" else self._timed(part, work))

    def _timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return work(*args, **kwargs)
            self._inside, start = True, time.process_time()
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds[part] += time.process_time() - start
                self._inside = False

        return timed

    def _draws(self, work: Callable[[int], Iterator[int]]) -> Callable[[int], Iterator[int]]:
        def timed(length: int) -> Iterator[int]:
            draw = self._timed("draws", work(length).__next__)
            for _ in range(length):
                yield draw()

        return timed


def cost_record(losses_every: int, *, steps: int, batch: int, tokens: int) -> dict[str, Any]:
    """One run of a model made on the spot: its processor seconds, and the shares of them that the mixture takes."""
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, default_data_collator

    import taskpgm as tp

    sizes = {"hidden_size": HIDDEN, "intermediate_size": 3 * HIDDEN, "num_hidden_layers": LAYERS}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, num_attention_heads=4, **sizes))
    mix = tp.AdaptiveMixture(_data(tokens), seed=0, losses_every=losses_every)
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=batch,
            logging_steps=max(1, steps // 20),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(model, arguments, train_dataset=mix.dataset, data_collator=default_data_collator)
        clock = Clock()
        clock.watch(mix.attach(trainer))
        start = time.process_time()
        trainer.train()
        total = time.process_time() - start
    shares = {f"{part}_share": seconds / total for part, seconds in clock.seconds.items()}
    return {
        "parameters": model.num_parameters(),
        "losses_every": losses_every,
        "steps": steps,
        "decisions": len(mix.decisions),
        "cpu_seconds": total,
        "share": sum(shares.values()),
        **shares,
        "seconds_a_decision": clock.seconds["decisions"] / max(len(mix.decisions), 1),
    }


def _data(tokens: int) -> dict[str, Any]:
    """Rows of random tokens, the second half of each of them targets."""
    from datasets import Dataset

    found = {}
    for task in range(TASKS):
        rows = np.random.default_rng(task).integers(0, VOCABULARY, (ROWS, tokens))
        labels = np.where(np.arange(tokens) < tokens // 2, -100, rows)
        found[f"task {task}"] = Dataset.from_dict({"input_ids": rows.tolist(), "labels": labels.tolist()})
    return found
