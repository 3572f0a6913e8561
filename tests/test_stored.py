"""Log-probabilities in files are indexed as arrays are, give what arrays give, and are never in memory together."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence import in_files, make_predictions, random_log_probs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm.divergences import DIVERGENCES, Batch, Divergence, streamed_divergences
from taskpgm.stored import StoredLogProbs
from taskpgm.tensor_files import stored_tensors, write_tensors
from taskpgm.types import Predictions

FIELDS = ("utility", "divergence", "divergence_lower", "divergence_upper", "similarity", "gain")
INDEX = st.one_of(
    st.integers(-3, 2),
    st.slices(3),
    st.lists(st.integers(-3, 2), max_size=4).map(lambda chosen: np.array(chosen, dtype=np.int64)),
    st.lists(st.booleans(), min_size=3, max_size=3).map(np.array),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictions, Predictions]:
    """Predictions in memory, whose tasks' contexts are not next to each other, and the same in files."""
    made = make_predictions(0, n=5, per_task=4, k=6)
    mixed = replace(made, context_task=made.context_task[np.random.default_rng(0).permutation(20)])
    return mixed, in_files(mixed, tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, StoredLogProbs]:
    """(3, 3, 3) numbers, and the same in files."""
    predictions = make_predictions(1, n=3, per_task=1, vocabulary=2)
    turned = replace(predictions, context_task=np.array([2, 0, 1]))
    stored = in_files(turned, tmp_path_factory.mktemp("cube")).log_probs
    assert isinstance(stored, StoredLogProbs)
    return np.asarray(predictions.log_probs), stored


@pytest.fixture
def one_context_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskpgm.stored.SLICE_MEMORY", 1.0)


@given(st.one_of(INDEX, st.tuples(INDEX), st.tuples(INDEX, INDEX), st.tuples(INDEX, INDEX, INDEX)))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_are_indexed_as_arrays_are(cube: tuple[np.ndarray, StoredLogProbs], key: Any) -> None:
    array, stored = cube
    try:
        expected = array[key]
    except IndexError:  # arrays of different lengths
        with pytest.raises(IndexError):
            stored[key]
        return
    np.testing.assert_array_equal(stored[key], expected)


def test_files_look_like_an_array(cube: tuple[np.ndarray, StoredLogProbs]) -> None:
    array, stored = cube
    assert (stored.shape, stored.ndim, stored.dtype, len(stored)) == ((3, 3, 3), 3, np.float32, 3)
    for key in (..., (..., 0), (None, 1), np.arange(3)):
        np.testing.assert_array_equal(stored[key], array[key])
    np.testing.assert_array_equal(np.exp(stored), np.exp(array))
    assert stored.astype(np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="without being read"):
        np.array(stored, copy=False)
    with pytest.raises(IndexError):
        stored[3]


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("slices", ["all at once", "one by one"])
def test_an_affinity_from_files_is_that_from_memory(
    pair: tuple[Predictions, Predictions], kind: type[Divergence], slices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, files = pair
    expected = tp.estimate_affinity(memory, divergence=kind())
    if slices == "one by one":
        monkeypatch.setattr("taskpgm.stored.SLICE_MEMORY", 1.0)
    found = tp.estimate_affinity(files, divergence=kind())
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0.0, atol=1e-13)
    assert found.blocks is not None
    assert expected.blocks is not None
    np.testing.assert_allclose(found.blocks.divergence, expected.blocks.divergence, rtol=0.0, atol=1e-13)
    again = tp.estimate_affinity(memory, divergence=kind())  # arrays are gone through in slices as well
    np.testing.assert_allclose(again.divergence, expected.divergence, rtol=0.0, atol=1e-15)


@pytest.mark.usefixtures("one_context_at_a_time")
def test_equal_experts_in_files_are_compared_in_float64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskpgm.divergences.streaming.EXACT_WORK", 0)
    predictions = make_predictions(2, n=4, vocabulary=300)
    alike = replace(predictions, log_probs=np.repeat(predictions.log_probs[:1], 4, axis=0))
    found = tp.estimate_affinity(in_files(alike, tmp_path))
    assert np.all(found.divergence == 0.0)
    assert np.linalg.eigvalsh(found.similarity)[0] >= -1e-12


def test_what_else_takes_predictions_takes_files(pair: tuple[Predictions, Predictions]) -> None:
    memory, files = pair
    assert isinstance(files.log_probs, StoredLogProbs)
    np.testing.assert_allclose(tp.jensen_shannon(files.log_probs), tp.jensen_shannon(memory.log_probs), atol=1e-15)
    batches = [Batch(files.log_probs, contexts=part) for part in np.array_split(np.arange(20), 3)]
    np.testing.assert_allclose(streamed_divergences(batches)[0], tp.jensen_shannon(memory.log_probs), atol=1e-13)
    (k, cut), (fewer, smaller) = (tp.smallest_top_k(each, width=0.5) for each in (memory, files))
    assert k == fewer < 6
    np.testing.assert_array_equal(cut.log_probs, smaller.log_probs)
    less = tp.without_task(files, "task 1")
    assert isinstance(less.log_probs, StoredLogProbs)
    np.testing.assert_array_equal(less.log_probs, tp.without_task(memory, "task 1").log_probs)
    table = tp.DivergenceTable.of(less).updated(files)
    np.testing.assert_allclose(table.affinity().divergence, tp.estimate_affinity(memory).divergence, atol=1e-13)
    capacity = tp.CapacityMixture(files.log_probs, files.weights)
    np.testing.assert_array_equal(
        capacity.probabilities, tp.CapacityMixture(memory.log_probs, memory.weights).probabilities
    )


