"""The law of exporters: read back by the trainer's own grammar, a file gives the same weights, whatever the names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import HOSTILE_NAMES, SEEDS, mixtures
from trainer_readers import READERS, TOKEN_TRAINERS, Pairs, python_value

import taskpgm as tp
from taskpgm.amounts import whole_counts
from taskpgm.exporters import EXPORTERS, Exporter, Plan, Wish
from taskpgm.exporters.places import Place, file_name, place_tasks, split_assignments
from taskpgm.exporting import Exported, export, find_exporter
from taskpgm.mixed_data import materialise
from taskpgm.mixture import Mixture
from taskpgm.training_data import TrainingData
from taskpgm.types import Example, TaskSize

WEIGHTED = [exporter for exporter in EXPORTERS if not exporter.presampled]
WHOLE = ("open-instruct", "ms-swift", "llama-factory")
NAMES = ("short", "long", "none")
SIZES = {"short": TaskSize(1000, 10_000, 2_000), "long": TaskSize(100, 40_000, 30_000), "none": TaskSize(9, 90, 9)}


def mixture_of(
    weights: Mapping[str, float], unit: str = "tokens", sizes: Mapping[str, TaskSize] | None = SIZES
) -> Mixture:
    network = tp.TaskNetwork(np.zeros(len(weights)), np.eye(len(weights)), tuple(weights))
    return Mixture(network, weights, 0.0, 0.0, 0.0, "optimal", "given", unit, sizes)  # type: ignore[arg-type]


def read_back(exported: Exported) -> dict[str, float]:
    """Weights by task name, of tasks that get any: by the reader's own rules, places taken back to names."""
    pairs: Pairs = READERS[exported.exporter.name]({file.path: file.text for file in exported.files})
    names = {os.path.normpath(task.place.text): task.name for task in exported.plan.tasks}
    named = {task.name for task in exported.plan.tasks}
    found = {key if key in named else names.get(os.path.normpath(key), key): weight for key, weight in pairs}
    assert len(found) == len(pairs), "a task twice"
    return {name: weight for name, weight in found.items() if weight}


def places_of(mixture: Mixture) -> dict[str, str]:
    """A place of its own for every task, so that none is taken for another's name."""
    return {name: f"data/{i}/{name.replace(chr(0), '')[:40]}.jsonl" for i, name in enumerate(mixture.weights)}


def test_every_exporter_has_a_reader_and_says_what_it_means() -> None:
    assert [exporter.name for exporter in EXPORTERS] == list(READERS)
    for exporter in EXPORTERS:
        assert exporter.meaning
        assert exporter.traps
        assert exporter.use
        assert all("\n" not in text for text in (exporter.meaning, exporter.use, *exporter.traps))


@pytest.mark.parametrize("exporter", WEIGHTED, ids=lambda exporter: exporter.name)
@given(mixture=mixtures(), budget=st.integers(1, 10**6), own=st.booleans())
@settings(max_examples=25)
def test_a_file_gives_back_the_weights(exporter: Exporter, mixture: Mixture, budget: int, own: bool) -> None:
    exported = export(mixture, exporter.name, budget=budget, unit="examples", data=places_of(mixture) if own else None)
    if exporter.name in WHOLE:
        shares = {name: share for name, share in mixture.shares("examples").items() if share}
        counts = zip(shares, whole_counts(list(shares.values()), budget), strict=True)
        assert read_back(exported) == {name: count for name, count in counts if count}
    else:
        assert read_back(exported) == {name: share for name, share in mixture.shares(exporter.unit).items() if share}


@pytest.mark.parametrize("exporter", WEIGHTED, ids=lambda exporter: exporter.name)
@given(mixture=mixtures(), seed=SEEDS)
@settings(max_examples=10)
def test_the_order_of_the_tasks_does_not_matter(exporter: Exporter, mixture: Mixture, seed: int) -> None:
    names = list(np.random.default_rng(seed).permutation(list(mixture.weights)))
    names = [str(name) for name in names if str(name) in mixture.weights]
    network = tp.TaskNetwork(np.zeros(len(names)), np.eye(len(names)), tuple(names))
    turned = replace(mixture, network=network, weights={name: mixture.weights[name] for name in names})
    places = places_of(mixture)
    one, other = (read_back(export(each, exporter.name, budget=10**6, data=places)) for each in (mixture, turned))
    if exporter.name in WHOLE:  # an equal remainder may go to another task
        assert sum(one.values()) == sum(other.values())
        assert all(abs(one.get(name, 0) - other.get(name, 0)) <= 1 for name in names)
    else:
        assert other == pytest.approx(one, rel=1e-12)


