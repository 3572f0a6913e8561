"""Solvers in a child process: whatever they do, one answer is lost at most, and no process or pipe stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import child_methods
import numpy as np
import pytest
from child_methods import Behaving, Even, NotInstalled, Outer
from hypothesis import given
from strategies import ODD_NAMES, pairwise_networks, random_pairwise

from taskpgm.inference.child import _HELPERS, ChildError, run_in_child
from taskpgm.inference.child_helper import ClosedPipeError, packed, receive, send, unpacked
from taskpgm.inference.driver import solve
from taskpgm.inference.marginals import marginals
from taskpgm.inference.method import Deadline
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import MarginalStatus, Solution, Status

PROBLEM = random_pairwise(3, nodes=4, density=1.0)


def run(kind: str, deadline: float | None = 30.0) -> Solution:
    return solve(PROBLEM, Behaving(kind), deadline=deadline)


def is_gone(process: int) -> bool:
    """Whether a process ends within a while, with its threads; one that nobody has waited for yet counts as ended."""
    for _ in range(500):
        place = Path(f"/proc/{process}")
        try:
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z" and len(list((place / "task").iterdir())) == 1:
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(autouse=True)
def the_next_solve_is_not_affected() -> Iterator[None]:
    yield
    assert run("tells_its_process").status is Status.feasible


# --------------------------------------------------------------------------------------------------- what goes across


@given(pairwise_networks(forbidden=(0.0, 0.3), budgets=None))
def test_a_network_arrives_as_it_was_sent(network: PairwiseNetwork) -> None:
    named = PairwiseNetwork.from_factors(
        network.states.tolist(),
        [
            *(([i], values) for i, values in enumerate(network.unary)),
            *((edge, table) for edge, table in zip(network.edges.tolist(), network.tables, strict=True)),
        ],
        names=ODD_NAMES[: len(network)],
        constant=network.constant,
        levels=[2 * values - 1 for values in network.levels],
        budget=network.budget,
    )
    copy = unpacked(packed(named))
    assert (copy.names, copy.constant, copy.budget) == (named.names, named.constant, named.budget)
    assert np.array_equal(copy.edges, named.edges)
    for a, b in zip((*copy.unary, *copy.tables), (*named.unary, *named.tables), strict=True):
        assert np.array_equal(a, b)
        assert a.shape == b.shape
    for a, b in zip(copy.levels, named.levels, strict=True):
        assert np.array_equal(a, b)


def test_messages_of_any_length_arrive_whole() -> None:
    reading, writing = os.pipe()
    sent = [b"", b"x", bytes(range(256)) * 4000]
    thread = threading.Thread(target=lambda: [send(writing, data) for data in sent] and os.close(writing))
    thread.start()
    assert [receive(reading) for _ in sent] == sent
    with pytest.raises(ClosedPipeError):
        receive(reading)
    thread.join()
    os.close(reading)


def test_settings_seed_deadline_and_constant_arrive() -> None:
    values, _ = run_in_child(Outer.Echo(weights=(0.5, 2.0)), PROBLEM, Deadline(50.0), seed=11)
    assert values is not None
    assert values["stats"]["weights"] == [0.5, 2.0]
    assert values["stats"]["seed"] == 11
    assert 0.0 < values["stats"]["left"] <= 50.0
    assert values["stats"]["constant"] == PROBLEM.constant
    assert values["stats"]["hashable"]


def test_numbers_of_numpy_come_back_as_plain_ones() -> None:
    stats = run("counts_with_numpy").stats
    assert stats == {"nodes": 4, "share": 0.5, "ended": True, "each": [0, 1], "inf": np.inf}
    assert type(stats["nodes"]) is int
    assert type(stats["ended"]) is bool


def test_notes_bound_and_ties_come_back() -> None:
    clock = Deadline(30.0)
    solution = run("notes")
    assert (solution.bound, solution.ties, solution.status) == (-1e6, 2, Status.bound)
    assert len(solution.trace) == 2
    assert all(0.0 < point.seconds <= time.monotonic() - clock.start for point in solution.trace)
    assert solution.trace[-1].energy == solution.energy


def test_marginals_come_back() -> None:
    found = marginals(PROBLEM, Even())
    assert found.status is MarginalStatus.estimate
    assert found.pairs is not None
    assert found.stats["nodes"] == len(PROBLEM)
    assert found.log_partition == 0.25
    assert [node.shape for node in found.nodes] == [(count,) for count in PROBLEM.states]


# ------------------------------------------------------------------------------------------------ what solvers may do

FAILURES = {
    "aborts": "signal 6 (Aborted)",
    "is_killed": "out of memory?",
    "exits": "exit code 1 before it answered",
    "vanishes": "exit code 0 before it answered",
    "raises": "ZeroDivisionError: one line",
    "counts_with_objects": "an answer holds an object of type object",
    "asks_for_too_much": "MemoryError",
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_solver_that_fails_costs_one_answer(kind: str) -> None:
    solution = run(kind)
    assert solution.status is Status.failed
    assert FAILURES[kind] in solution.message
    assert len(solution.message.splitlines()) == 1


@pytest.mark.parametrize("kind", ["prints", "says_much"])
def test_what_a_solver_prints_and_how_much_it_says_is_no_matter(kind: str) -> None:
    solution = run(kind)
    assert solution.status is Status.feasible
    assert solution.point is not None
    assert len(solution.message) == (3_000_000 if kind == "says_much" else 0)


def test_a_solver_that_overstays_its_deadline_is_killed() -> None:
    solution = run("sleeps", deadline=0.2)
    assert solution.status is Status.timeout
    assert "stopped at the deadline" in solution.message


def test_memory_is_that_of_the_solve() -> None:
    run("tells_its_process")  # so that the helper has grown
    large, small = run("allocates").memory, run("tells_its_process").memory
    assert large is not None
    assert small is not None
    assert 200e6 < large < 400e6
    assert small < 50e6


def test_a_solver_that_is_not_installed_is_a_failed_solve() -> None:
    solution = solve(PROBLEM, NotInstalled())
    assert solution.status is Status.failed
    assert "No module named 'a_solver_that_nobody_has'" in solution.message


def test_a_method_of_the_main_module_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Behaving, "__module__", "__main__")
    with pytest.raises(ChildError, match="define it in a module"):
        run_in_child(Behaving("notes"), PROBLEM, Deadline(1.0), 0)


# ------------------------------------------------------------------------------------------- helpers that come and go


def test_every_solve_is_a_process_of_its_own_with_one_helper() -> None:
    first, second = run("tells_its_process").stats, run("tells_its_process").stats
    assert first["helper"] == second["helper"]
    assert len({first["process"], second["process"], first["helper"], os.getpid()}) == 4


def test_a_helper_killed_between_solves_is_replaced() -> None:
    helper = run("tells_its_process").stats["helper"]
    os.kill(helper, signal.SIGKILL)
    assert is_gone(helper)
    assert run("tells_its_process").stats["helper"] != helper


def test_a_helper_killed_during_a_solve_takes_the_solve_along() -> None:
    helper = run("tells_its_process").stats["helper"]
    found: list[Solution] = []
    thread = threading.Thread(target=lambda: found.append(run("sleeps")))
    thread.start()
    solver = child_of(helper)
    os.kill(helper, signal.SIGKILL)
    thread.join()
    assert found[0].status is Status.failed
    assert "the next solve starts a new one" in found[0].message
    assert is_gone(solver)


def child_of(process: int) -> int:
    """The process that another has forked, once it has."""
    for _ in range(500):
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.02)
    raise AssertionError(f"process {process} has no child")


def test_an_interrupt_while_waiting_ends_the_solve() -> None:
    helper = run("tells_its_process").stats["helper"]
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        run("sleeps")
    assert is_gone(helper)
    answers = [run_in_child(Outer.Echo(), PROBLEM, Deadline(30.0), seed)[0] for seed in range(3)]
    assert [answer["stats"]["seed"] for answer in answers if answer is not None] == [0, 1, 2]
    interrupt.join()


def test_threads_get_their_own_answers() -> None:
    def seeds_back(seed: int) -> int:
        values, _ = run_in_child(Outer.Echo(weights=(float(seed),)), PROBLEM, Deadline(30.0), seed)
        assert values is not None
        assert values["stats"]["weights"] == [float(seed)]
        return int(values["stats"]["seed"])

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(seeds_back, range(12))) == list(range(12))
    assert len(_HELPERS.all) == len(_HELPERS.idle) <= 4


def test_a_fork_of_this_process_has_helpers_of_its_own() -> None:
    helper = run("tells_its_process").stats["helper"]
    process = os.fork()
    if process == 0:
        code = 1
        try:
            own = run("tells_its_process")
            code = 0 if own.status is Status.feasible and own.stats["helper"] != helper else 2
            _HELPERS.stop()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert run("tells_its_process").stats["helper"] == helper


SCRIPT = """
import os, sys, time
sys.path.insert(0, {tests!r})
from child_methods import Behaving
from strategies import random_pairwise
from taskpgm.inference.driver import solve

def helper():
    return solve(random_pairwise(3, nodes=4), Behaving("tells_its_process"), deadline=30.0).stats["helper"]

print(helper(), flush=True)
"""


def script(text: str) -> subprocess.Popen[str]:
    source = SCRIPT.format(tests=str(Path(child_methods.__file__).parent)) + text
    command = [sys.executable, "-W", "error", "-c", source]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_end_of_the_program_leaves_no_process_behind() -> None:
    forks = "if os.fork() == 0:\n    sys.exit()\nos.wait()\nprint(helper(), flush=True)\n"
    output, errors = script(forks).communicate(timeout=60)
    first, again = map(int, output.split())
    assert first == again  # a fork that ended did not take the helper along
    assert is_gone(first)
    assert errors == ""


def test_a_program_that_is_killed_leaves_no_process_behind() -> None:
    with script("solve(random_pairwise(3, nodes=4), Behaving('sleeps'))\n") as program:
        assert program.stdout is not None
        helper = int(program.stdout.readline())
        solver = child_of(helper)
        program.kill()
        assert is_gone(helper)
        assert is_gone(solver)


def test_importing_the_package_starts_nothing() -> None:
    code = "import taskpgm.inference.child as child; print(child._HELPERS.all)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
