"""Training steps whose batch goes through the model in parts, with the gradient that the whole batch has.

    trainer = trainer_class(micro_batch=8)(model=model, args=arguments, ...)

The loss is the mean over the target tokens of the whole batch, however it is split; so the gradient is the same but for
rounding (and for what dropout draws). Where memory runs out, the step is begun again with half as many examples at a
time. Each training starts from the size that was asked for: what an expert is does not depend on those before it.
"""

from __future__ import annotations

from typing import Any

from taskpgm.halving import Fitting

REMEDY = (
    "training: {gradient_checkpointing: true}, training: {precision: bfloat16}, training: {lora: {rank: 16}},"
    " with LoRA model: {load_in: 4bit}, or shorter examples"
)


def trainer_class(micro_batch: int) -> Any:
    """A transformers Trainer that takes so many examples of a batch at a time, or fewer where memory runs out."""
    from transformers import Trainer

    class SplittingTrainer(Trainer):  # type: ignore[misc]
        fitting = Fitting(micro_batch, "training", REMEDY)
        share = 1.0  # of a batch's target tokens, those of the part

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            rows, targets = len(inputs["input_ids"]), _targets(inputs)

            def step(part: range) -> Any:
                whole = len(part) == rows
                some = inputs if whole else _rows(inputs, part)
                self.share = 1.0 if whole else _targets(some) / targets
                return super(SplittingTrainer, self).training_step(model, some, num_items_in_batch)

            return sum(self.fitting.all(rows, step, model.zero_grad))

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            if not self.model_accepts_loss_kwargs and self.share != 1.0:  # a mean over the part's own target tokens
                loss = loss * self.share
            return (loss, outputs) if return_outputs else loss

    return SplittingTrainer


def _rows(inputs: dict[str, Any], part: range) -> dict[str, Any]:
    """Some examples of a batch, without the padding that only the others needed."""
    longest = int(inputs["attention_mask"][part.start : part.stop].sum(dim=1).max())
    return {name: values[part.start : part.stop, :longest] for name, values in inputs.items()}


def _targets(inputs: dict[str, Any]) -> int:
    """How many tokens of a batch are targets. The first of an example never is."""
    return int((inputs["labels"][:, 1:] != -100).sum())
