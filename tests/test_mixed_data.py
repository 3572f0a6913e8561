"""Mixed data: exact amounts of the training examples, in tokens where a tokenizer counts them, the same for a seed."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import HOSTILE_NAMES, SEEDS

import taskpgm as tp
from taskpgm.config import SplitSettings
from taskpgm.mixed_data import BATCH, Written, materialise
from taskpgm.mixture import Mixture
from taskpgm.suite import build_tokenizer
from taskpgm.tasks import load_tasks
from taskpgm.tokens import token_lengths
from taskpgm.training_data import TrainingData
from taskpgm.types import Example, TaskSize

SPLITS = {"probe": 0.15, "eval": 0.15}


def mixture_of(weights: dict[str, float], unit: str = "examples", sizes: Any = None) -> Mixture:
    network = tp.TaskNetwork(np.zeros(len(weights)), np.eye(len(weights)), tuple(weights))
    return Mixture(network, weights, 0.0, 0.0, 0.0, "optimal", "given", unit, sizes)  # type: ignore[arg-type]


def rows_of(written: Written) -> list[dict[str, Any]]:
    if written.path.suffix == ".parquet":
        return pyarrow.parquet.read_table(written.path).to_pylist()
    return [json.loads(line) for line in written.path.read_text(encoding="utf-8").split("\n")[:-1]]


def numbered(count: int, text: str = "{}") -> tuple[Example, ...]:
    return tuple(Example(f"{i}", text.format(i)) for i in range(count))


@given(SEEDS, st.integers(1, 3 * BATCH), st.data())
@settings(max_examples=15)
def test_rows_carry_their_task_and_come_in_exact_amounts(
    tmp_path_factory: pytest.TempPathFactory, seed: int, budget: int, data: st.DataObject
) -> None:
    names = data.draw(st.lists(st.sampled_from(HOSTILE_NAMES), min_size=2, max_size=5, unique=True))
    raw = [data.draw(st.sampled_from([0.0, 0.2, 1.0])) for _ in names[1:]] + [1.0]
    mixture = mixture_of({name: each / sum(raw) for name, each in zip(names, raw, strict=True)})
    examples = TrainingData({name: numbered(5 + i) for i, name in enumerate(names)})
    folder = tmp_path_factory.mktemp("mixed")
    lines, table, again = (
        materialise(mixture, examples, folder / name, budget=budget, seed=seed)
        for name in ("a.jsonl", "a.parquet", "b.jsonl")
    )
    rows = rows_of(lines)
    assert rows == rows_of(table)
    assert lines.path.read_bytes() == again.path.read_bytes()
    expected = {name: count for name, count in mixture.counts(budget).items() if count}
    assert Counter(row["task"] for row in rows) == expected == dict(lines.rows)
    for i, name in enumerate(names):
        seen = [row["prompt"] for row in rows if row["task"] == name]
        for start in range(0, len(seen) - (5 + i) + 1, 5 + i):
            assert len(set(seen[start : start + 5 + i])) == 5 + i


def test_another_seed_is_another_order_and_another_weight_the_same_rows(tmp_path: Path) -> None:
    data = TrainingData({"a": numbered(50), "b": numbered(50)})

    def prompts(weight: float, seed: int) -> list[str]:
        mixture = mixture_of({"a": weight, "b": 1.0 - weight})
        written = materialise(mixture, data, tmp_path / "rows.jsonl", budget=40, seed=seed)
        return [row["prompt"] for row in rows_of(written) if row["task"] == "a"]

    assert prompts(0.5, 0) != prompts(0.5, 1)
    assert prompts(0.25, 0) == prompts(0.5, 0)[:10]


@pytest.mark.parametrize("unit", ["tokens", "target_tokens"])
def test_a_tokenizer_counts_the_budget_to_the_row(tmp_path: Path, unit: Any) -> None:
    """Tasks whose examples differ in length by a factor of forty, and vary within a task."""
    rng = np.random.default_rng(0)
    tokenizer = build_tokenizer()
    data = TrainingData(
        {
            "short": tuple(Example("ab=", "c" * int(n)) for n in rng.integers(1, 4, 80)),
            "long": tuple(Example("d" * int(n), "ef" * int(n)) for n in rng.integers(20, 90, 60)),
        }
    )
    mixture = mixture_of({"short": 0.3, "long": 0.7}, unit)
    written = materialise(mixture, data, tmp_path / "rows.jsonl", budget=20_000, seed=1, tokenizer=tokenizer)
    column = 0 if unit == "tokens" else 1
    drawn: Counter[str] = Counter()
    for row in rows_of(written):
        example = Example(row["prompt"], row["completion"])
        drawn[row["task"]] += int(token_lengths([example], tokenizer, "row")[0, column])
    for name, wanted in {"short": 6_000, "long": 14_000}.items():
        longest = token_lengths(data.examples[name], tokenizer, name)[:, column].max()
        assert abs(drawn[name] - wanted) <= longest / 2, name
    assert written.amounts == {"short": 6_000, "long": 14_000}


def test_without_a_tokenizer_mean_lengths_convert_tokens(tmp_path: Path) -> None:
    """Half of the tokens each; an example of `long` has 39 times as many tokens."""
    sizes = {"short": TaskSize(80, 800, 80), "long": TaskSize(60, 60 * 390, 600)}
    data = TrainingData({"short": numbered(80), "long": numbered(60)})
    mixture = mixture_of({"short": 0.5, "long": 0.5}, "tokens", sizes)
    written = materialise(mixture, data, tmp_path / "rows.jsonl", budget=780_000)
    assert written.rows == {"short": 39_000, "long": 1_000}
    assert any("repeated more than 4 times" in text for text in written.warnings)


def test_memory_does_not_grow_with_the_output(tmp_path: Path) -> None:
    data = TrainingData({"a": numbered(300, "word " * 20), "b": numbered(300, "word " * 20)})

    def peak(budget: int, ending: str) -> int:
        tracemalloc.start()
        materialise(mixture_of({"a": 0.5, "b": 0.5}), data, tmp_path / f"rows{ending}", budget=budget)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    for ending in (".jsonl", ".parquet"):
        peak(100, ending)  # what is imported and compiled on first use does not count
        assert peak(16 * BATCH, ending) < 1.3 * peak(4 * BATCH, ending) + 50_000


def test_plain_and_chat_tasks_end_in_one_form(tmp_path: Path) -> None:
    chat = Example(messages=(("system", "s"), ("user", "u"), ("assistant", "a")))
    data = TrainingData({"plain": (Example("p", "c"),), "chat": (chat,), "left out": (Example("x", "y"),)})
    mixture = mixture_of({"plain": 0.5, "chat": 0.5, "left out": 0.0})
    for name in ("rows.jsonl", "rows.parquet"):
        written = materialise(mixture, data, tmp_path / name, budget=2)
        assert written.plan.chat
        assert sorted(rows_of(written), key=lambda row: row["task"]) == [
            {
                "task": "chat",
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "u"},
                    {"role": "assistant", "content": "a"},
                ],
            },
            {
                "task": "plain",
                "messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}],
            },
        ]
        assert "'plain' have prompts and completions" in written.warnings[0]


def test_half_characters_do_not_stop_it(tmp_path: Path) -> None:
    data = TrainingData({"a": (Example("\ud83d", "x\u2028y"),), "b": (Example("é", "😀"),)})
    for name in ("rows.jsonl", "rows.parquet"):
        rows = rows_of(materialise(mixture_of({"a": 0.5, "b": 0.5}), data, tmp_path / name, budget=2))
        assert {(row["prompt"], row["completion"]) for row in rows} == {("?", "x\u2028y"), ("é", "😀")}


def test_what_cannot_be_written_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    data = TrainingData({"a": numbered(3), "b": numbered(3)})
    mixture = mixture_of({"a": 0.5, "b": 0.5})
    with pytest.raises(tp.InputError, match=r"rows.csv: mixed data is written as .jsonl or .parquet"):
        materialise(mixture, data, tmp_path / "rows.csv", budget=3)
    with pytest.raises(tp.InputError, match="give --budget"):
        materialise(mixture, data, tmp_path / "rows.jsonl")
    with pytest.raises(tp.InputError, match="task 'b': no examples of it"):
        materialise(mixture, TrainingData({"a": numbered(3)}), tmp_path / "rows.jsonl", budget=3)
    with pytest.raises(tp.InputError, match="--unit examples"):
        materialise(replace(mixture, unit="tokens"), data, tmp_path / "rows.jsonl", budget=3)

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialise(mixture, data, tmp_path / "rows.jsonl", budget=2 * BATCH, progress=fail)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------- data


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        lines = (json.dumps({"prompt": f"{name} {i}", "completion": f"{i}"}) for i in range(200))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_only_what_a_run_trains_on_is_taken(files: Path) -> None:
    tasks = load_tasks([files / "one.jsonl", files / "two.jsonl"], splits=SplitSettings(**SPLITS))
    loaded = TrainingData.of(tasks, ("two", "one"))
    read = TrainingData.read(("two", "one"), tasks.origin, {})
    assert loaded.examples == read.examples
    assert read.examples["one"] == tasks["one"].train
    assert not set(read.examples["one"]) & {*tasks["one"].probe, *tasks["one"].eval}
    assert read.notes == ()
    whole = TrainingData.read(("one",), {}, {"one": str(files / "one.jsonl")})
    assert len(whole.examples["one"]) == 200
    assert whole.notes == ("nothing is known about held-out examples: whole files are used.",)


def test_the_same_data_elsewhere_keeps_the_columns_that_the_user_named(files: Path) -> None:
    rows = [{"question": f"{i}?", "answer": f"{i}!"} for i in range(50)]
    (files / "moved.jsonl").write_text("\n".join(map(json.dumps, rows)))
    named = {"path": "gone.jsonl", "columns": {"prompt": "question", "completion": "answer"}}
    guessed = {"path": "gone.jsonl", "columns": {"input": "input", "target": "target"}, "field": "examples"}
    origin = {"tasks": {"a": named, "b": guessed}}
    data = TrainingData.read(("a", "b"), origin, {"a": str(files / "moved.jsonl"), "b": str(files / "one.jsonl")})
    assert data.examples["a"][3] == Example("3?", "3!")
    assert data.examples["b"][3] == Example("one 3", "3")


def test_data_that_nobody_can_find_is_named(files: Path) -> None:
    with pytest.raises(tp.InputError, match="task 'a': nobody says where its data lies; give --data a=PATH"):
        TrainingData.read(("a",), {}, {})
    with pytest.raises(tp.InputError, match=r"gone.jsonl: no such file"):
        TrainingData.read(("a",), {"tasks": {"a": {"path": "gone.jsonl"}}}, {})
    tasks = load_tasks([files / "one.jsonl", files / "two.jsonl"])
    with pytest.raises(tp.InputError, match="task 'three' of the mixture is not among the tasks one, two"):
        TrainingData.of(tasks, ("one", "three"))


def test_loaded_tasks_are_written_as_they_are(files: Path) -> None:
    tasks = load_tasks([files / "one.jsonl", files / "two.jsonl"])
    written = tp.materialise(mixture_of({"one": 0.25, "two": 0.75}), tasks, files / "rows.jsonl", budget=40)
    assert written.rows == {"one": 10, "two": 30}
    trained = {example.prompt for task in tasks for example in task.train}
    assert {row["prompt"] for row in rows_of(written)} <= trained
    assert [task.epochs for task in written.plan.tasks] == [10 / len(tasks["one"].train), 30 / len(tasks["two"].train)]
