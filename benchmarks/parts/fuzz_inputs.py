"""Readers of what users write: settings, data sets, matrices, models, templates, names."""

from __future__ import annotations

import io
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import yaml
from parts.fuzz_reader import JSON, JSON_LINES, SAFETENSORS, Codec, Reader

from taskpgm.config import FeasibleSettings, TaskSource, load_config
from taskpgm.exporters import EXPORTERS
from taskpgm.exporting import export
from taskpgm.feasible_settings import feasible_set
from taskpgm.formats import read_network, read_uai, write_network
from taskpgm.inference.child_helper import packed, unpacked
from taskpgm.mixture import Mixture
from taskpgm.model_shape import stored_shapes
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.served import predictions_from_logprobs
from taskpgm.settings import validated
from taskpgm.tables import read_similarity, read_utility
from taskpgm.tasks import load_tasks, read_examples
from taskpgm.tensor_files import stored_tensors, tensors_damage, write_tensors
from taskpgm.types import TaskSize
from taskpgm.yaml_files import read_yaml

RUN = b"""\
tasks:
  - a.jsonl
  - {name: mine, path: b.jsonl, columns: {prompt: prompt, completion: completion}, family: x}
  - {name: c, path: c.json, prompt_template: "Q: {input}", completion_template: " {target}"}
  - {hub: owner/name, revision: 0123456789abcdef, split: train, subset: main}
model: {name: path/to/model, revision: abc}
splits: {probe: 0.15, eval: 0.15}
training: {steps: 100, batch_size: 32, learning_rate: 2.0e-5, betas: [0.9, 0.999], lora: {rank: 16}}
probes: {per_task: 32, width: null, top_k: full, too_long: refuse}
energy: {kind: pairwise, kappa: 10.0, rho: 0.5, prior: {a: 0.5, mine: 0.5}, choose: {effective_tasks: 3}}
feasible: {floor: 0.2, upper: {mine: 0.5}, groups: {g: {tasks: [a, mine], lower: 0.2, upper: 0.5}}, max_epochs: 4}
mixture: {unit: tokens, budget: 1000}
evaluation: {steps: [10, 20], mixtures: [uniform, ours], target_weights: {a: 1.0}, harness: {tasks: [bbh], limit: 3}}
"""
FEASIBLE = b"""\
floor: 0.1
lower: {a: 0.1}
upper: {b: 0.8}
fixed: {c: 0.2}
groups: {g: &g {tasks: [a, b], lower: 0.1, upper: 0.9}, h: {<<: *g, tasks: [b, c]}}
cost: {per_unit: {a: 1, b: 2, c: 3}, most: 2.5}
trust_region: {within: 0.4, around: {a: 0.3, b: 0.4, c: 0.3}}
effective_tasks: 2
"""
ROWS = [{"prompt": f"{i}+{i}=", "completion": f"{2 * i}"} for i in range(12)]
NAMES = ("a", "b", "c")
SIZES = {"b": TaskSize(10, 100, 30)}


def _network() -> PairwiseNetwork:
    factors = [
        ([0], [0.5, 1.0]),
        ([1, 2], np.arange(6.0).reshape(3, 2)),
        ([0, 1], [[0.0, 1.0, np.inf], [0.2, 0.1, 2.0]]),
    ]
    return PairwiseNetwork.from_factors([2, 3, 2], factors, names=["x", "y z", "é"], constant=0.25)


def _written(ending: str) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"network{ending}"
        write_network(_network(), path)
        return [path.read_bytes()]


def _uai() -> list[bytes]:
    bayes = b"BAYES\n2\n2 2\n2\n1 0\n2 0 1\n\n2\n 0.2 0.8\n4\n 0.1 0.9 0.5 0.5\n"
    return [*_written(".uai"), bayes]


def _used(path: Path) -> None:
    network = read_network(path)
    network.energy([0] * len(network))


def _used_npz(path: Path) -> None:
    network = unpacked(path.read_bytes())
    network.energy([0] * len(network))


def _evidence(path: Path) -> None:
    model = path.with_name("model.uai")
    if not model.exists():
        model.write_bytes(_uai()[0])
    read_uai(model, path)


def _config(path: Path) -> None:
    load_config(path)


def _feasible(path: Path) -> None:
    settings = validated(FeasibleSettings, read_yaml(path), str(path))
    TaskNetwork(
        np.zeros(3), np.eye(3), NAMES, **dict(zip(("lower", "upper", "constraints"), _allowed(settings), strict=True))
    )


def _allowed(settings: FeasibleSettings) -> Any:
    return feasible_set(settings, NAMES, None, "tokens", None)


