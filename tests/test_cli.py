"""The command line: what it prints and exits with, one line for every mistake, and imports that point one way."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from tiny import write_config

import taskpgm as tp
from taskpgm.exact_path import effective_tasks
from taskpgm.types import Example

Call = Callable[..., tuple[int, str, str]]
S = "task,copy,écho 😀,sort\ncopy,1,0.9,0.1\nécho 😀,0.9,1,0.2\nsort,0.1,0.2,1\n"
U = "task,utility\ncopy,0.5\nécho 😀,0.4\nsort,0.3\n"
HEAVY = ("torch", "transformers", "datasets", "peft", "cvxpy", "pgmpy", "numba", "pandas")


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    """The options of `solve` for two good tables in the test's folder."""
    (tmp_path / "S.csv").write_text(S, encoding="utf-8")
    (tmp_path / "u.csv").write_text(U, encoding="utf-8")
    return ["--similarity", str(tmp_path / "S.csv"), "--utility", str(tmp_path / "u.csv")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, and tasks of which `long` has one held-out example beyond the window of 48 tokens."""
    folder = tmp_path_factory.mktemp("project")
    write_config(folder)
    prompts = ("x" * 60 + str(i) for i in range(1000))
    chosen = next(one for one in prompts if int(Example(one, "y").digest[:13], 16) / 16**13 < 0.15)
    rows = (folder / "tasks" / "copy.jsonl").read_text()
    (folder / "tasks" / "long.jsonl").write_text(rows + "\n" + json.dumps({"prompt": chosen, "completion": "y"}))
    return folder


def one_line(result: tuple[int, str, str]) -> str:
    """The error of a call that was refused as it should be."""
    code, printed, error = result
    assert (code, printed) == (2, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert error.endswith("\n")
    return error


# ------------------------------------------------------------------------------------------------------ solve, verify


def test_solve_prints_a_table_and_a_proof(call: Call, tables: list[str]) -> None:
    code, printed, error = call("solve", *tables)
    assert (code, error) == (0, "")
    for text in ("copy", "écho 😀 (0.90)", "sort", "beta", "every weight at least 0.06667", "Certified: "):
        assert text in printed


def test_solve_prints_json_that_verify_proves(call: Call, tables: list[str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "mixture.json"
    code, printed, _ = call("solve", *tables, "--json", "--out", path, "--floor", "0.3", "--tau", "0.1")
    assert code == 0
    assert json.loads(printed) == json.loads(path.read_text(encoding="utf-8"))
    weights = json.loads(printed)["weights"]
    assert list(weights) == ["copy", "écho 😀", "sort"]
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-12)
    assert min(weights.values()) >= 0.1
    code, printed, _ = call("verify", path)
    assert (code, printed.splitlines()[-1]) == (0, "Proved.")
    code, printed, _ = call("verify", path, "--json")
    assert code == 0
    assert [check["name"] for check in json.loads(printed)["checks"]] == ["feasible", "energy", "gap", "claim"]


def test_options_reach_the_energy(call: Call, tables: list[str]) -> None:
    *_, free = (json.loads(call("solve", *tables, "--json", *more)[1]) for more in ([], ["--floor", "0"]))
    assert free["network"]["lower"] == [0.0, 0.0, 0.0]
    chosen = json.loads(call("solve", *tables, "--json", "--beta", "0", "--lam", "2", "--tau", "0.5")[1])["network"]
    assert (chosen["beta"], chosen["lam"], chosen["tau"]) == (0.0, 2.0, 0.5)
    uniform = json.loads(call("solve", *tables, "--json", "--floor", "1")[1])["weights"]
    assert list(uniform.values()) == pytest.approx([1 / 3] * 3, abs=1e-12)


def test_utilities_are_matched_by_name(call: Call, tables: list[str], tmp_path: Path) -> None:
    expected = call("solve", *tables, "--json")
    header, *rows = U.splitlines()
    (tmp_path / "u.csv").write_text("\r\n".join([header, "", *rows[::-1]]), encoding="utf-8-sig")
    assert call("solve", *tables, "--json") == expected


@pytest.mark.parametrize(
    "changes",
    [
        {("weights", "copy"): 1e-3, ("weights", "sort"): -1e-3},  # still a mixture
        {("weights", "copy"): 1e-3},
        {("certificate", "energy"): -1e-3},
        {("certificate", "bound"): 1e-3},
        {("network", "similarity", 0, 0): 1e-3},
        {("network", "similarity", 0, 2): 1e-3, ("network", "similarity", 2, 0): 1e-3},
        {("network", "utility", 1): 1e-3},
        {("network", "lam"): -1e-3},
    ],
)
def test_a_changed_mixture_is_not_proved(
    call: Call, tables: list[str], tmp_path: Path, changes: dict[Any, float]
) -> None:
    path = tmp_path / "mixture.json"
    call("solve", *tables, "--out", path)
    value = json.loads(path.read_text(encoding="utf-8"))
    for (*outer, last), change in changes.items():
        functools.reduce(lambda section, part: section[part], outer, value)[last] += change
    path.write_text(json.dumps(value))
    code, printed, error = call("verify", path)
    assert (code, printed.splitlines()[-1], error) == (1, "Not proved.", "")
    assert json.loads(call("verify", path, "--json")[1])["proved"] is False


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "not valid JSON"),
        ("[]", "not a taskpgm-mixture/3 file"),
        ('{"format": "taskpgm-mixture/3"}', "damaged mixture file"),
        ('{"format": "taskpgm-mixture/4"}', "not a taskpgm-mixture/3 file"),
        (b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_a_damaged_mixture_file_is_one_line(call: Call, tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "mixture.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = one_line(call("verify", path))
    assert message in error
    assert str(path) in error


def test_a_mixture_with_a_part_missing_is_never_proved(call: Call, tables: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mixture.json"
    call("solve", *tables, "--out", path)
    whole = json.loads(path.read_text(encoding="utf-8"))
    for section in (whole, whole["certificate"], whole["network"], whole["weights"]):
        for key in sorted(section.keys() - {"lam", "tau", "prior", "upper"}):  # these have their default values
            value = section.pop(key)
            path.write_text(json.dumps(whole))
            code, _, error = call("verify", path)
            assert (code, error.count("\n")) in ((2, 1), (1, 0)), key
            section[key] = value


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("s", "u", "message"),
    [
        (S, U.replace("0.4", "nan"), "u.csv, task 'écho 😀': nan is not a finite number."),
        (S, U.replace("0.4", "-inf"), "u.csv, task 'écho 😀': -inf is not a finite number."),
        (S, U.replace("0.4", "high"), "u.csv, task 'écho 😀': 'high' is not a number."),
        (S, U.replace("sort", "sorted"), "u.csv: no utility for task 'sort'; both files must name the same tasks."),
        (S, U + "more,1\n", "u.csv: 'more' is not in the similarity matrix"),
        (S, U + "copy,1\n", "u.csv, row 5: duplicate task name 'copy'."),
        (S, U + "more\n", "u.csv, row 5: expected a task name and a number, found 1 cells."),
        (S, "task,utility\n", "u.csv: expected a header row"),
        (S, U + '"' + "x" * 200_000, "u.csv, line 5: not valid CSV"),
        (S, U.encode("utf-16"), "u.csv: not UTF-8 text"),
        (S.replace("sort,0.1", "sort,0.3"), U, "similarity is not symmetric: 'copy', 'sort' is 0.1 one way and 0.3"),
        (S.replace("sort,0.1,0.2,1\n", ""), U, "S.csv: 3 tasks in the header but 2 rows below it."),
        (S.replace("0.1,0.2,1", "0.1,0.2"), U, "S.csv, row 4: 2 numbers for 3 tasks."),
        (S.replace("0.9,0.1", "0.9,"), U, "S.csv, row 2, column 'sort': '' is not a number."),
        (
            S.replace("sort,0.1", "sorted,0.1"),
            U,
            "S.csv, row 4: named 'sorted', but column 4 is 'sort'; use one order.",
        ),
        (S.replace("écho 😀", "copy"), "task,u\ncopy,1\nsort,2\n", "duplicate task name 'copy'"),
        ("task,copy\ncopy,1\n", "task,u\ncopy,1\n", "one task only: a mixture needs at least two tasks."),
        ("", U, "S.csv: expected a header row"),
    ],
)
def test_bad_tables_are_one_line(
    call: Call, tables: list[str], tmp_path: Path, s: str, u: str | bytes, message: str
) -> None:
    (tmp_path / "S.csv").write_text(s, encoding="utf-8")
    (tmp_path / "u.csv").write_bytes(u if isinstance(u, bytes) else u.encode())
    assert message in one_line(call("solve", *tables))


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--beta", "nan"], "beta = nan"), (["--lam", "inf"], " = inf"), (["--rho", "inf"], "beta")],
)
def test_bad_numbers_are_one_line(call: Call, tables: list[str], options: list[str], message: str) -> None:
    assert message in one_line(call("solve", *tables, *options))


def test_solve_keeps_a_feasible_set_from_a_file(call: Call, tables: list[str], tmp_path: Path) -> None:
    path, out = tmp_path / "feasible.yaml", tmp_path / "mixture.json"
    path.write_text("floor: 0.1\ngroups: {first: {tasks: [copy, écho 😀], upper: 0.3}}\n", encoding="utf-8")
    code, printed, _ = call("solve", *tables, "--feasible", path, "--out", out)
    assert code == 0
    assert "Binds: at most 0.3 for group 'first': one percent more" in printed
    assert "Without bounds and constraints the energy would be lower by" in printed
    stored = json.loads(out.read_text())
    assert stored["weights"]["copy"] + stored["weights"]["écho 😀"] == pytest.approx(0.3, abs=1e-12)
    assert stored["details"]["constraints"]["binding"][0]["constraint"] == "at most 0.3 for group 'first'"
    assert call("verify", out)[0] == 0
    path.write_text("grups: {}\n")
    assert "did you mean 'groups'?" in one_line(call("solve", *tables, "--feasible", path))


@pytest.mark.parametrize(
    ("way", "done"), [("shift", "shifted"), ("project", "projected"), ("global", "searched globally")]
)
def test_what_to_do_with_indefinite_similarities_is_asked(call: Call, tables: list[str], way: str, done: str) -> None:
    path = Path(tables[1])
    path.write_text(S.replace("0.9", "1.9"), encoding="utf-8")
    assert "not convex" in one_line(call("solve", *tables))
    code, printed, _ = call("solve", *tables, "--indefinite", way)
    assert code == 0
    assert f"{done}: the least energy of your numbers lies between" in printed
    assert "expected refuse, shift, project, global" in one_line(call("solve", *tables, "--indefinite", "hope"))


def test_solve_chooses_by_rule_reports_it_and_draws_the_path(call: Call, tables: list[str], tmp_path: Path) -> None:
    out, picture = tmp_path / "mixture.json", tmp_path / "path.svg"
    code, printed, error = call(
        "solve", *tables, "--choose", "effective-tasks=2.2", "--out", out, "--plot-path", picture
    )
    assert (code, error) == (0, f"Drawn to {picture}.\n")
    assert "Chosen by rule: the most utility that 2.2 effective tasks leave room for" in printed
    stored = json.loads(out.read_text())
    assert stored["details"]["choice"]["rule"] == {"effective_tasks": 2.2}
    assert stored["details"]["choice"]["beta"] == stored["network"]["beta"]
    assert float(effective_tasks(list(stored["weights"].values()))) == pytest.approx(2.2, abs=1e-6)
    assert call("verify", out)[0] == 0
    assert "<svg" in picture.read_text(encoding="utf-8")
    code, printed, _ = call("solve", *tables, "--choose", "nearest_prior=0.8", "--out", out, "--floor", "0")
    assert "the mixture nearest to the prior whose mean utility is 0.48" in printed
    assert call("verify", out)[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--choose", "elbow"], "choose 'elbow': expected effective_tasks=NUMBER"),
        (["--choose", "effective_tasks=9"], "9 effective tasks: this network's mixtures have"),
        (["--choose", "knee", "--beta", "1"], "give --beta or --choose, not both"),
        (["--plot-path", "path.jpg"], "plots are written as"),
    ],
)
def test_a_wrong_rule_or_picture_is_one_line(call: Call, tables: list[str], options: list[str], message: str) -> None:
    assert message in one_line(call("solve", *tables, *options))


# -------------------------------------------------------------------------------------------------------------- report


def test_report_makes_a_page_of_what_solve_wrote(call: Call, tables: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mixture.json"
    call("solve", *tables, "--out", path)
    code, printed, error = call("report", path)
    assert (code, printed, error) == (0, f"Written to {tmp_path / 'mixture.html'}.\n", "")
    assert "écho 😀" in (tmp_path / "mixture.html").read_text(encoding="utf-8")
    code, printed, _ = call("report", tmp_path, "--out", tmp_path / "new" / "page.html", "--json")
    told = json.loads(printed)
    assert code == 0
    assert told["written"] == [str(tmp_path / "new" / "page.html")]
    assert told["proved"] is True
    assert told["charts"]["names"] == ["copy", "écho 😀", "sort"]
    assert (tmp_path / "new" / "page.html").is_file()
    assert not (tmp_path / "report.html").exists()


def test_report_draws_figures_and_prints_a_table(call: Call, tables: list[str], tmp_path: Path) -> None:
    call("solve", *tables, "--out", tmp_path / "mixture.json")
    code, printed, error = call("report", tmp_path, "--figures", tmp_path / "f", "--format", "svg", "--table", "latex")
    assert code == 0
    assert printed.startswith("\\begin{table}")
    assert [line.split("/")[-1] for line in error.splitlines()] == [
        "report.html.",
        *("mixture.svg.", "similarity.svg.", "map.svg.", "path.svg."),
    ]
    assert "<svg" in (tmp_path / "f" / "mixture.svg").read_text(encoding="utf-8")
    assert "| écho 😀 |" in call("report", tmp_path, "--table", "markdown")[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "gif"], "format 'gif': figures are written as png, svg, pdf"),
        (["--table", "word"], "--table 'word': use one of latex, markdown"),
        (["--table", "latex", "--json"], "give --table or --json, not both"),
    ],
)
def test_a_report_that_cannot_be_is_one_line(
    call: Call, tables: list[str], tmp_path: Path, options: list[str], message: str
) -> None:
    assert "holds no mixture.json: finish the run first" in one_line(call("report", tmp_path))
    assert "none.json: no such file" in one_line(call("report", tmp_path / "none.json"))
    call("solve", *tables, "--out", tmp_path / "mixture.json")
    assert message in one_line(call("report", tmp_path, *options))
    assert not (tmp_path / "report.html").exists()
    (tmp_path / "evaluation.json").write_text("{}")
    assert "evaluation.json: not a taskpgm-evaluation/1 file" in one_line(call("report", tmp_path))


def test_a_name_with_half_a_character_is_written_and_read(call: Call, tables: list[str], tmp_path: Path) -> None:
    network = tp.TaskNetwork([0.5, 0.4], [[1.0, 0.2], [0.2, 1.0]], ("half \ud83d", "whole"))
    path = tmp_path / "mixture.json"
    tp.Mixture.from_solution(network, tp.solve(network, tp.SimplexQP())).to_json(path)
    assert call("verify", path)[0] == 0
    assert call("report", path)[0] == 0
    assert "half \ufffd" in (tmp_path / "mixture.html").read_text(encoding="utf-8").replace("&#55357;", "\ufffd")


def test_a_table_that_is_not_there_is_one_line(call: Call, tables: list[str], tmp_path: Path) -> None:
    assert "none.csv: no such file" in one_line(call("solve", *tables[:3], tmp_path / "none.csv"))
    assert "cannot be read" in one_line(call("solve", *tables[:3], tmp_path))


@pytest.mark.parametrize(
    "command", [["frob"], ["solve"], ["solve", "--flor", "1"], ["solve", "--floor", "1.5"], ["run"]]
)
def test_bad_usage_exits_with_2_and_no_traceback(call: Call, command: list[str]) -> None:
    code, printed, error = call(*command)
    assert (code, printed) == (2, "")
    assert "Error: " in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"name": "./nowhere"}}, "nowhere': no such folder."),
        ({"model": {"name": "nowhere/at-all"}}, "for a hub model pin model.revision"),
        ({"model": {"name": "tasks"}}, "no config.json"),
        ({"feasible": {"upper": dict.fromkeys(("copy", "upper", "reverse"), 0.2)}}, "no mixture is feasible"),
        ({"feasible": {"floor": 0.9, "upper": {"copy": 0.1}}}, "task 'copy': lower bound 0.3 is above its upper bound"),
        ({"feasible": {"fixed": {"zebra": 0.1}}}, "feasible.fixed: 'zebra' is not a task"),
        (
            {"feasible": {"max_epochs": 2.0}},
            "feasible.max_epochs: how often data is repeated depends on mixture.budget",
        ),
        (
            {"feasible": {"groups": {"two": {"tasks": ["copy", "upper"], "lower": 0.95}}}},
            "at least 0.95 for group 'two'",
        ),
        ({"feasible": {"groups": {"two": {"taks": ["copy"]}}}}, "feasible.groups.two.taks: unknown key"),
        ({"training": {"stepz": 1}}, "run.yaml: training.stepz: unknown key; did you mean 'steps'?"),
        ({"tasks": ["tasks/copy.jsonl"]}, "1 task(s) only"),
        ({"tasks": ["tasks/copy.jsonl", "tasks/none.jsonl"]}, "none.jsonl: no such file."),
        (
            {"tasks": ["tasks/copy.jsonl", "tasks/long.jsonl"]},
            "task 'long': 1 probe example(s) are longer than the window of 48",
        ),
    ],
)
def test_a_run_that_cannot_work_is_one_line(
    call: Call, project: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    assert message in one_line(call("run", write_config(project, **changes), "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_missing_configuration_is_one_line(call: Call, tmp_path: Path) -> None:
    assert one_line(call("run", tmp_path / "no.yaml")) == f"error: {tmp_path / 'no.yaml'}: no such file.\n"


# ------------------------------------------------------------------------------------------------ as its own process


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_the_module_runs_as_a_program(tables: list[str], tmp_path: Path) -> None:
    path = str(tmp_path / "mixture.json")
    solved = process("-m", "taskpgm", "solve", *tables, "--out", path)
    assert (solved.returncode, solved.stderr) == (0, "")
    assert process("-m", "taskpgm", "verify", path).returncode == 0
    refused = process("-m", "taskpgm", "verify", path + "x")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"error: {path}x: no such file.\n"


def test_a_library_adds_nothing_to_the_one_line(project: Path, tmp_path: Path) -> None:
    config = str(write_config(project, tasks=["tasks/copy.jsonl", "tasks/long.jsonl"]))
    ended = process("-m", "taskpgm", "run", config, "--out", str(tmp_path / "out"))
    assert "task 'long'" in one_line((ended.returncode, ended.stdout, ended.stderr))


@pytest.mark.parametrize("start", ["import taskpgm", "from taskpgm.cli import main"])
def test_starting_imports_nothing_heavy(start: str) -> None:
    help_page = "import contextlib, sys; sys.argv = ['taskpgm', '--help']\nwith contextlib.suppress(SystemExit): main()"
    code = f"{start}\n{help_page if 'main' in start else 'import sys'}\nprint('loaded', *sys.modules)"
    ended = process("-c", code)
    assert ended.returncode == 0, ended.stderr
    loaded = set(ended.stdout.split("loaded", 1)[1].split())
    assert "taskpgm" in loaded
    assert not loaded & set(HEAVY)


# ------------------------------------------------------------------------------------------------------------- imports

PACKAGE = Path(tp.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
STAGES = ("types", "tasks", "experts", "predictive", "divergences", "utilities", "affinity")
PGM_STAGES = ("network", "judge", "inference", "mixture")
ORDER = (*STAGES, *PGM_STAGES, "cli")
MODEL_HALF = {
    f"taskpgm.{name}"
    for name in (
        "experts",
        "predictive",
        "tasks",
        "suite",
        "tokens",
        "base",
        "forward",
        "sampling",
        "training_run",
        "evaluation",
        "evaluated_mixtures",
        "evaluation_run",
        "suite_run",
    )
}
PGM_HALF = [
    name for name in sorted(MODULES) if (*name.split("."), "")[1] in (*PGM_STAGES, "levels", "pgm", "exact", "tables")
]
MODEL_LIBRARIES = {"transformers", "torch", "datasets", "peft", "tokenizers", "accelerate"}


def imports(module: str, everywhere: bool) -> Iterator[str]:
    """What a module imports when it is loaded, and `everywhere`: in its functions too. Types alone do not count."""
    pending: list[ast.AST] = [ast.parse(MODULES[module].read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in inner)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending.extend(node.orelse)
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            allowed = module == "taskpgm.mixture" and getattr(node, "name", "") == "interleave"
            pending.extend([] if allowed else ast.iter_child_nodes(node))


def reached(module: str, everywhere: bool) -> set[str]:
    """All modules that a module of ours needs, however indirectly, itself included."""
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(imports(name, everywhere) if name in MODULES else [])
    return found


def test_no_two_modules_import_each_other() -> None:
    graph = {name: {other for other in imports(name, False) if other in MODULES} - {name} for name in MODULES}
    assert sum(map(len, graph.values())) > 50
    assert len(tuple(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize("stage", ORDER)
def test_imports_point_one_way(stage: str) -> None:
    later = {f"taskpgm.{name}" for name in ORDER[ORDER.index(stage) + 1 :]}
    for module in (name for name in MODULES if f"{name}.".startswith(f"taskpgm.{stage}.")):
        assert not {".".join(name.split(".")[:2]) for name in reached(module, False)} & later


@pytest.mark.parametrize("module", PGM_HALF)
def test_the_pgm_half_works_without_the_model_half(module: str) -> None:
    needed = reached(module, everywhere=True)
    assert not needed & MODEL_HALF
    assert not {name.split(".")[0] for name in needed} & MODEL_LIBRARIES


def test_the_check_of_imports_sees_lazy_ones() -> None:
    assert "torch" in reached("taskpgm.cli", everywhere=True)
    assert "torch" not in reached("taskpgm.cli", everywhere=False)
    assert len(PGM_HALF) >= 12