@pytest.mark.parametrize("exporter", [each for each in EXPORTERS if each.presampled], ids=lambda each: each.name)
@pytest.mark.parametrize("chat", [False, True])
def test_a_trainer_without_weights_reads_rows_in_these_amounts(exporter: Exporter, chat: bool, tmp_path: Path) -> None:
    names = HOSTILE_NAMES[:12]
    weights = {name: float(i) / 66.0 for i, name in enumerate(names)}  # the first gets none
    mixture = mixture_of(weights, "examples", None)
    example = Example(messages=(("user", "a"), ("assistant", "b"))) if chat else Example("a", "b")
    data = TrainingData(dict.fromkeys(names, (example,)))
    written = materialise(mixture, data, tmp_path / "rows.jsonl", budget=660)
    exported = export(mixture, exporter.name, tmp_path / "config.yaml", mixed=written)
    assert read_back(exported) == {name: 10.0 * i for i, name in enumerate(names) if i}
    assert exported.plan.budget == 660
    value = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    assert ("messages" in str(value)) == chat


# ------------------------------------------------------------------------------------------------------ units, amounts


def test_weights_in_tokens_become_shares_of_what_the_trainer_counts() -> None:
    """Half of the tokens each; an example of `long` has 40 times as many, so it is one row in 41."""
    mixture = mixture_of({"short": 0.5, "long": 0.5, "none": 0.0})
    for exporter in WEIGHTED:
        exported = export(mixture, exporter.name, budget=41_000, unit="examples")
        weights = read_back(exported)
        rows_of_long = weights["long"] / sum(weights.values())
        assert rows_of_long == pytest.approx(0.5 if exporter.name in TOKEN_TRAINERS else 1 / 41, rel=1e-12)
        assert exported.plan.dropped == ("none",)
        if exporter.packable:
            packed = read_back(export(mixture, exporter.name, packed=True))
            assert packed["long"] == 0.5
            loose = read_back(export(mixture, exporter.name, packed=False))
            assert loose["long"] == pytest.approx(1 / 41, rel=1e-12)
        else:
            with pytest.raises(tp.InputError, match="leave --packed out"):
                export(mixture, exporter.name, packed=True)


@given(mixtures(), st.integers(10_000, 10**7), st.sampled_from(["tokens", "target_tokens"]))
def test_a_budget_in_tokens_becomes_as_many_rows_as_have_these_tokens(mixture: Mixture, budget: int, unit: str) -> None:
    plan = export(mixture, "datasets", budget=budget, unit=unit).plan  # type: ignore[arg-type]
    assert mixture.sizes is not None
    lengths = {name: Fraction(getattr(size, unit), size.examples) for name, size in mixture.sizes.items()}
    tokens = sum((task.count or 0) * lengths[task.name] for task in plan.tasks)
    assert abs(tokens - budget) <= sum(lengths[task.name] for task in plan.tasks) + max(lengths.values())
    for task in plan.tasks:
        assert task.epochs == (task.count or 0) / mixture.sizes[task.name].examples


def test_without_a_budget_it_is_what_the_mixture_was_made_for() -> None:
    mixture = mixture_of({"short": 0.5, "long": 0.5, "none": 0.0})
    assert export(mixture, "megatron-lm").plan.budget == 50_000
    stated = replace(mixture, details={"settings": {"mixture": {"budget": 777}}})
    assert export(stated, "megatron-lm").plan.budget == 777
    assert export(stated, "megatron-lm", budget=5).plan.budget == 5


def test_sizes_that_are_not_known_are_asked_for() -> None:
    mixture = mixture_of({"short": 0.25, "long": 0.75}, "tokens", None)
    with pytest.raises(tp.InputError, match="say --unit examples"):
        export(mixture, "trl")
    exported = export(mixture, "trl", unit="examples")
    assert read_back(exported) == {"short": 0.25, "long": 0.75}
    assert any("taken as shares of examples" in text for text in exported.warnings)
    assert read_back(export(mixture, "nanotron")) == {"short": 0.25, "long": 0.75}
    with pytest.raises(tp.InputError, match="give --budget"):
        export(mixture, "open-instruct", unit="examples")
    by_probability = export(mixture, "llama-factory", unit="examples")
    assert read_back(by_probability) == {"short": 0.25, "long": 0.75}


# ------------------------------------------------------------------------------------------------------------ warnings


def test_repetition_is_told_with_its_number() -> None:
    mixture = mixture_of({"short": 0.5, "long": 0.5, "none": 0.0})
    exported = export(mixture, "megatron-lm", budget=500_000)
    assert any("'short' (25.0), 'long' (6.2)" in text for text in exported.warnings)
    assert '25  "short"' in exported.files[0].text
    assert not any("repeated more" in text for text in export(mixture, "megatron-lm", budget=40_000).warnings)


def test_trl_says_how_large_its_mixture_will_be() -> None:
    mixture = mixture_of({"short": 0.1, "long": 0.9, "none": 0.0}, "examples")
    warnings = export(mixture, "trl").warnings
    assert any(
        "about 111 rows, since 'long' is used up by then; less than a tenth is used of 'short'" in text
        for text in warnings
    )


