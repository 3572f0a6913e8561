"""Every command and every snippet of the README does what it says, in the order in which it is shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny import save_model

import taskpgm as tp
from taskpgm import cli
from taskpgm.config import RunConfig, load_config
from taskpgm.exporters import EXPORTERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
pytestmark = [
    # TRL's settings set what transformers renamed; what transformers' loader says where there is no GPU
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:'pin_memory':UserWarning"),
]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def shell_commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines()]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README's examples speak of."""
    import pyarrow
    import pyarrow.parquet
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("readme")
    save_model(folder / "path" / "to" / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "path" / "to" / "model")
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder / "path" / "to" / "model")
    (folder / "bbh").mkdir()
    words = [f"{i:03d}" for i in range(80)]
    for name in ("navigate", "snarks"):
        examples = [{"input": f"{name} {word}", "target": word[:: 1 if name == "snarks" else -1]} for word in words]
        (folder / "bbh" / f"{name}.json").write_text(json.dumps({"canary": "none", "examples": examples}))
    rows = [{"question": f"{word}+1=", "answer": str(int(word) + 1)} for word in words]
    (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    roles = [[{"role": "user", "content": word}, {"role": "assistant", "content": word + word}] for word in words]
    pyarrow.parquet.write_table(pyarrow.table({"messages": roles}), folder / "chat.parquet")
    (folder / "S.csv").write_text("task,copy,echo,sort\ncopy,1,0.9,0.1\necho,0.9,1,0.1\nsort,0.1,0.1,1\n")
    (folder / "u.csv").write_text("task,utility\ncopy,0.5\necho,0.5\nsort,0.4\n")
    (folder / "run.yaml").write_text(blocks("yaml")[0])
    return folder


@pytest.fixture(scope="module")
def typed(workplace: Path) -> dict[str, object]:
    """The names that a reader has who typed the snippets, one after the other."""
    snippets = blocks("python")
    assert len(snippets) == 7
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        for snippet in snippets:
            exec(compile(snippet, "README.md", "exec"), names)
    return names


def test_the_configuration_shown_is_the_default(workplace: Path) -> None:
    shown = load_config(workplace / "run.yaml").model_dump(mode="json", exclude={"tasks", "model"})
    least = RunConfig.model_validate({"tasks": ["a", "b"], "model": {"name": "m"}})
    assert shown == least.model_dump(mode="json", exclude={"tasks", "model"})
    sections = yaml.safe_load(blocks("yaml")[0])
    assert set(sections) == set(RunConfig.model_fields)


def test_the_configuration_for_large_models_is_one(workplace: Path) -> None:
    path = workplace / "large.yaml"
    path.write_text(next(block for block in blocks("yaml") if "load_in" in block))
    shown = load_config(path)
    assert (shown.model.load_in, shown.training.micro_batch) == ("4bit", 4)


def test_the_configuration_for_cheaper_evidence_is_one(workplace: Path) -> None:
    path = workplace / "cheaper.yaml"
    path.write_text(next(block for block in blocks("yaml") if "in_context, demonstrations" in block))
    shown = load_config(path)
    assert (shown.experts.kind, shown.experts.demonstrations, shown.energy.kind) == ("in_context", 4, "pairwise")


def test_every_taskpgm_command_works(
    workplace: Path, typed: dict[str, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, where everything heavy is loaded already; test_cli runs the program as its own."""
    monkeypatch.chdir(workplace)
    commands = [line.split() for line in shell_commands() if line.startswith("taskpgm ")]
    expected = ["run", "verify", "status", "clean", "plan", "plan", "run", "report", "report", "evaluate"]
    expected += [*["export"] * 4, "solve", "verify", "solve", "compare", "decisions", "report"]
    assert [command[1] for command in commands] == expected
    for command in commands:
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None), f"{command}: {capsys.readouterr().err}"
    rows = {name: len((workplace / name).read_text().splitlines()) for name in ("axolotl.jsonl", "parts/mine.jsonl")}
    assert rows["axolotl.jsonl"] > rows["parts/mine.jsonl"] > 40


def test_the_table_of_trainers_names_every_exporter() -> None:
    section = README.split("## Into a trainer")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([a-z-]+)`", row) if name != "--to"]
    assert sorted(named) == sorted(exporter.name for exporter in EXPORTERS)


def test_every_snippet_runs(typed: dict[str, object]) -> None:
    """Typing them is what the fixture does."""
    mix = typed["mix"]
    assert isinstance(mix, tp.AdaptiveMixture)
    assert [each.step for each in mix.decisions] == [4, 8, 12, 16, 20, 24, 28, 32]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_command_installs_and_ends_with_a_certified_mixture(tmp_path: Path) -> None:
    """In a folder with nothing but the project's own files, and with a package index."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.rstrip("\0").split("\0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    command = next(line for line in shell_commands() if line.endswith("taskpgm demo"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Certified: no feasible mixture" in done.stdout
    assert (tmp_path / "taskpgm-demo" / "mixture.json").is_file()


def test_installation_commands_name_what_exists() -> None:
    """Installing takes minutes and a package index: .ci/run and a slow test do it, with the very commands here."""
    install, test = [line for line in shell_commands() if line.startswith("python -m venv")]
    assert install.endswith(".venv/bin/taskpgm demo")
    assert "'.[train]'" in install
    assert test.endswith(".venv-test/bin/python -m pytest")
    assert "<!-- test command -->" in README
    assert "README.md" in (ROOT / ".ci" / "run").read_text()
    for line in (install, test):
        assert "-c constraints.txt" in line
    named = re.findall(r"`python (benchmarks/\w+\.py)", README)
    assert named
    for path in named:
        assert (ROOT / path).is_file()


@pytest.mark.slow
def test_trl_trains_on_what_was_exported(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that the README names, for two steps."""
    monkeypatch.chdir(workplace)
    for name in ("copy", "echo", "sort"):
        rows = [{"prompt": f"{name}:{i:03d}=", "completion": f"{i:03d}"} for i in range(40)]
        Path(f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    network = tp.TaskNetwork([0.5, 0.5, 0.4], [[1, 0.9, 0.1], [0.9, 1, 0.1], [0.1, 0.1, 1]], ("copy", "echo", "sort"))
    mixture = tp.Mixture.from_solution(network, tp.solve(network, tp.SimplexQP()), unit="examples")
    tp.export(mixture, "trl", "trl.yaml", data={name: f"{name}.jsonl" for name in network.names})
    shown = re.search(r"`(trl sft [^`]+)`", README)
    assert shown is not None
    command = [str(Path(sys.executable).with_name("trl")), *shown[1].split()[1:]]
    more = ["--max_steps", "2", "--report_to", "none", "--bf16", "false"]
    done = subprocess.run([*command, *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (workplace / "runs" / "sft" / "model.safetensors").is_file()
