"""Loading tasks: every file type and column layout, splits that follow content alone, refusals that say where."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm.config import SplitSettings, TaskSource
from taskpgm.tasks import read_examples, split_tasks
from taskpgm.types import Example, Task, TaskSet

Row = dict[str, Any]
PARTS = ("train", "probe", "eval")
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nAdd.\n\n### Response:\n"
)
ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a"
    " response that appropriately completes the request.\n\n"
    "### Instruction:\nAdd.\n\n### Input:\n1+1\n\n### Response:\n"
)
CHAT = [{"role": "user", "content": "Hi, \n“you”"}, {"role": "assistant", "content": "Hello 😀"}]
TEXTS: list[tuple[Row, Example]] = [
    ({"prompt": 'say "é", 😀\nnow', "completion": "排序"}, Example('say "é", 😀\nnow', "排序")),
    ({"instruction": "Add.", "input": "1+1", "output": "2"}, Example(ALPACA_INPUT, "2")),
    ({"instruction": "Add.", "input": "", "output": "2"}, Example(ALPACA, "2")),
    ({"instruction": "Add.", "output": "2"}, Example(ALPACA, "2")),
    ({"input": "1+1", "target": "2", "id": "extra"}, Example("1+1", "2")),
]
VALUES: list[tuple[Row, Example]] = [
    *TEXTS,
    ({"messages": CHAT}, Example(messages=(("user", "Hi, \n“you”"), ("assistant", "Hello 😀")))),
    ({"prompt": 7, "completion": True}, Example("7", "True")),
    ({"instruction": "Add.", "input": None, "output": "2"}, Example(ALPACA, "2")),
]


def write_json(path: Path, rows: list[Row]) -> Path:
    path.write_text(json.dumps(rows))
    return path


def write_jsonl(path: Path, rows: list[Row]) -> Path:
    path.write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8-sig")
    return path


def write_csv(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: list[Row]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


WRITERS: dict[str, Callable[[Path, list[Row]], Path]] = {
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}
CASES = [(kind, *case) for kind in WRITERS for case in (TEXTS if kind == "csv" else VALUES)]


def plain(count: int = 40, tag: str = "") -> list[Row]:
    return [{"prompt": f"{tag}{i}?", "completion": f"{tag}{i}!"} for i in range(count)]


def made(count: int = 40, tag: str = "") -> list[Example]:
    return [Example(row["prompt"], row["completion"]) for row in plain(count, tag)]


def examples(path: Path, **settings: Any) -> list[Example]:
    return read_examples(TaskSource(path=str(path), **settings))


def parts(task: Task) -> dict[Example, str]:
    """Where each of a task's examples went."""
    return {example: part for part in PARTS for example in getattr(task, part)}


def split(*tasks: list[Example], splits: SplitSettings | None = None) -> TaskSet:
    return split_tasks([(f"task {i}", listed, "") for i, listed in enumerate(tasks)], splits)


# ------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(("kind", "row", "expected"), CASES)
def test_every_file_type_takes_every_layout(tmp_path: Path, kind: str, row: Row, expected: Example) -> None:
    assert examples(WRITERS[kind](tmp_path / f"a.{kind}", [row, row])) == [expected, expected]


@pytest.mark.parametrize("kind", WRITERS)
def test_columns_and_templates_can_be_named(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / f"a.{kind}", [{"Frage": "1+1", "Antwort": "2", "input": "no"}])
    columns = {"prompt": "Frage", "completion": "Antwort"}
    assert examples(path, columns=columns) == [Example("1+1", "2")]
    templates = {"prompt_template": "Q: {prompt} {{}}\nA:", "completion_template": " {completion}."}
    assert examples(path, columns=columns, **templates) == [Example("Q: 1+1 {}\nA:", " 2.")]


def test_big_bench_hard_files_get_their_prompt_layout(tmp_path: Path) -> None:
    path = tmp_path / "navigate.json"
    path.write_text(json.dumps({"canary": "none", "examples": [{"input": "Turn left.", "target": "Yes"}]}))
    assert examples(path) == [Example("Q: Turn left.\nA:", " Yes")]
    assert examples(path, prompt_template="{input}", completion_template="{target}") == [Example("Turn left.", "Yes")]