@pytest.mark.usefixtures("one_context_at_a_time")
@pytest.mark.parametrize("kind", DIVERGENCES)
def test_what_is_no_distribution_is_named_by_its_context(tmp_path: Path, kind: type[Divergence]) -> None:
    predictions = make_predictions(6)
    broken = np.array(predictions.log_probs)
    broken[1, 2, 3] = np.nan
    with pytest.raises(tp.InputError, match=r"the expert of task 'task 1', on context 2, a probe of task"):
        tp.estimate_affinity(in_files(replace(predictions, log_probs=broken), tmp_path), divergence=kind())


# ------------------------------------------------------------------------------------------------------------ the files


def test_files_are_those_of_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    rng = np.random.default_rng(0)
    one, two = rng.random((7, 3), dtype=np.float32), rng.integers(9, size=5).astype(np.int32)
    path = tmp_path / "new" / "a.safetensors"
    layout = {"é/\n'one": (np.float32, (7, 3)), "two": (np.int32, (5,)), "none": (np.float32, (0, 4))}
    write_tensors(path, layout, [one[:3], one[3:], two])
    found = load_file(path)
    assert set(found) == set(layout)
    np.testing.assert_array_equal(found["é/\n'one"], one)
    np.testing.assert_array_equal(found["two"], two)
    save_file({"theirs": one, "two": two}, tmp_path / "b.safetensors")
    theirs = stored_tensors(tmp_path / "b.safetensors")
    np.testing.assert_array_equal(theirs["theirs"].rows(2, 5), one[2:5])
    np.testing.assert_array_equal(theirs["two"].rows(), two)
    assert stored_tensors(path)["none"].rows().shape == (0, 4)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    rows = np.zeros((2, 3), dtype=np.float32)
    for chunks in ([rows], [rows, rows, rows], [rows, rows.astype(np.float64)]):
        with pytest.raises(ValueError, match=r"a\.safetensors"):
            write_tensors(path, {"a": (np.float32, (4, 3))}, chunks)
        assert list(tmp_path.iterdir()) == []
    write_tensors(path, {"a": (np.float32, (4, 3))}, [rows, rows])
    whole = path.read_bytes()
    tensor = stored_tensors(path)["a"]
    for broken in (b"", whole[:5], whole[:-1], whole + b"x", b"\xff" * 80, whole.replace(b"F32", b"F99"), b"\0" * 8):
        path.write_bytes(broken)
        with pytest.raises(tp.InputError, match=r"a\.safetensors: not a whole file of predictions; delete it"):
            stored_tensors(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(tp.InputError, match="not a whole file"):
        tensor.rows()
    path.unlink()
    with pytest.raises(tp.InputError, match="no such file"):
        tensor.rows()


def test_a_file_is_written_without_being_in_memory(tmp_path: Path) -> None:
    rows = np.zeros((100, 1000), dtype=np.float32)
    layout = {"a": (np.float32, (5000, 1000))}
    write_tensors(tmp_path / "first", {"a": (np.float32, (100, 1000))}, [rows])
    tracemalloc.start()
    write_tensors(tmp_path / "a", layout, (rows + k for k in range(50)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * rows.nbytes
    assert stored_tensors(tmp_path / "a")["a"].rows(4900).max() == 49.0


MEMORY_PROBE = """
import sys, tracemalloc
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import numpy as np
import taskpgm as tp
from evidence import in_files
from taskpgm import stored
from taskpgm.divergences import streaming
from taskpgm.types import Predictions

n, per_task, width, folder = 6, 200, 2500, Path(sys.argv[1])
streaming.available_threads = lambda: 2
stored.SLICE_MEMORY = 2e6
contexts = n * per_task
rng = np.random.default_rng(0)
logs = rng.standard_normal((n, contexts, width), dtype=np.float32)
logs -= np.log(np.exp(logs).sum(axis=-1, keepdims=True))
line = np.zeros(contexts, dtype=np.float32)
made = Predictions(tuple("abcdef"), logs, np.zeros((n, contexts), np.float32), line, line - 1,
                   np.repeat(np.arange(n), per_task), np.arange(contexts) // 4, np.full(contexts, 1 / contexts))
files = in_files(made, folder)
small = tp.without_task(files, "f")
everything = logs.nbytes
del made, logs
for measure, copies in ((tp.JensenShannon(), 2), (tp.Hellinger(), 3), (tp.TotalVariation(), 3)):
    tp.estimate_affinity(small, divergence=measure)      # compiles
    tracemalloc.start()
    tp.estimate_affinity(files, divergence=measure)
    own = 8 * n * n * (2 * 6 * 32 + 2 + 16) + 8 * 2 * (n + 2) * (4096 + 2048)  # of the divergences, see the README
    print(tracemalloc.get_traced_memory()[1], copies * stored.SLICE_MEMORY + 40 * n * contexts + own, everything)
    tracemalloc.stop()
"""


def test_memory_does_not_grow_with_contexts_times_vocabulary_times_experts(tmp_path: Path) -> None:
    code = [sys.executable, "-c", MEMORY_PROBE, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 3
    for line in done.stdout.splitlines():
        peak, formula, everything = map(float, line.split())
        assert 0.5 * formula < peak < formula + 1e5
        assert everything > 10 * peak


def test_predictions_of_every_sharpness_survive_the_way_through_files(tmp_path: Path) -> None:
    logs = random_log_probs(3, 3, 6, 9, 30.0, 0.3).astype(np.float32)
    predictions = replace(make_predictions(3, n=3, per_task=2), log_probs=logs)
    np.testing.assert_array_equal(in_files(predictions, tmp_path).log_probs, logs)
