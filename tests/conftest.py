"""Settings and fixtures that every test shares: deterministic Hypothesis, and the problem instances of others."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# One thread: on problems this small, threads that wait for each other cost many times what they bring. Set before any
# library reads it, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "taskpgm", deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("taskpgm")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of instances and data sets that are not ours to redistribute; skips where it is absent."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the data folder shared/data is not next to this checkout: it is not part of the repository")
    return folder


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process: (exit code, standard output, standard error)."""
    from taskpgm import cli

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["taskpgm", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(scope="module", autouse=True)
def _quick_garbage_collection() -> None:
    """Leave what is imported by now out of garbage collections: transformers asks for a whole one in each training."""
    gc.collect()
    gc.freeze()


# --------------------------------------------------------------- the demo and the notebooks, beside all the other tests

DEMO = [sys.executable, "-m", "taskpgm", "demo"]
NOTEBOOKS = [sys.executable, str(Path(__file__).with_name("execute_notebooks.py"))]
LAST = ("test_demo.py", "test_notebooks.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Demo and notebooks take minutes of one core: they start first, and what looks at them comes last."""
    items.sort(key=lambda item: LAST.index(item.path.name) + 1 if item.path.name in LAST else 0)


@pytest.fixture(scope="session", autouse=True)
def _background(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[subprocess.Popen[bytes], Path]]]:
    """By file of tests: the running process, and the folder that its output and errors go to. Only what is needed."""
    needed = {item.path.name for item in request.session.items} & set(LAST)
    running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
    if needed:
        running["test_demo.py"] = _started(DEMO, tmp_path_factory.mktemp("demo"))
    if "test_notebooks.py" in needed:
        folder = tmp_path_factory.mktemp("notebooks")
        demo = running["test_demo.py"][1] / "taskpgm-demo"
        running["test_notebooks.py"] = _started([*NOTEBOOKS, str(folder), str(demo)], folder)
    yield running
    for process, _ in running.values():
        process.kill()
        process.wait()


def _started(command: list[str], folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
        return subprocess.Popen(command, cwd=folder, stdout=output, stderr=errors), folder


@pytest.fixture(scope="session")
def demo(_background: dict[str, tuple[subprocess.Popen[bytes], Path]]) -> tuple[Path, str]:
    """The finished demo's folder, and what it printed."""
    process, folder = _background["test_demo.py"]
    assert process.wait() == 0, (folder / "errors").read_text()
    return folder / "taskpgm-demo", (folder / "output").read_text()


@pytest.fixture(scope="session")
def notebook_process(
    _background: dict[str, tuple[subprocess.Popen[bytes], Path]],
) -> tuple[subprocess.Popen[bytes], Path]:
    """The process that executes the notebooks, and the folder with what came of each."""
    return _background["test_notebooks.py"]
