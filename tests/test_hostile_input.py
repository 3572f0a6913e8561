"""Files that mean harm, or are merely broken: one line that says what is wrong, soon, and with little memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scripts import benchmark

import taskpgm as tp
from taskpgm import limits
from taskpgm.array_files import read_arrays
from taskpgm.config import TaskSource, load_config
from taskpgm.integrity import write_sums
from taskpgm.mixture import Mixture
from taskpgm.network import TaskNetwork
from taskpgm.storage import read_json
from taskpgm.tables import read_similarity
from taskpgm.tasks import read_examples
from taskpgm.tensor_files import stored_tensors
from taskpgm.text_files import read_text, text_lines
from taskpgm.yaml_files import read_yaml

READERS = benchmark("fuzz").READERS
loop = benchmark("parts/fuzz_loop")
FINDINGS = Path(__file__).parent / "findings"
INPUTS = {"names": 4, "page": 6, "feasible.yaml": 12, "run.yaml": 25, "mixture.json": 40}


def refused(read: Callable[[], object]) -> str:
    """The one line with which something is refused."""
    with pytest.raises(tp.InputError) as error:
        read()
    message = str(error.value)
    assert len(message) < 1_000
    return message


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_damaged_files_are_read_or_refused_and_nothing_else(reader: Any, tmp_path: Path) -> None:
    path, whole = tmp_path / reader.file, loop.Tally()
    for data in reader.seeds[: INPUTS.get(reader.name, 9)]:
        loop.tried(reader, path, data, whole)
    assert whole.accepted, f"no valid file of this kind is read: {whole}"
    found = loop.fuzzed(reader, tmp_path, INPUTS.get(reader.name, 50), seed=2026)
    assert [(each.number, each.error, each.place) for each in found.findings] == []


@pytest.mark.parametrize("file", sorted(FINDINGS.iterdir()), ids=lambda path: path.name)
def test_what_was_found_once_stays_mended(file: Path, tmp_path: Path) -> None:
    """Each file is named after its reader, and made that reader raise, warn, hang or die before."""
    reader = next(each for each in READERS if file.name.startswith(f"{each.name}~"))
    tally = loop.Tally()
    loop.tried(reader, tmp_path / reader.file, file.read_bytes(), tally)
    assert tally.findings == []


# --------------------------------------------------------------------------------------------------------------- bombs


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """No test here takes more than another gigabyte of address space: what allocates what a file declares fails."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 29), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_hundred_thousand_levels_of_json_are_refused(tmp_path: Path, opening: str) -> None:
    path = tmp_path / "deep.json"
    path.write_text(opening * 100_000)
    assert "not usable JSON" in refused(lambda: read_json(path))
    path.write_text(opening * 100_000 + "0" + {"[": "]", '{"a":': "}"}[opening] * 100_000)
    assert "not usable JSON" in refused(lambda: read_json(path))


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "? " * 100_000, "'" + "a" * 10**6])
def test_a_hundred_thousand_levels_of_yaml_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    assert str(path) in refused(lambda: read_yaml(path))


def test_few_lines_of_aliases_do_not_become_billions_of_values(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    path.write_text("\n".join([*lines, "tasks: *a11"]))
    assert "more than 1,000,000 values once its aliases are written out" in refused(lambda: load_config(path))
    merged = ["a0: &a0 {x: 1, y: 2}"]
    merged += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}], k{i}: 1}}" for i in range(1, 12)]
    path.write_text("\n".join(merged))
    assert "values once its aliases" in refused(lambda: read_yaml(path))
    path.write_text("a: &a [*a]")
    assert "an alias inside of what it stands for" in refused(lambda: read_yaml(path))


