"""A Ray cluster of three machines, as Ray simulates them: none has the data, and one is lost in the middle."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster_items
import pytest
from run_folders import tree
from tiny import write_config

from taskpgm.config import load_config
from taskpgm.executors import Item, Source
from taskpgm.executors.cluster import RayExecutor, ray_cluster
from taskpgm.executors.executor import nothing
from taskpgm.pipeline import run

ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'taskpgm[ray]'")
pytestmark = pytest.mark.slow


class Machines:
    """Two machines of one processor each, beside the one that asks, which has none. folders: for temporary files."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        least = {"object_store_memory": 100 * 2**20}
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **least}
        )
        self.folders = [folder / "one", folder / "two"]
        self.nodes = []
        for each in self.folders:
            each.mkdir()
            self.nodes.append(self.cluster.add_node(num_cpus=1, env_vars={"TMPDIR": str(each)}, **least))


@pytest.fixture
def machines() -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix="tp-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        found = Machines(folder)
        ray.init(address=found.cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield found
    ray.shutdown()
    found.cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def test_machines_get_what_they_lack_and_one_that_is_lost_is_replaced(machines: Machines, tmp_path: Path) -> None:
    with ray_cluster() as executor:
        _bring_a_model(executor, machines, tmp_path)
        config = load_config(write_config(tmp_path))
        lost: list[Any] = []

        def lose(stage: str, done: int, total: int, text: str) -> None:
            if stage == "experts" and not lost:
                lost.append(machines.nodes[0])
                machines.cluster.remove_node(machines.nodes[0], allow_graceful=False)

        run(config, tmp_path / "there", lose, executor)
        assert lost
        assert sum(node["Alive"] for node in ray.nodes()) == 2
    run(config, tmp_path / "here")
    assert tree(tmp_path / "there") == tree(tmp_path / "here")


def _bring_a_model(executor: RayExecutor, machines: Machines, tmp_path: Path) -> None:
    """Each machine unpacks the same folder once, in its own place."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "weights").write_bytes(bytes(range(256)) * 4096)
    source = Source(tmp_path / "shared", shared=True)
    places: set[str] = set()
    for attempt in range(10):
        paths = [tmp_path / f"copy {attempt} {i}" for i in range(4)]
        items = [Item("a copy", cluster_items.copies, None, (source,), path) for path in paths]
        places |= {place for _, [place] in executor.run(items, nothing)}
        assert all(tree(path / "0") == tree(tmp_path / "shared") for path in paths)
        if len(places) == 2:
            break
    assert {next(f for f in machines.folders if Path(place).is_relative_to(f)) for place in places} == set(
        machines.folders
    )