def _tasks(path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl", "c.json"):
        if not (path.parent / name).exists():
            lines = b"\n".join(json.dumps(row).encode() for row in ROWS)
            bbh = json.dumps({"examples": [{"input": str(i), "target": "x"} for i in range(12)]}).encode()
            (path.parent / name).write_bytes(bbh if name == "c.json" else lines)
    load_tasks(path)


def _rows(path: Path) -> None:
    read_examples(TaskSource(path=str(path)))


def _template(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    rows = path.with_name("rows.jsonl")
    if not rows.exists():
        rows.write_text('{"prompt": "a {prompt} b", "completion": "c"}')
    read_examples(TaskSource(path=str(rows), prompt_template=text))


def _similarity(path: Path) -> None:
    names, values = read_similarity(path)
    TaskNetwork(np.zeros(len(names)), values, names)


def _utility(path: Path) -> None:
    read_utility(path, NAMES)


def _parquet() -> list[bytes]:
    tables = (
        {"prompt": ["a", "b"], "completion": ["c", "d"]},
        {"messages": [[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]] * 2},
        {"input": [1, None], "target": [1.5, 2.5], "instruction": [b"x", b"y"]},
    )
    return [_as_parquet(table) for table in tables]


def _as_parquet(columns: Any) -> bytes:
    """A Parquet file of columns, or what is no such file where they do not make a table."""
    stream = io.BytesIO()
    try:
        pyarrow.parquet.write_table(pyarrow.table(columns), stream)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError, AttributeError, RecursionError):
        return b"PAR1" + repr(columns).encode("utf-8", "replace")[:1000] + b"PAR1"
    return stream.getvalue()


def _columns(data: bytes) -> Any:
    return pyarrow.parquet.read_table(io.BytesIO(data)).to_pydict()


def _tensors() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(4, dtype=np.int32)
        write_tensors(path, {"k/log_probs": (np.float32, (2, 3)), "k/subset": (np.int32, (4,))}, [a, b])
        return [path.read_bytes()]


def _read_tensors(path: Path) -> None:
    tensors_damage(path)
    for tensor in stored_tensors(path).values():
        tensor.rows()


def _weights(path: Path) -> None:
    stored_shapes(path.parent)


def _index() -> list[bytes]:
    return [json.dumps({"metadata": {"total_size": 1}, "weight_map": {"a.weight": "part.safetensors"}}).encode()]


def _read_index(path: Path) -> None:
    part = path.with_name("part.safetensors")
    if not part.exists():
        part.write_bytes(_tensors()[0])
    stored_shapes(path.parent)


def _npz(value: Any) -> bytes:
    stream = io.BytesIO()
    try:
        np.savez(stream, **{str(key): np.array(item) for key, item in value.items()})
    except (TypeError, ValueError, AttributeError, OverflowError):
        return repr(value).encode("utf-8", "replace")[:1000]
    return stream.getvalue()


def _arrays(data: bytes) -> Any:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {key: arrays[key].tolist() for key in arrays}


def _served(path: Path) -> None:
    try:
        value = json.loads(path.read_bytes())  # what a program hands over: only the values matter
    except (ValueError, RecursionError):
        return
    if not isinstance(value, dict) or not isinstance(value.get("models"), dict):
        return
    predictions_from_logprobs(value["models"], tasks=["a", "b"], top_k=2)


SERVED = {
    "models": {
        "a": [{"4": -0.1, "5": -3.0}, {"yes": {"logprob": -0.6}, "no": {"logprob": -0.9}}],
        "b": [
            [{"token": "4", "logprob": -0.7}, {"token": "f", "logprob": -1.2}],
            {"top_logprobs": [{"token": "y", "logprob": 0}]},
        ],
    }
}


def _names(path: Path) -> None:
    """A task of any name, in the files of every trainer: they lie where they were asked for, and nowhere else."""
    name = path.read_bytes().decode("utf-8", "surrogatepass") if _is_text(path.read_bytes()) else "x"
    if name == "b":
        return
    network = TaskNetwork(np.zeros(2), np.eye(2), (name, "b"))
    mixture = Mixture(
        network,
        {name: 0.25, "b": 0.75},
        0.0,
        0.0,
        0.0,
        "optimal",
        "none",
        "examples",
        SIZES | {name: TaskSize(9, 90, 30)},
    )
    out = path.parent / "exported"
    for exporter in EXPORTERS:
        found = export(mixture, exporter.name, out / f"mixture{exporter.ending}", budget=100, data_dir="data")
        for file in found.files:
            if out.resolve() not in file.path.resolve().parents:
                raise AssertionError(f"{exporter.name} writes {file.path}")
            file.path.unlink(missing_ok=True)
        for task in found.plan.tasks:
            if task.place.path is not None and not exporter.presampled and Path(task.place.path).parent != Path("data"):
                raise AssertionError(f"{exporter.name} has {task.place.path}")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _texts() -> Sequence[bytes]:
    texts = (
        "copy",
        "été",
        "задача",
        "😀 two words",
        "../up",
        "</script>",
        "a/b",
        "line\nbreak",
        "#5",
        "CON",
        "x=y",
        "$(id)",
    )
    return [text.encode() for text in texts]


def _lines(rows: Sequence[Any]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows) + b"\n"


CHAT = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}] * 3
BBH = {"canary": "x", "examples": [{"input": "1", "target": "yes"}, {"input": "2", "target": "no"}]}
ALPACA = [{"instruction": "do", "input": "", "output": "done"}, {"instruction": "é", "input": "x", "output": "y"}]
SIMILARITY = b",a,b,c\na,1,0.5,0.25\nb,0.5,1,0\nc,0.25,0,1\n"
UTILITY = b'task,utility\na,0.5\n"b",-1e-3\nc,2\n'
TEMPLATES = (b"Q: {prompt}\nA:", b"{{x}} {completion}", b"{prompt}{prompt}")
FACTOR_GRAPH = b"2\n\n1\n0\n2\n2\n0 0.5\n1 0.5\n\n2\n0 1\n2 3\n3\n0 1.0\n3 0.25\n5 2.0\n"
YAML = Codec(
    yaml.safe_load,
    lambda value: yaml.safe_dump(value, allow_unicode=random.Random(repr(value)).random() < 0.5).encode(
        "utf-8", "surrogatepass"
    ),
)

