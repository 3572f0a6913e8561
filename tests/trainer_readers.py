"""How trainers read their files, by their documented grammar: lists of (task or path, weight), written from scratch.

Nothing of the exporters is used here, but for the names of the arrays that they define.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

Pairs = list[tuple[str, float]]


def python_value(text: str, name: str) -> Any:
    """What a Python file assigns to a name, without running it."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"no {name} in the file")


def bash_array(text: str) -> list[str]:
    """What bash makes of MIXTURE=(...)."""
    script = text + "printf '%s\\0' \"${MIXTURE[@]}\"\n"
    done = subprocess.run(["bash", "--norc"], input=script.encode(), capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


def after(arguments: list[str], option: str) -> list[str]:
    """The values of an option, as argparse takes them: up to the next argument that starts with two dashes."""
    start = arguments.index(option) + 1
    end = next((i for i in range(start, len(arguments)) if arguments[i].startswith("--")), len(arguments))
    return arguments[start:end]


def datasets(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    return [(name, task["probability"]) for name, task in python_value(text, "TASKS").items()]


def trl(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    entries = yaml.safe_load(text)["datasets"]
    known = {"path", "name", "data_dir", "data_files", "split", "columns", "fraction"}
    assert all(set(entry) <= known for entry in entries)
    return [(entry.get("data_files", entry["path"]), entry["fraction"]) for entry in entries]


def llama_factory(files: Mapping[Path, str]) -> Pairs:
    """Names and probabilities by position; num_samples from dataset_info.json in dataset_dir."""
    (settings, info_text), info_path = list(files.values()), list(files)[1]
    value, info = yaml.safe_load(settings), json.loads(info_text)
    assert Path(value["dataset_dir"]) / "dataset_info.json" == info_path
    names = [name.strip() for name in value["dataset"].split(",")]
    places = [os.path.normpath(os.path.join(value["dataset_dir"], info[name]["file_name"])) for name in names]
    if value["mix_strategy"] == "concat":
        assert "interleave_probs" not in value
        return [(place, info[name]["num_samples"]) for place, name in zip(places, names, strict=True)]
    return list(zip(places, map(float, str(value["interleave_probs"]).split(",")), strict=True))


def open_instruct(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    values = after(bash_array(text), "--dataset_mixer_list")
    assert not any("." in amount for amount in values[1::2]), "a fraction of the source"
    return [(name, int(amount)) for name, amount in zip(values[::2], values[1::2], strict=True)]


def ms_swift(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    arguments = bash_array(text)
    assert after(arguments, "--split_dataset_ratio") == ["0"]
    return [(name, int(count)) for name, count in (one.rsplit("#", 1) for one in after(arguments, "--dataset"))]


def megatron_lm(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    values = after(bash_array(text), "--data-path")
    assert len(values) % 2 == 0, "taken as prefixes without weights"
    return [(prefix, float(weight)) for weight, prefix in zip(values[::2], values[1::2], strict=True)]


def nemo(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    values = python_value(text, "PATHS")
    assert all(isinstance(value, str) for value in values)
    return [(prefix, float(weight)) for weight, prefix in zip(values[::2], values[1::2], strict=True)]


def energon(files: Mapping[Path, str]) -> Pairs:
    ((path, text),) = files.items()
    value = yaml.safe_load(text)
    assert (value["__module__"], value["__class__"]) == ("megatron.energon", "MetadatasetV2")
    blend = value["splits"]["train"]["blend"]
    return [(os.path.normpath(path.parent / entry["path"]), entry["weight"]) for entry in blend]


def mosaicml(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    return [(name, stream["proportion"]) for name, stream in python_value(text, "STREAMS").items()]


def torchtitan(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    return list(python_value(text, "WEIGHTS").items())


def nanotron(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    value = yaml.safe_load(text)["dataset"]
    return list(zip(value["dataset_folder"], value["dataset_weights"], strict=True))


def levanter(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    value = yaml.safe_load(text)["data"]
    assert {name for name, weight in value["train_weights"].items() if weight} == set(value["configs"])
    return list(value["train_weights"].items())


def rows(path: str) -> Pairs:
    lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    return list(Counter(json.loads(line)["task"] for line in lines).items())


def axolotl(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    (entry,) = yaml.safe_load(text)["datasets"]
    return rows(entry["path"])


def torchtune(files: Mapping[Path, str]) -> Pairs:
    (text,) = files.values()
    return rows(yaml.safe_load(text)["dataset"]["data_files"])


READERS: dict[str, Callable[[Mapping[Path, str]], Pairs]] = {
    "datasets": datasets,
    "trl": trl,
    "llama-factory": llama_factory,
    "axolotl": axolotl,
    "open-instruct": open_instruct,
    "ms-swift": ms_swift,
    "megatron-lm": megatron_lm,
    "nemo": nemo,
    "energon": energon,
    "mosaicml": mosaicml,
    "torchtitan": torchtitan,
    "nanotron": nanotron,
    "levanter": levanter,
    "torchtune": torchtune,
}

TOKEN_TRAINERS = ("megatron-lm", "nemo", "nanotron", "levanter")
"""Those whose weights are of sequences of one length; all others count rows, samples or documents: examples."""