def test_aliases_that_save_writing_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: &base {x: 1, y: 2}\nother: {<<: *base, y: 3}\nagain: *base\nempty:\n")
    shared = {"x": 1, "y": 2}
    assert read_yaml(path) == {"base": shared, "other": {"x": 1, "y": 3}, "again": shared, "empty": None}
    path.write_text("")
    assert read_yaml(path) is None


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {name: a}\ntasks: [a.jsonl]\nmodel: {name: b}\n")
    assert "line 3: the key 'model' is there twice (line 1)" in refused(lambda: load_config(path))


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system ['touch %s']", "!!python/name:os.system", "!!python/object/new:os.system [x]"],
)
def test_no_code_in_yaml_runs(tmp_path: Path, tag: str) -> None:
    path, touched = tmp_path / "run.yaml", tmp_path / "touched"
    path.write_text(f"tasks: {tag % touched if '%s' in tag else tag}\nmodel: {{name: x}}\n")
    assert "not valid YAML" in refused(lambda: load_config(path))
    assert not touched.exists()


def test_settings_have_a_size(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("a" * (limits.MOST_SETTINGS + 1))
    assert "16 MiB, is not read as one file" in refused(lambda: load_config(path))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.json", "rows.parquet", "s.csv", "m.cfn", "m.uai"])
def test_ten_gigabytes_are_refused_unread(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.truncate(10 * 2**30)  # takes no room on the disk
    read = {"s.csv": read_similarity, "m.cfn": tp.read_network, "m.uai": tp.read_network}.get(name)
    message = refused(lambda: read(path) if read else read_examples(TaskSource(path=str(path))))
    assert "10 GiB, more than 4 GiB, is not read as one file" in message or "not a readable Parquet" in message


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "s.csv", "m.uai"])
def test_a_line_without_end_is_refused_before_it_is_in_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.write(b"prompt,completion\n")
        stream.truncate(3 * 2**30)
    read = {"s.csv": read_similarity, "m.uai": tp.read_network}.get(name)
    message = refused(lambda: read(path) if read else read_examples(TaskSource(path=str(path))))
    assert "longer than 64 MiB" in message or "not valid JSON" in message or "instead of MARKOV" in message


def test_a_cell_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskpgm.tasks.LONGEST_LINE", 1_000)
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\n"' + "a\n" * 1_000)
    assert "not valid CSV (field larger than field limit (1000))" in refused(
        lambda: read_examples(TaskSource(path=str(path)))
    )


def test_devices_are_refused_and_pipes_are_read(tmp_path: Path) -> None:
    assert "a device, not a file" in refused(lambda: read_text(Path("/dev/zero")))
    reading, writing = os.pipe()
    os.write(writing, b"\xef\xbb\xbfone\r\ntwo\rthree")
    os.close(writing)
    assert list(text_lines(Path(f"/dev/fd/{reading}"))) == ["one\n", "two\n", "three"]
    os.close(reading)


def test_lines_are_those_of_the_whole_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\xed\xa0\x80\xe2\x80\xa8\x0b\r\rb\n\n\x85"[:-1] + "é".encode())
    assert "".join(text_lines(path)) == read_text(path) == "a\n\ud800\u2028\x0b\n\nb\n\né"
    path.write_bytes(b"\xef\xbb\xbfab\ncd\xff")
    assert "not UTF-8 text (byte 8)" in refused(lambda: read_text(path))
    assert "not UTF-8 text (byte 8)" in refused(lambda: list(text_lines(path)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.uai", "MARKOV 1 1e15 0"),
        ("m.uai", "MARKOV 2 99999999 99999999 0"),
        ("m.wcsp", "x 2 60000000 1 9 60000 60000 2 0 1 0 0"),
        ("m.wcsp", "x 1 1 0 9 1e18"),
        ("m.fg", "1\n2\n0 1\n60000 60000\n0\n"),
        ("m.cfn", '{"problem": {"mustbe": "<9"}, "variables": {"x": 1000000000000}, "functions": {}}'),
        (
            "m.cfn",
            '{"problem": {}, "variables": {"x": 60000, "y": 60000}, "functions": {"f": {"scope": ["x", "y"], "costs":'
            ' [], "defaultcost": 0}}}',
        ),
    ],
)
def test_networks_that_declare_more_than_they_hold_are_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    message = refused(lambda: tp.read_network(path))
    assert "more than 67,108,864" in message or "expected a list, or how many" in message


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [10**12, 10**6], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**62]}},
        {"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        {"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 4]}},
        {"a": [], "b": {}},
        [],
    ],
)
def test_tensors_that_declare_more_than_they_hold_are_refused(tmp_path: Path, header: Any) -> None:
    path, text = tmp_path / "x.safetensors", json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    assert "not a whole file" in refused(lambda: stored_tensors(path))
    path.write_bytes((2**63).to_bytes(8, "little") + text)
    assert "not a whole file" in refused(lambda: stored_tensors(path))