def test_all_real_big_bench_hard_tasks_load(shared_data: Path) -> None:
    files = sorted((shared_data / "bbh").glob("*.json"))
    tasks = tp.load_tasks([shared_data / "bbh" / "*.json"])
    assert len(tasks) == 27
    assert tasks.names == tuple(file.stem for file in files)
    for task, file in zip(tasks, files, strict=True):
        assert sum(len(getattr(task, part)) for part in PARTS) == len(json.loads(file.read_text())["examples"])
    assert sum(len(getattr(task, part)) for task in tasks for part in PARTS) == 6511


def test_an_input_that_the_first_row_lacks_is_not_lost(tmp_path: Path) -> None:
    rows = [{"instruction": "Add.", "output": "2"}, {"instruction": "Add.", "input": "1+1", "output": "2"}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert examples(path) == examples(write_jsonl(path, rows[::-1]))[::-1] == [Example(ALPACA, "2"), TEXTS[1][1]]


def test_yaml_names_families_patterns_and_relative_paths(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b", "a", "c[1]"):
        write_jsonl(tmp_path / "sub" / f"{name}.jsonl", plain(tag=name))
    listed = ["sub/?.jsonl", {"path": "sub/c[1].jsonl", "name": "排序 😀", "family": "sorting"}]
    for content in (listed, {"tasks": listed, "splits": {"probe": 0.5, "eval": 0.0}, "model": "not looked at"}):
        (tmp_path / "tasks.yaml").write_text(yaml.safe_dump(content))
        tasks = tp.load_tasks(tmp_path / "tasks.yaml")
        assert tasks.names == ("a", "b", "排序 😀")
        assert [task.family for task in tasks] == ["", "", "sorting"]
        assert sum(len(task.eval) for task in tasks) == 0 or isinstance(content, list)
    assert sum(len(task.probe) for task in tasks) > 40


def test_half_a_surrogate_pair_is_kept_as_it_is(tmp_path: Path) -> None:
    rows = [{"prompt": "\ud800", "completion": f"{i} \udfff"} for i in range(40)]
    tasks = tp.load_tasks([write_json(tmp_path / "a.json", rows), write_json(tmp_path / "b.json", plain())])
    assert {example.prompt for example in parts(tasks["a"])} == {"\ud800"}


def test_the_hub_is_asked_for_the_pinned_revision_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    calls: list[Any] = []

    def load_dataset(*args: Any, **kwargs: Any) -> list[Row]:
        calls.append((args, kwargs))
        return plain(tag=str(args))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    pinned = {"hub": "org/set", "revision": "0a1b2c", "split": "train"}
    tasks = tp.load_tasks([TaskSource(**pinned, subset="one"), TaskSource(**pinned)])
    assert tasks.names == ("one", "org/set")
    keywords = {"split": "train", "revision": "0a1b2c"}
    assert calls == [(("org/set", "one"), keywords), (("org/set", None), keywords)]
    for left_out in ("revision", "split"):
        with pytest.raises(ValueError, match="pin revision"):
            TaskSource(**{key: value for key, value in pinned.items() if key != left_out})


@pytest.mark.parametrize("message", ["Couldn't reach the Hub\nat all", ""])
def test_a_hub_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    import datasets

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError(message)

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(tp.InputError, match="hub data set 'org/set': cannot be loaded") as refusal:
        tp.load_tasks([TaskSource(hub="org/set", revision="0a1b2c", split="train")])
    assert "\n" not in str(refusal.value)


# -------------------------------------------------------------------------------------------------------------- splits


@given(st.permutations(range(60)))
def test_a_split_depends_on_neither_order_nor_name(order: list[int]) -> None:
    first, second = made(60), [made(60)[i] for i in order]
    tasks = split(first, second)
    for part in PARTS:
        assert getattr(tasks["task 0"], part) == getattr(tasks["task 1"], part)


@given(st.integers(1, 50))
def test_adding_examples_moves_none_and_both_tasks_agree(added: int) -> None:
    before, after = parts(split(made(60), made(5, "x") + made(60))["task 0"]), split(made(60, "x"), made(60 + added))
    assert before.items() <= parts(after["task 1"]).items()


@pytest.mark.parametrize(("probe", "held_out"), [(0.15, 0.15), (0.5, 0.1), (0.05, 0.0)])
def test_the_parts_have_the_sizes_asked_for(probe: float, held_out: float) -> None:
    task = split(made(4000), made(50, "x"), splits=SplitSettings(probe=probe, eval=held_out))["task 0"]
    assert len(parts(task)) == 4000
    assert len(task.probe) / 4000 == pytest.approx(probe, abs=0.025)
    assert len(task.eval) / 4000 == pytest.approx(held_out, abs=0.025)
    if held_out == 0.0:
        assert not task.eval


# --------------------------------------------------------------------------------------------------------------- notes


def test_clean_tasks_have_no_notes() -> None:
    assert split(made(60), made(60, "x")).notes == ()


def test_repeated_and_shared_examples_are_noted() -> None:
    assert split([*made(60), *made(2), *made(1)], made(50, "x")).notes == (
        "examples that repeat an earlier one of their task, each counted: task 0 (3).",
    )
    assert split(made(60), made(3) + made(50, "x")).notes == ("tasks 'task 0' and 'task 1' share 3 example(s).",)
    shared = split(*(made(1) + made(50, tag) for tag in "abcdef")).notes
    assert len(shared) == 4
    assert shared[-1] == "2 more pairs of tasks share examples."


def test_near_copies_across_the_split_are_noted() -> None:
    originals = [Example(f"Was ist  {i} É?", f"Zahl {i}") for i in range(50)]
    copies = [Example(f" was IST {i} é? ", f"zahl\t{i}") for i in range(50)]
    tasks = split(originals + copies, made(50))
    where = parts(tasks["task 0"])
    apart = sum(where[one] != where[two] for one, two in zip(originals, copies, strict=True))
    assert apart > 5
    assert len(tasks.notes) == 1
    assert tasks.notes[0].startswith(f"task 'task 0': {apart} example(s) differ only in spacing or capitals")


def test_tasks_that_answer_the_same_prompts_differently_are_noted() -> None:
    asked = [f"Translate: {i}" for i in range(60)]
    german = [Example(prompt, f"{i} auf Deutsch") for i, prompt in enumerate(asked)]
    french = [Example(prompt.upper(), f"{i} en français") for i, prompt in enumerate(asked[:40])]
    (note,) = split(german, french + made(20), made(50, "x")).notes
    assert note.startswith("tasks 'task 0' and 'task 1' ask the same in 40 prompt(s) and want different answers: ")
    chats = [
        [Example(messages=(("user", prompt), ("assistant", f"{answer} {i}"))) for i, prompt in enumerate(asked)]
        for answer in ("one", "two")
    ]
    assert "ask the same in 60 prompt(s)" in split(*chats).notes[0]
    assert split(german, french[:4] + made(50)).notes == ()  # a few may happen
    texts = [[Example("", f"{kind} {i}") for i in range(60)] for kind in ("prose", "verse")]
    assert split(*texts).notes == ()  # nothing is asked


# ------------------------------------------------------------------------------------------------------------ refusals

GOOD = '{"prompt": "a", "completion": "b"}'
BAD_FILES: list[tuple[str, str | bytes, str]] = [
    ("a.jsonl", "", "a.jsonl: the task is empty"),
    ("a.csv", "prompt,completion\n", "a.csv: the task is empty"),
    ("a.json", '{"examples": []}', "a.json: the task is empty"),
    ("a.jsonl", f"{GOOD}\n\n{{oops", r"a.jsonl, line 3: not valid JSON \(.*"),
    ("a.jsonl", f"{GOOD}\n[1]", "a.jsonl, line 2: expected an object with named fields, found list"),
    ("a.json", "[" * 100_000, r"a.json: not usable JSON"),
    ("a.json", '[{"prompt": "a", "completion": ' + "9" * 5000 + "}]", "a.json: not usable JSON"),
    ("a.json", "{}", "a.json: expected a list of examples"),
    ("a.jsonl", f'{GOOD}\n{{"prompt": "a"}}', "a.jsonl, row 2, column 'completion': expected text, found nothing"),
    ("a.jsonl", '{"prompt": null, "completion": "b"}', "row 1, column 'prompt': expected text, found nothing"),
    ("a.jsonl", '{"prompt": "a", "completion": NaN}', "row 1, column 'completion': expected text, found nan"),
    ("a.jsonl", '{"prompt": "a", "completion": ["b"]}', r"row 1, column 'completion': expected text, found \['b'\]"),
    ("a.jsonl", f'{GOOD}\n{{"prompt": "a", "completion": " \\n"}}', "a.jsonl, row 2: the target is empty"),
    ("a.csv", "prompt,completion\na,b\na,\n", "a.csv, row 2: the target is empty"),
    ("a.csv", "prompt,completion\na,b\na, b, c\n", "a.csv, line 3: more cells than the header has"),
    ("a.csv", 'prompt,completion\n"a,b\n', "a.csv, line 2: not valid CSV"),
    ("a.jsonl", '{"question": "a", "answer": "b"}', r"columns \['answer', 'question'\]; say which is which"),
    ("a.jsonl", GOOD.encode("utf-16"), "a.jsonl: not UTF-8 text .byte 0.; save it as UTF-8"),
    ("a.jsonl", '{"prompt": "é"}'.encode("latin-1"), "a.jsonl: not UTF-8 text"),
    ("a.parquet", "not parquet", "a.parquet: not a readable Parquet file"),
    ("a.txt", GOOD, "a.txt: unknown file type '.txt'; use .json, .jsonl, .csv or .parquet"),
    ("a.jsonl", '{"messages": [{"role": "user", "content": "a"}]}', "row 1: expected a list of at least two messages"),
    ("a.jsonl", json.dumps({"messages": CHAT[::-1]}), "row 1: the last message must be the assistant's"),
    ("a.jsonl", json.dumps({"messages": [*CHAT, {"role": "x"}]}), "row 1: every message needs a role and a content"),
    ("a.jsonl", GOOD, r"task 'a': 1 example\(s\) leave its \w+ part empty; add examples"),
]


def refusal(*sources: Path | str | TaskSource) -> str:
    with pytest.raises(tp.InputError) as caught:
        tp.load_tasks(sources)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_a_bad_file_is_refused_by_name_and_place(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(tp.InputError, match=message):
        tp.load_tasks([write_jsonl(tmp_path / "good.jsonl", plain()), tmp_path / name])
    refusal(tmp_path / name)


@pytest.mark.parametrize("template", ["{nothing}", "{", "{}", "{0}", "{prompt.x}", "{prompt[x]}", "{prompt:d}"])
def test_a_template_that_does_not_fit_is_refused(tmp_path: Path, template: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", plain())
    message = refusal(TaskSource(path=str(path), prompt_template=template))
    assert message.endswith(f"row 1: template {template!r} does not fit; it may use ['completion', 'prompt'].")


def test_columns_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = str(write_jsonl(tmp_path / "a.jsonl", plain()))
    missing = refusal(TaskSource(path=path, columns={"prompt": "question", "completion": "completion"}))
    assert missing == f"{path}: no column 'question'; there are ['completion', 'prompt']."
    assert "use one of messages or" in refusal(TaskSource(path=path, columns={"prompt": "prompt"}))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.jsonl") == f"{tmp_path / 'none.jsonl'}: no such file."
    assert refusal(tmp_path / "none.parquet") == f"{tmp_path / 'none.parquet'}: no such file."
    assert refusal(tmp_path / "*.jsonl").endswith("*.jsonl: no file matches this pattern.")
    assert "not the name of a file" in refusal("a\0.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    assert "cannot be read" in refusal(tmp_path / "folder.jsonl")


def test_tasks_need_two_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    one, two = write_jsonl(tmp_path / "a.jsonl", plain()), write_jsonl(tmp_path / "sub" / "a.jsonl", plain(tag="x"))
    assert "1 task(s) only" in refusal(one)
    assert "0 task(s) only" in refusal()
    assert "duplicate task name 'a'" in refusal(one, two)
    assert "only one name ('b')" in refusal(TaskSource(path=str(tmp_path / "**" / "*.jsonl"), name="b"))
    assert "not valid Unicode" in refusal(one, TaskSource(path=str(two), name="\ud800"))