def test_what_trl_will_do_does_not_depend_on_the_budget() -> None:
    mixture = mixture_of({"short": 0.1, "long": 0.9, "none": 0.0}, "examples")
    small, large = (export(mixture, "trl", budget=budget, unit="examples") for budget in (1, 10**6))
    assert small.plan == large.plan
    assert [(task.name, task.count, task.epochs) for task in small.plan.tasks] == [
        ("short", 11, 0.011),
        ("long", 100, 1.0),
    ]
    assert not any("repeated" in text or "too small" in text for text in small.warnings)


def test_placeholders_and_held_out_examples_are_told() -> None:
    mixture = mixture_of({"short": 0.5, "long": 0.5, "none": 0.0})
    assert any("placeholder paths for 'short', 'long'" in text for text in export(mixture, "trl").warnings)
    columns = {"prompt": "question", "completion": "answer"}
    origin = {
        "splits": {"probe": 0.1, "eval": 0.1},
        "tasks": {name: {"path": f"../{name}.jsonl", "columns": columns} for name in NAMES},
    }
    known = export(replace(mixture, details={"data": origin}), "trl", folder="runs/a")
    assert [entry["data_files"] for entry in yaml.safe_load(known.files[0].text)["datasets"]] == [
        "runs/short.jsonl",
        "runs/long.jsonl",
    ]
    assert any("held out" in text for text in known.warnings)
    assert not any("placeholder" in text for text in known.warnings)


def test_an_unknown_trainer_or_task_is_one_line_with_what_there_is() -> None:
    with pytest.raises(
        tp.InputError, match=r"'trlx': there is no exporter for it; there are datasets, trl, .*torchtune"
    ):
        find_exporter("trlx")
    with pytest.raises(tp.InputError, match="'shrt' is not a task of the mixture; did you mean 'short'"):
        export(mixture_of({"short": 0.5, "long": 0.5}), "trl", data={"shrt": "x"})


# -------------------------------------------------------------------------------------------------------------- places


@given(st.lists(st.sampled_from(HOSTILE_NAMES), min_size=1, max_size=5, unique=True), st.data())
def test_assignments_on_the_command_line_take_any_name(names: list[str], data: st.DataObject) -> None:
    paths = {name: data.draw(st.sampled_from(["a.jsonl", "x=y", "=", "dir/été 😀"])) for name in names}
    expected = dict(paths)
    found = split_assignments([f"{name}={path}" for name, path in paths.items()], names)
    assert found == expected


def test_assignments_that_name_no_task_or_no_path_are_refused() -> None:
    for text, message in (("copi=x", "did you mean 'copy'"), ("copy=", "no path"), ("copy", "expected NAME=PATH")):
        with pytest.raises(tp.InputError, match=message):
            split_assignments([text], ("copy", "sort"))


def test_names_become_different_file_names() -> None:
    names = [file_name(name) for name in HOSTILE_NAMES]
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and len(name) < 100 for name in names)
    assert file_name("copy-2.b") == "copy-2.b"


def test_a_folder_holds_tasks_under_their_names(tmp_path: Path) -> None:
    for name in ("copy.csv", "a b.jsonl"):
        (tmp_path / name).write_text("")
    places = place_tasks(
        ("copy", "a b", "new"), origin={}, data={"new": "n.csv"}, folder=str(tmp_path), ending=".jsonl"
    )
    assert places == {
        "copy": Place(str(tmp_path / "copy.csv")),
        "a b": Place(str(tmp_path / "a b.jsonl")),
        "new": Place("n.csv"),
    }


def test_hub_data_sets_keep_revision_split_and_subset() -> None:
    source = {"hub": "owner/name", "subset": "main", "split": "train[:10%]", "revision": "abc", "columns": {}}
    mixture = mixture_of({"short": 0.5, "long": 0.5, "none": 0.0})
    mixture = replace(mixture, details={"data": {"tasks": {"short": source}}})
    loaded = python_value(export(mixture, "datasets").files[0].text, "TASKS")["short"]["load"]
    assert loaded == {"path": "owner/name", "name": "main", "revision": "abc", "split": "train[:10%]"}
    assert "HF::owner/name:main#" in export(mixture, "ms-swift", budget=1000).files[0].text
    info = json.loads(export(mixture, "llama-factory", budget=1000).files[1].text)
    assert info["short"]["hf_hub_url"] == "owner/name"
    assert any("no revision" in text for text in export(mixture, "trl").warnings)


def test_a_plan_is_the_same_however_often_it_is_made() -> None:
    mixture = mixture_of({"short": 0.3, "long": 0.7, "none": 0.0})
    places = dict.fromkeys(NAMES, Place("x"))
    assert Plan.of(mixture, "tokens", Wish(100), places) == Plan.of(mixture, "tokens", Wish(100), places)
