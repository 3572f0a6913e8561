"""Started by a launcher as several processes, a run says at once what to do instead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import write_config, write_tasks

import taskpgm as tp
from taskpgm.one_process import check_one_process

LINE = "taskpgm works as one process, so start it without accelerate launch or torchrun"


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_one_of_several_processes_is_refused_before_anything_is_there(
    command: str, tmp_path: Path, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, error = call(command, write_config(tmp_path), "--out", tmp_path / "out")
    assert code == 2
    assert f"WORLD_SIZE=2: {LINE}" in " ".join(error.split())
    assert not (tmp_path / "out").exists()


def test_training_from_python_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    write_config(tmp_path)
    with pytest.raises(tp.InputError, match="WORLD_SIZE=8"):
        tp.train_experts(tp.load_tasks(write_tasks(tmp_path / "tasks")), tmp_path / "model", tmp_path / "out")


def test_a_launcher_of_one_process_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_one_process()
    monkeypatch.delenv("WORLD_SIZE")
    check_one_process()


@pytest.mark.slow
def test_torchrun_itself(tmp_path: Path) -> None:
    """accelerate launch starts several processes in the same way; on a processor alone it starts one."""
    module = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "taskpgm"]
    config, folder = write_config(tmp_path), Path(tp.__file__).parents[1]
    done = subprocess.run(
        [*module, "run", str(config), "--out", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(folder), "MASTER_PORT": "29611"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert LINE in " ".join(done.stderr.split()), done.stderr
    assert not (tmp_path / "out").exists()
