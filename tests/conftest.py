"""Settings and fixtures that every test shares: deterministic Hypothesis, and the problem instances of others."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
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


@pytest.fixture(scope="module", autouse=True)
def _quick_garbage_collection() -> None:
    """Leave what is imported by now out of garbage collections: transformers asks for a whole one in each training."""
    gc.collect()
    gc.freeze()


# ------------------------------------------------------------------------------- the demo, beside all the other tests

DEMO = [sys.executable, "-m", "taskpgm", "demo"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo takes most of a minute of one core: it starts first, and what looks at it comes last."""
    items.sort(key=_is_about_the_demo)


def _is_about_the_demo(item: pytest.Item) -> bool:
    return item.path.name == "test_demo.py"


@pytest.fixture(scope="session", autouse=True)
def _demo_process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], Path] | None]:
    """The running demo and the folder it runs in, where its output and errors go too; None if no test needs it."""
    if not any(map(_is_about_the_demo, request.session.items)):
        yield None
        return
    folder = tmp_path_factory.mktemp("demo")
    with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(DEMO, cwd=folder, stdout=output, stderr=errors)
    yield process, folder
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def demo(_demo_process: tuple[subprocess.Popen[bytes], Path]) -> tuple[Path, str]:
    """The finished demo's folder, and what it printed."""
    process, folder = _demo_process
    assert process.wait() == 0, (folder / "errors").read_text()
    return folder / "taskpgm-demo", (folder / "output").read_text()