def archive(name: str, head: bytes, body: bytes = b"", compress: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compress) as file:
        file.writestr(name, head + body)
    return stream.getvalue()


def array_head(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()


class Touch:
    """What runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_archives_of_arrays_hold_what_they_declare_and_no_code(tmp_path: Path) -> None:
    good = io.BytesIO()
    np.savez(good, a=np.arange(6.0).reshape(2, 3), b=np.array([], dtype=np.int64), c=np.asfortranarray(np.eye(2)))
    found = read_arrays(good.getvalue())
    assert found["a"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert found["b"].shape == (0,)
    assert found["c"].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert "more than it holds" in refused(lambda: read_arrays(archive("a.npy", array_head((10**15,)))))
    assert "more than it holds" in refused(lambda: read_arrays(archive("a.npy", array_head((10, 10)), bytes(8))))
    bomb = archive("a.npy", array_head((2**26,)), bytes(2**26), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**20
    assert "is compressed" in refused(lambda: read_arrays(bomb))
    pickled = io.BytesIO()
    np.savez(pickled, a=np.array([Touch(tmp_path / "made")], dtype=object))
    assert "only numbers are read" in refused(lambda: read_arrays(pickled.getvalue()))
    assert "not an archive" in refused(lambda: read_arrays(pickle.dumps(Touch(tmp_path / "made"))))
    assert not (tmp_path / "made").exists()


def test_parquet_that_unpacks_to_any_size_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path, long = tmp_path / "rows.parquet", "x" * 900_000
    shared = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 100_000, pyarrow.int32()), pyarrow.array([long]))
    answers = pyarrow.array(["y"] * 100_000)
    pyarrow.parquet.write_table(pyarrow.table({"prompt": shared, "completion": answers}), path, store_schema=False)
    assert path.stat().st_size < 100_000
    assert "unpacks to more than 4,294,967,296 bytes" in refused(lambda: read_examples(TaskSource(path=str(path))))


def test_parquet_rows_come_as_they_are(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    from taskpgm.parquet_files import parquet_rows

    turns = [{"role": "user", "content": "é"}, {"role": "assistant", "content": None}]
    columns = {"m": [turns, [], None], "t": ["a", None, "a"], "n": [1, 2, None], "b": [b"x", b"", None]}
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    assert list(parquet_rows(path)) == [
        dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
    ]


# ---------------------------------------------------------------------------------------------- templates, names, paths


@pytest.mark.parametrize(
    "template",
    ["{prompt.__class__}", "{prompt!r:>9999999999}", "{prompt:>9999999999}", "{prompt[0]}", "{0.__init__}", "{}", "{"],
)
@pytest.mark.parametrize("role", ["prompt_template", "completion_template"])
def test_a_template_reaches_into_nothing(tmp_path: Path, template: str, role: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "p {completion}", "completion": "c"}')
    source = TaskSource(path=str(path), **{role: template})
    assert "it may use ['completion', 'prompt']" in refused(lambda: read_examples(source))


def test_braces_in_data_and_doubled_braces_stay(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "{completion.__class__}", "completion": "c"}')
    example = read_examples(TaskSource(path=str(path), prompt_template="{{x}} {prompt}!{completion}"))[0]
    assert example.prompt == "{x} {completion.__class__}!c"


NAMES = ("../../up", "/etc/passwd", "..", ".", "", "a/../../b", "a\\..\\b", "x\0y", "con\n", "~root", "a" * 300)


@pytest.mark.parametrize("name", NAMES)
def test_no_task_is_read_from_or_written_to_another_folder(tmp_path: Path, name: str) -> None:
    from taskpgm.exporters.places import place_tasks
    from taskpgm.mixed_data import write_tasks
    from taskpgm.training_data import TrainingData
    from taskpgm.types import Example

    data, out = tmp_path / "a" / "data", tmp_path / "a" / "out"
    data.mkdir(parents=True)
    (tmp_path / "up.jsonl").write_text("{}")  # what ../../up would name
    place = place_tasks([name], origin={}, data={}, folder=str(data), ending=".jsonl")[name]
    assert place.path is not None
    assert Path(os.path.normpath(place.path)).parent == data
    mixture = Mixture(TaskNetwork(np.zeros(2), np.eye(2), (name, "b")), {name: 0.5, "b": 0.5}, 0, 0, 0, "optimal", "x")
    write_tasks(mixture, TrainingData({name: [Example("p", "c")], "b": [Example("p", "d")]}), out)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != tmp_path / "up.jsonl"]
    assert len(written) == 2
    assert {path.parent for path in written} == {out}


def test_checksums_name_no_file_elsewhere(tmp_path: Path) -> None:
    from taskpgm.integrity import SUMS_FILE, folder_damage

    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("a")
    write_sums(folder)
    assert folder_damage(folder) is None
    line = (folder / SUMS_FILE).read_text()
    for name in ("../folder/a", f"{folder}/a", "./a", "a" * 300):
        (folder / SUMS_FILE).write_text(line.replace("  a", f"  {name}"))
        assert "damaged" in str(folder_damage(folder))


def test_an_index_of_weights_names_no_file_elsewhere(tmp_path: Path) -> None:
    from taskpgm.model_shape import INDEX_FILE, stored_shapes

    for name in ("../x.safetensors", "/x", "a/b", "..", "", 3):
        (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": {"w": name}}))
        assert "does not name files of this folder" in refused(lambda: stored_shapes(tmp_path))


def test_a_chat_template_runs_in_a_sandbox(tmp_path: Path) -> None:
    from taskpgm.suite import build_tokenizer
    from taskpgm.tokens import token_lengths
    from taskpgm.types import Example

    chat = [Example(messages=(("user", "hi"), ("assistant", "ho")))]
    tokenizer, made = build_tokenizer(), tmp_path / "made"
    for template in (
        f"{{{{ cycler.__init__.__globals__.os.mkdir('{made}') }}}}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__ }}{{ messages.append(1) }}",
        "{% for i in range(999999999) %}x{% endfor %}",
        "{% include '/etc/passwd' %}",
        "{{ 1 / 0 }}",
        "{{",
    ):
        tokenizer.chat_template = template
        assert "chat template" in refused(lambda: token_lengths(chat, tokenizer, "task 'x'"))
    assert not made.exists()


def test_values_in_messages_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"tasks": ["a"], "model": {"name": "m"}, "training": {"steps": "x" * 100_000}}))
    assert len(refused(lambda: load_config(path))) < 400
    assert limits.shown([[]] * 3) == "[[], [], []]"
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert limits.shown(deep) == "a list without end"
    while deep:
        deep = deep[0]  # taken apart level by level: Python's own way is as deep as the list


def test_the_command_line_says_it_in_one_line(tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("[" * 100_000)
    code, printed, error = call("run", path)
    assert (code, printed) == (2, "")
    assert error.startswith(f"error: {path}: not")
    assert error.count("\n") == 1
