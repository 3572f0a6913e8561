"""Settings and fixtures that every test shares: deterministic Hypothesis, and the problem instances of others."""

from __future__ import annotations

import os
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
