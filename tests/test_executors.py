"""Packing, the parts of a machine's work that need no cluster, and work done in this process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cluster_items
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskpgm.executors import LOCAL, Item, Source, node
from taskpgm.executors.executor import nothing
from taskpgm.executors.node import PACKAGES, Bundle, Order, do
from taskpgm.executors.packing import PackedFile, pack, unpack, unpack_to
from taskpgm.storage import versions
from taskpgm.types import InputError

names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: name not in {".", ".."}
)
contents = st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=4)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of its own, as another machine has one."""
    (tmp_path / "machine").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "machine"))
    return tmp_path / "machine"


def order(item: Item, *bundles: Bundle) -> Order:
    name = None if item.path is None else item.path.name
    return Order(item.work, item.data, (), bundles, name, (), item.threads, versions(*PACKAGES))


@given(files=contents, inner=contents)
def test_what_was_packed_is_unpacked(files: dict[str, bytes], inner: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        there, here = Path(place, "there"), Path(place, "here")
        for folder, part in ((there, files), (there / "inner folder", inner)):
            folder.mkdir(exist_ok=True)
            for name, data in part.items():
                if len(name.encode()) < 200 and not (folder / name).is_dir():
                    (folder / name).write_bytes(data)
        unpack_to(pack(there), here, folder=True)
        read = [
            {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()} for root in (there, here)
        ]
        assert read[0] == read[1]


@given(data=st.binary(min_size=1), place=st.integers(0), bit=st.integers(0, 7))
def test_a_bit_that_changed_on_the_way_is_noticed(data: bytes, place: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "file").write_bytes(data)
        [packed] = pack(Path(folder, "file"))
        changed = bytearray(data)
        changed[place % len(data)] ^= 1 << bit
        with pytest.raises(InputError, match="arrived with other bytes"):
            unpack_to(
                [replace(packed, data=np.frombuffer(bytes(changed), np.uint8))], Path(folder, "here"), folder=False
            )
        assert [each.name for each in Path(folder).iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "inner/../../outside"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    empty = PackedFile(name, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", np.empty(0, np.uint8))
    (tmp_path / "inside").mkdir()
    with pytest.raises(InputError, match="expected one below it"):
        unpack([empty], tmp_path / "inside")
    assert [each.name for each in tmp_path.iterdir()] == ["inside"]


def test_patterns_choose_among_the_files_of_the_folder_itself(tmp_path: Path) -> None:
    for name in ("a.json", "b.bin", "inner/c.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [file.name for file in pack(tmp_path, ("*.json", "a.*"))] == ["a.json"]
    assert [file.name for file in pack(tmp_path)] == ["a.json", "b.bin", "inner/c.json"]


def test_items_are_done_here_one_by_one_as_they_are_asked_for() -> None:
    begun: list[int] = []
    told: list[tuple[int, int]] = []

    def items() -> Iterator[Item]:
        for number in (3, 4, 5):
            begun.append(number)
            yield Item("a number", cluster_items.times_two, number)

    done = LOCAL.run(items(), lambda index, step: told.append((index, step)))
    assert next(done) == (0, 6)
    assert (begun, told) == ([3], [(0, 1)])
    assert list(done) == [(1, 8), (2, 10)]
    with pytest.raises(InputError, match="task 'x': nothing can be done"):
        list(LOCAL.run([Item("x", cluster_items.refuses, "x")], nothing))


def shared_bundle(monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[Bundle, list[str]]:
    """A folder on its way, and the names of what has been fetched."""
    fetched: list[str] = []

    def fetch(references: tuple[PackedFile, ...]) -> Iterator[PackedFile]:
        for file in references:
            fetched.append(file.name)
            yield file

    monkeypatch.setattr(node, "_fetched", fetch)
    return Bundle("key", pack(folder), shared=True), fetched


def test_a_shared_folder_is_brought_once_and_once_more_when_it_is_damaged(
    tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"weights")
    bundle, fetched = shared_bundle(monkeypatch, tmp_path / "model")
    item = Item("a copy", cluster_items.copies, None, path=tmp_path / "out")
    for _ in range(2):
        made = do(order(item, bundle))
        [place] = made.value
        assert Path(place).is_relative_to(machine)
        assert [(file.name, bytes(file.data)) for file in made.files] == [("0/weights", b"weights")]
        assert fetched == ["weights"]
    Path(place, "weights").write_bytes(b"wrights")
    assert bytes(do(order(item, bundle)).files[0].data) == b"weights"
    assert fetched == ["weights", "weights"]


def test_what_killed_processes_left_goes_and_what_is_in_use_stays(machine: Path) -> None:
    store = machine / f"taskpgm-{os.getuid()}"
    for name in ("scratch-old", "scratch-new"):
        (store / name).mkdir(parents=True, mode=0o700)
        (store / name / "file").write_text(name)
    store.chmod(0o700)
    os.utime(store / "scratch-old", (1, 1))
    assert do(order(Item("a number", cluster_items.times_two, 4))).value == 8
    assert [each.name for each in store.iterdir()] == ["scratch-new"]


def test_a_folder_that_others_could_write_to_is_not_used(machine: Path) -> None:
    store = machine / f"taskpgm-{os.getuid()}"
    store.mkdir()
    store.chmod(0o777)
    made = do(order(Item("a number", cluster_items.times_two, 4)))
    assert made.refusal is not None
    assert "others can write there" in made.refusal


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (cluster_items.refuses, r"^task 'x': nothing can be done with this\.$"),
        (cluster_items.fills_the_disk, r"^node .*: /some/where: No space left on device\. Nothing finished"),
    ],
)
def test_a_refusal_comes_back_as_its_line(machine: Path, work: object, why: str) -> None:
    refusal = do(order(Item("x", work, "x"))).refusal  # type: ignore[arg-type]
    assert refusal is not None
    with pytest.raises(InputError, match=why):
        raise InputError(refusal)


def test_another_version_of_a_library_is_refused(machine: Path) -> None:
    other = replace(order(Item("a number", cluster_items.times_two, 4)), versions={"numpy": "0.0.1"})
    made = do(other)
    assert made.refusal is not None
    assert f"has numpy {np.__version__} and this machine 0.0.1" in made.refusal


def test_sources_that_nobody_else_reads_go_with_the_item(
    tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "expert").mkdir()
    (tmp_path / "expert" / "w").write_bytes(b"w")
    bundle, _ = shared_bundle(monkeypatch, tmp_path / "expert")
    item = Item("a copy", cluster_items.copies, None, (Source(tmp_path / "expert"),), tmp_path / "out")
    made = do(order(item, replace(bundle, shared=False)))
    assert [bytes(file.data) for file in made.files] == [b"w"]
    assert not Path(made.value[0]).exists()
    assert list((machine / f"taskpgm-{os.getuid()}").iterdir()) == []