INPUT_READERS: tuple[Reader, ...] = (
    Reader("run.yaml", "run.yaml", lambda: [RUN], _config, YAML, 8),
    Reader(
        "tasks.yaml",
        "tasks.yaml",
        lambda: [b"tasks: [a.jsonl, b.jsonl, c.json]\nsplits: {probe: 0.3, eval: 0.1}\n"],
        _tasks,
        YAML,
        16,
    ),
    Reader("feasible.yaml", "feasible.yaml", lambda: [FEASIBLE], _feasible, YAML, 4),
    Reader(
        "csv",
        "rows.csv",
        lambda: [b'prompt,completion\na,b\n"c, d","e""f\n"\n', b"input,target,id\n1,2,3\n"],
        _rows,
        None,
        24,
    ),
    Reader("jsonl", "rows.jsonl", lambda: [_lines(ROWS), _lines(CHAT)], _rows, JSON_LINES, 24),
    Reader("json", "rows.json", lambda: [json.dumps(ALPACA).encode(), json.dumps(CHAT).encode()], _rows, JSON, 24),
    Reader("bbh", "bbh.json", lambda: [json.dumps(BBH).encode()], _rows, JSON, 20),
    Reader("parquet", "rows.parquet", _parquet, _rows, Codec(_columns, _as_parquet), 24),
    Reader("template", "template.txt", lambda: TEMPLATES, _template, None, 20),
    Reader("similarity.csv", "similarity.csv", lambda: [SIMILARITY], _similarity, None, 20),
    Reader("utility.csv", "utility.csv", lambda: [UTILITY], _utility, None, 16),
    Reader("uai", "network.uai", _uai, _used, None, 24),
    Reader("uai-evidence", "evidence.txt", lambda: [b"1 0 1\n", b"2 1 2 2 0\n"], _evidence, None, 12),
    Reader("wcsp", "network.wcsp", lambda: _written(".wcsp"), _used, None, 24),
    Reader("cfn", "network.cfn", lambda: _written(".cfn"), _used, JSON, 24),
    Reader("fg", "network.fg", lambda: [FACTOR_GRAPH], _used, None, 20),
    Reader("safetensors", "x.safetensors", _tensors, _read_tensors, SAFETENSORS, 24),
    Reader("weights", "model.safetensors", _tensors, _weights, SAFETENSORS, 16),
    Reader("weights-index", "model.safetensors.index.json", _index, _read_index, JSON, 12),
    Reader("npz", "network.npz", lambda: [packed(_network())], _used_npz, Codec(_arrays, _npz), 16),
    Reader("served", "served.json", lambda: [json.dumps(SERVED).encode()], _served, JSON, 20),
    Reader("names", "name.txt", _texts, _names, None, 1),
)
