"""Exports in the hands of the packages that they are for: what is drawn has the planned shares.

The weights are shares of tokens, and the tasks' examples differ in length: rows in other proportions, tokens in these.
Trainers' packages are no dependency of the project; their tests skip where the package is not installed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from trainer_readers import after, bash_array

import taskpgm as tp
from taskpgm.exporting import Exported, export
from taskpgm.mixture import Mixture
from taskpgm.types import TaskSize

WEIGHTS = {"short": 0.2, "medium 😀": 0.3, "long": 0.5, "never": 0.0}
LENGTHS = {"short": 10, "medium 😀": 40, "long": 200, "never": 10}
ROWS = {"short": 3000, "medium 😀": 1200, "long": 400, "never": 50}


@pytest.fixture
def mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mixture:
    """In a folder with a file for each task, every row of which has so many tokens of one character."""
    monkeypatch.chdir(tmp_path)
    sizes = {}
    for i, (name, rows) in enumerate(ROWS.items()):
        lines = ({"prompt": f"{name}|{row}", "completion": "x" * LENGTHS[name]} for row in range(rows))
        Path(f"{i}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        sizes[name] = TaskSize(rows, rows * LENGTHS[name], rows * LENGTHS[name])
    network = tp.TaskNetwork(np.zeros(4), np.eye(4), tuple(WEIGHTS))
    return Mixture(network, WEIGHTS, 0.0, 0.0, 0.0, "optimal", "given", "tokens", sizes)


def data(ending: str = ".jsonl") -> dict[str, str]:
    return {name: f"{i}{ending}" for i, name in enumerate(WEIGHTS)}


def defined_by(exported: Exported) -> dict[str, Any]:
    """What the Python file of an export defines, run as its user would."""
    names: dict[str, Any] = {}
    exec(compile(exported.files[0].text, str(exported.files[0].path), "exec"), names)
    return names


def tasks_of(prompts: Iterable[str]) -> Counter[str]:
    return Counter(prompt.split("|")[0] for prompt in prompts)


def assert_shares_of_tokens(drawn: Counter[str], error: float) -> None:
    """Shares of rows are within `error` standard errors of a sample (0: exact but for rounding), and so tokens'.

    A share of tokens t changes by at most t(1 - t) <= 1/4 for each relative change of its own rows, and of all others'.
    """
    total = drawn.total()
    planned = {name: WEIGHTS[name] / LENGTHS[name] for name in WEIGHTS}
    relative = 0.0
    for name in (name for name in planned if planned[name]):
        share = planned[name] / sum(planned.values())
        allowed = 1.0 + error * np.sqrt(share * (1 - share) * total)
        assert abs(drawn[name] - share * total) <= allowed, name
        relative = max(relative, allowed / (share * total))
    assert set(drawn) == {name for name, weight in WEIGHTS.items() if weight}
    tokens = {name: drawn[name] * LENGTHS[name] for name in WEIGHTS}
    for name, weight in WEIGHTS.items():
        assert abs(tokens[name] / sum(tokens.values()) - weight) <= 0.5 * relative, name


def test_hugging_face_datasets_draws_these_shares(mixture: Mixture) -> None:
    exported = export(mixture, "datasets", "mix.py", budget=4000, unit="examples", data=data())
    defined = defined_by(exported)
    rows = defined["mix"](seed=1)
    drawn = tasks_of(rows["prompt"])
    assert drawn.total() == 4000
    assert "never" not in drawn
    assert_shares_of_tokens(drawn, 4.5)
    assert list(rows["prompt"]) == list(defined["mix"](seed=1)["prompt"])
    assert list(rows["prompt"]) != list(defined["mix"](seed=2)["prompt"])


def test_hugging_face_datasets_reads_mixed_data(mixture: Mixture) -> None:
    from datasets import load_dataset

    from taskpgm.training_data import TrainingData

    examples = TrainingData.read([name for name, weight in WEIGHTS.items() if weight], {}, data())
    for name, kind in (("mix.jsonl", "json"), ("mix.parquet", "parquet")):
        tp.materialise(mixture, examples, name, budget=100_000)
        rows = load_dataset(kind, data_files=name, split="train")
        assert rows.column_names == ["task", "prompt", "completion"]
        assert Counter(rows["task"]) == tasks_of(rows["prompt"])
        assert_shares_of_tokens(tasks_of(rows["prompt"]), 0.0)


@pytest.mark.filterwarnings("ignore")  # what trl says when it is imported is not ours
def test_trl_keeps_these_shares(mixture: Mixture) -> None:
    utilities = pytest.importorskip("trl.scripts.utils", reason="trl is not installed: pip install trl")
    exported = export(mixture, "trl", "trl.yaml", data=data())
    entries = yaml.safe_load(Path("trl.yaml").read_text(encoding="utf-8"))["datasets"]
    wanted = utilities.DatasetMixtureConfig(datasets=[utilities.DatasetConfig(**entry) for entry in entries])
    drawn = tasks_of(utilities.get_dataset(wanted)["train"]["prompt"])
    assert_shares_of_tokens(drawn, 0.0)
    assert any(f"about {drawn.total()} rows" in text for text in exported.warnings)


@pytest.mark.filterwarnings("ignore")
def test_trl_reads_the_yaml_with_its_own_parser(mixture: Mixture, monkeypatch: pytest.MonkeyPatch) -> None:
    utilities = pytest.importorskip("trl.scripts.utils", reason="trl is not installed: pip install trl")
    export(mixture, "trl", "trl.yaml", data=data())
    (parsed,) = utilities.TrlParser((utilities.DatasetMixtureConfig,)).parse_args_and_config(["--config", "trl.yaml"])
    assert [entry.data_files for entry in parsed.datasets] == ["0.jsonl", "1.jsonl", "2.jsonl"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(120)
def test_mosaicml_streaming_draws_these_shares(mixture: Mixture) -> None:
    streaming = pytest.importorskip(
        "streaming", reason="mosaicml-streaming is not installed, and asks for older numpy and transformers"
    )
    for i, (name, rows) in enumerate(ROWS.items()):
        with streaming.MDSWriter(out=f"{i}", columns={"prompt": "str"}) as writer:
            for row in range(rows):
                writer.write({"prompt": f"{name}|{row}"})
    exported = export(mixture, "mosaicml", "streams.py", budget=4000, unit="examples", data=data(""))
    defined = defined_by(exported)
    dataset = streaming.StreamingDataset(
        streams=defined["streams"](), epoch_size=defined["EPOCH_SIZE"], shuffle=True, batch_size=8
    )
    drawn = tasks_of(row["prompt"] for row in dataset)
    assert drawn.total() == 4000
    assert_shares_of_tokens(drawn, 0.0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(120)
def test_energon_draws_these_shares(mixture: Mixture) -> None:
    energon = pytest.importorskip("megatron.energon", reason="megatron-energon is not installed")
    for i in range(len(ROWS)):
        energon.CrudeJsonlDatasetFactory.prepare_dataset(f"{i}.jsonl")
    Path("made").mkdir()
    export(mixture, "energon", "made/blend.yaml", data=data())
    cooker = energon.Cooker(energon.stateless(lambda sample: sample))
    encoder = type("Encoder", (energon.DefaultTaskEncoder,), {"cookers": [cooker]})
    dataset = energon.get_train_dataset(
        "made/blend.yaml",
        batch_size=None,
        shuffle_buffer_size=None,
        max_samples_per_sequence=None,
        worker_config=energon.WorkerConfig(rank=0, world_size=1, num_workers=0),
        task_encoder=encoder(),
    )
    found: Counter[str] = Counter()
    for sample, _ in zip(energon.get_loader(dataset), range(3000), strict=False):
        found[sample["json"]["prompt"].split("|")[0]] += 1
    assert_shares_of_tokens(found, 4.5)


@pytest.mark.filterwarnings("ignore")
def test_llama_factory_reads_these_numbers_of_rows(mixture: Mixture) -> None:
    parser = pytest.importorskip(
        "llamafactory.data.parser", reason="llamafactory is not installed", exc_type=ImportError
    )
    arguments = pytest.importorskip("llamafactory.hparams.data_args", exc_type=ImportError)
    exported = export(mixture, "llama-factory", "llama.yaml", budget=600, unit="examples", data=data())
    settings = yaml.safe_load(Path("llama.yaml").read_text(encoding="utf-8"))
    read = arguments.DataArguments(**settings)
    listed = parser.get_dataset_list(read.dataset, read.dataset_dir)
    counts = {str(Path(read.dataset_dir, each.dataset_name).resolve().name): each.num_samples for each in listed}
    assert counts == {task.place.text: task.count for task in exported.plan.tasks}
    assert_shares_of_tokens(Counter({task.name: counts[task.place.text] for task in exported.plan.tasks}), 0.0)


@pytest.mark.filterwarnings("ignore")
def test_megatron_core_reads_these_weights(mixture: Mixture) -> None:
    utilities = pytest.importorskip(
        "megatron.core.datasets.utils", reason="megatron-core is not installed", exc_type=ImportError
    )
    exported = export(mixture, "megatron-lm", data=data("_text_document"))
    prefixes, weights = utilities.get_blend_from_list(after(bash_array(exported.files[0].text), "--data-path"))
    assert prefixes == ["0_text_document", "1_text_document", "2_text_document"]
    assert weights == [0.2, 0.3, 0.5]
    paths = defined_by(export(mixture, "nemo", data=data("_text_document")))["PATHS"]
    assert utilities.get_blend_from_list(paths) == (prefixes, weights)


@pytest.mark.filterwarnings("ignore")
def test_ms_swift_reads_these_numbers_of_rows(mixture: Mixture) -> None:
    syntax = pytest.importorskip(
        "swift.dataset.dataset_syntax", reason="ms-swift is not installed", exc_type=ImportError
    )
    exported = export(mixture, "ms-swift", budget=600, unit="examples", data=data())
    read = [syntax.DatasetSyntax.parse(one) for one in after(bash_array(exported.files[0].text), "--dataset")]
    assert {each.dataset: each.dataset_sample for each in read} == {
        task.place.text: task.count for task in exported.plan.tasks
    }
    assert all(each.dataset_type == "path" for each in read)
