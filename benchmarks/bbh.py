"""The whole way on the BIG-Bench-Hard files with a model of about a million parameters made on the spot.

    python benchmarks/bbh.py path/to/bbh --out runs/bbh
    python benchmarks/bbh.py path/to/bbh --out runs/bbh --evaluate 160 --seeds 3
    python benchmarks/bbh.py path/to/bbh --out runs/bbh-lora --architecture Qwen2 --lora 8

Trains a byte-level BPE tokenizer and a small Llama (or Qwen2) on the training parts of the files, writes a
configuration, calls `taskpgm run` on it twice, and prints one JSON line with the times. With --lora experts are
adapters of that rank on one base, instead of whole models. With --evaluate the base is then trained for so many
steps on the mixture, and on uniform, square-root and size-proportional ones, and compared. The numbers say that the
path works, how long it takes, and which mixture such a model learns more from; it solves none of the tasks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import yaml

from taskpgm.config import TrainingSettings
from taskpgm.fine_tuning import fine_tune, training_sequence
from taskpgm.storage import atomic_directory
from taskpgm.tasks import load_tasks
from taskpgm.tokens import TokenExample
from taskpgm.types import TaskSet

VOCABULARY = 2048
WINDOW = 1024
BATCH = 8
PRETRAINING = TrainingSettings(steps=150, batch_size=8, learning_rate=3e-3, warmup_steps=15)


def build_model(tasks: TaskSet, directory: Path, architecture: str) -> int:
    """A tokenizer and a briefly pre-trained model in an existing folder; returns the number of parameters."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [example.prompt + example.completion for task in tasks for example in task.train]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", model_max_length=WINDOW
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{architecture}ForCausalLM")(
        getattr(transformers, f"{architecture}Config")(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=WINDOW,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    whole_texts = [TokenExample(tuple(ids[:256]), 1) for ids in tokenizer(texts)["input_ids"]]
    fine_tune(model, training_sequence(whole_texts, PRETRAINING), PRETRAINING, lambda step: None)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return sum(parameter.numel() for parameter in model.parameters())


def write_config(
    files: Path, model: Path, path: Path, steps: int, probes: int, final: int | None, rank: int | None
) -> None:
    """The run's configuration; everything not named here is the default."""
    training: dict[str, object] = {"steps": steps, "batch_size": BATCH, "learning_rate": 1e-3, "warmup_steps": 5}
    if rank is not None:
        training |= {"learning_rate": 1e-2, "lora": {"rank": rank, "alpha": 2.0 * rank}}
    config: dict[str, object] = {
        "tasks": [str(files / "*.json")],
        "model": {"name": str(model)},
        "training": training,
        "probes": {"per_task": probes, "top_k": 256},
    }
    if final is not None:
        config["mixture"] = {"unit": "examples", "budget": final * BATCH}
        config["evaluation"] = {"steps": final, "eval_per_task": 32, "batch_size": 16}
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, help="folder with the BIG-Bench-Hard JSON files")
    parser.add_argument("--out", type=Path, default=Path("runs/bbh"))
    parser.add_argument("--steps", type=int, default=40, help="training steps of each expert")
    parser.add_argument("--probes", type=int, default=8, help="probes per task")
    parser.add_argument("--architecture", choices=("Llama", "Qwen2"), default="Llama", help="of the model")
    parser.add_argument("--lora", type=int, metavar="RANK", help="experts are adapters of this rank")
    parser.add_argument("--evaluate", type=int, metavar="STEPS", help="compare mixtures in final runs of so many steps")
    parser.add_argument("--seeds", type=int, default=3, help="orders of the examples that are compared")
    options = parser.parse_args()
    out, started = options.out.resolve(), time.perf_counter()
    tasks = load_tasks([options.files.resolve() / "*.json"])
    model = out / ("model" if options.architecture == "Llama" else f"model-{options.architecture}")
    record: dict[str, object] = {"tasks": len(tasks), "steps": options.steps, "probes": options.probes}
    record |= {"architecture": options.architecture, "lora": options.lora}
    if not model.is_dir():
        with atomic_directory(model) as folder:
            record["parameters"] = build_model(tasks, folder, options.architecture)
    record["model_seconds"] = round(time.perf_counter() - started, 1)
    config = out / "config.yaml"
    write_config(options.files.resolve(), model, config, options.steps, options.probes, options.evaluate, options.lora)
    for run in ("first", "second"):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "taskpgm", "run", str(config), "--out", str(out / "run")], check=True)
        record[f"{run}_run_seconds"] = round(time.perf_counter() - started, 1)
    if options.evaluate is not None:
        asked = ["--seeds", str(options.seeds), "--out", str(out / "run")]
        subprocess.run([sys.executable, "-m", "taskpgm", "evaluate", str(config), *asked], check=True)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
