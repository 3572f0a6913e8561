"""Settings and fixtures that every test shares: deterministic Hypothesis, and the problem instances of others."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from beside import Beside, beside
from hypothesis import HealthCheck, settings

# One thread: on problems this small, threads that wait for each other cost many times what they bring. Set before any
# library reads it, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in its background has them ignore interrupts, and every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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
def _background(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Beside]:
    """By file of tests, what runs beside them all: once, however many processes the tests are shared out to."""
    needed = {item.path.name for item in request.session.items} & set(LAST)
    place = tmp_path_factory.getbasetemp()
    owner, place = (os.getppid(), place.parent) if "PYTEST_XDIST_WORKER" in os.environ else (os.getpid(), place)
    running: dict[str, Beside] = {}
    if needed:
        running["test_demo.py"] = beside(owner, place / "demo", DEMO)
    if "test_notebooks.py" in needed:
        folder = place / "notebooks"
        demo = running["test_demo.py"].folder / "taskpgm-demo"
        running["test_notebooks.py"] = beside(owner, folder, [*NOTEBOOKS, str(folder), str(demo)])
    return running


@pytest.fixture(scope="session")
def demo(_background: dict[str, Beside]) -> tuple[Path, str]:
    """The finished demo's folder, and what it printed."""
    run = _background["test_demo.py"]
    assert run.wait() == 0, run.errors
    return run.folder / "taskpgm-demo", run.output


@pytest.fixture(scope="session")
def notebook_process(_background: dict[str, Beside]) -> Beside:
    """What executes the notebooks, in the folder with what came of each."""
    return _background["test_notebooks.py"]
