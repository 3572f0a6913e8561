"""Files of others: round trips, what other programs make of ours, and one clear line for every broken file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from oracles import least_pairwise_energy, pairwise_points
from strategies import ODD_NAMES, pairwise_networks, random_pairwise

from taskpgm.formats import read_cfn, read_network, read_uai, read_wcsp, write_network, write_uai, write_wcsp
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import InputError

ANY = pairwise_networks(forbidden=(0.0, 0.3), max_nodes=4)


def energies(network: PairwiseNetwork) -> np.ndarray:
    return np.array([network.energy(s) for s in pairwise_points(network)])


def same_up_to_a_constant(one: PairwiseNetwork, other: PairwiseNetwork, tolerance: float) -> bool:
    a, b = energies(one), energies(other)
    finite = np.isfinite(a)
    if not (finite == np.isfinite(b)).all():
        return False
    difference = a[finite] - b[finite]
    return bool(np.ptp(difference) <= tolerance) if finite.any() else True


@given(network=pairwise_networks(forbidden=(0.0, 0.3), max_nodes=4, scales=(1.0, 1e-3, 30.0)))
def test_a_uai_file_keeps_the_distribution(network: PairwiseNetwork, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("uai") / "model.uai"
    write_network(network, path)
    back = read_network(path)
    assert back.states.tolist() == network.states.tolist()
    assert same_up_to_a_constant(back, network, 1e-11 * (1.0 + network.rounding / 1e-15))


@given(network=ANY)
def test_a_cfn_file_keeps_everything(network: PairwiseNetwork, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cfn") / "model.cfn"
    write_network(network, path)
    back = read_network(path)
    assert back.names == network.names
    a, b = energies(back), energies(network)
    np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
    np.testing.assert_allclose(a[np.isfinite(a)], b[np.isfinite(b)], atol=network.rounding + 1e-12)


@given(network=ANY)
def test_a_wcsp_file_keeps_whole_costs(network: PairwiseNetwork, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("wcsp") / "model.wcsp"
    error = write_wcsp(network, path, decimals=4)
    back = read_wcsp(path).scaled(1e-4)
    assert same_up_to_a_constant(back, network, 2.0 * error + network.rounding + 1e-9)


def test_unicode_names_survive(tmp_path: Path) -> None:
    network = PairwiseNetwork.from_factors([2] * 4, [([0, 1], np.eye(2))], names=ODD_NAMES[:4])
    write_network(network, tmp_path / "model.cfn")
    assert read_cfn(tmp_path / "model.cfn").names == tuple(ODD_NAMES[:4])


def test_pgmpy_reads_what_we_write(tmp_path: Path) -> None:
    """Its reader knows no exponents, so the potentials here need none."""
    network = PairwiseNetwork.from_factors([2, 3], [([0], [0.0, 1.0]), ([0, 1], np.log([[1.0, 2, 4], [2.0, 1, 2]]))])
    write_uai(network, tmp_path / "model.uai")
    code = (
        "import sys, warnings; warnings.simplefilter('ignore');"
        "from pgmpy.readwrite import UAIReader; from pgmpy.inference import VariableElimination;"
        "model = UAIReader(sys.argv[1]).get_model();"
        "print(VariableElimination(model).map_query(['var_0', 'var_1'], show_progress=False))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "model.uai"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = eval(done.stdout)
    states = [int(found["var_0"]), int(found["var_1"])]
    assert network.energy(states) == pytest.approx(least_pairwise_energy(network))


@pytest.mark.parametrize("ending", [".cfn", ".wcsp"])
@pytest.mark.parametrize("seed", range(3))
def test_toulbar2_proves_the_same_optimum_of_our_files(ending: str, seed: int, tmp_path: Path) -> None:
    pytest.importorskip("pytoulbar2")
    network = random_pairwise(seed, nodes=6, forbidden=0.1 * seed)
    path = tmp_path / f"model{ending}"
    write_network(network, path)
    code = (
        "import sys, pytoulbar2;"
        "problem = pytoulbar2.CFN(resolution=6); problem.Read(sys.argv[1]);"
        "answer = problem.Solve(showSolutions=0); print('ANSWER', list(answer[0]))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    line = next((line for line in done.stdout.splitlines() if line.startswith("ANSWER")), done.stderr)
    states = json.loads(line.removeprefix("ANSWER "))
    assert network.energy(states) == pytest.approx(least_pairwise_energy(network), abs=1e-4)


def test_evidence_is_conditioning(tmp_path: Path) -> None:
    network = random_pairwise(3, nodes=4)
    write_uai(network, tmp_path / "model.uai")
    (tmp_path / "model.uai.evid").write_text("1\n2 0\n")
    given_evidence = read_uai(tmp_path / "model.uai", tmp_path / "model.uai.evid")
    assert same_up_to_a_constant(given_evidence, network.conditioned({"node 2": 0}), 1e-11)


def test_a_bayesian_network_of_pairs_is_read(tmp_path: Path) -> None:
    (tmp_path / "b.uai").write_text("BAYES\n2\n2 2\n2\n1 0\n2 0 1\n\n2\n.4 .6\n\n4\n.1 .9\n1e-1 9.0E-1\n")
    network = read_uai(tmp_path / "b.uai")
    assert np.exp(-energies(network)).sum() == pytest.approx(1.0)


def test_a_factor_graph_has_its_first_variable_fastest(tmp_path: Path) -> None:
    text = "# a comment\n1\n\n2\n4 7\n2 3\n5\n0 1\n1 2\n2 3\n3 4\n5 6\n"
    (tmp_path / "g.fg").write_text(text)
    network = read_network(tmp_path / "g.fg")
    assert network.names == ("x4", "x7")
    np.testing.assert_allclose(np.exp(-network.tables[0]), [[1, 3, 0], [2, 4, 6]])


def test_costs_at_the_upper_bound_are_forbidden(tmp_path: Path) -> None:
    (tmp_path / "m.wcsp").write_text("name 2 2 2 10\n2 2\n2 0 1 3 1\n0 0 10\n1 0 2 1\n1 4\n")
    network = read_wcsp(tmp_path / "m.wcsp")
    assert np.isinf(network.energy([0, 0]))
    assert network.energy([1, 1]) == 7.0
    cfn = {
        "problem": {"name": "m", "mustbe": "<9.5"},
        "variables": {"a": ["no", "yes"], "b": 2},
        "functions": {
            "f": {"scope": ["a", "b"], "defaultcost": 1.5, "costs": ["yes", 0, 9.5]},
            "g": {"scope": [1], "costs": [0.25, "inf"]},
            "h": {"scope": [], "costs": [3]},
        },
    }
    (tmp_path / "m.cfn").write_text(json.dumps(cfn))
    network = read_cfn(tmp_path / "m.cfn")
    assert network.energy([0, 0]) == 4.75
    assert np.isinf(network.energy([1, 0]))
    assert np.isinf(network.energy([0, 1]))


UAI = "MARKOV\n2\n2 2\n2\n1 0\n2 0 1\n2\n.5 .5\n4\n1 2 3 4\n"
CFN = {"problem": {"name": "m", "mustbe": "<9"}, "variables": {"a": 2, "b": 2}, "functions": {}}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.uai", "", "ends where MARKOV or BAYES should be"),
        ("m.uai", UAI[:-4], "ends where an entry of factor 1 should be"),
        ("m.uai", "NOISE\n1\n", "line 1: starts with 'NOISE'"),
        ("m.uai", UAI.replace("4\n1 2", "5\n1 2"), "factor 1 has 5 entries, but its variables have 4 states"),
        ("m.uai", UAI.replace("1 2 3", "1 -2 3"), "factor 1 has a value that is negative"),
        ("m.uai", UAI.replace("1 2 3", "1 nan 3"), "line 10: an entry of factor 1 is nan"),
        ("m.uai", UAI.replace("1 2 3", "1 two 3"), "found 'two'"),
        ("m.uai", UAI.replace("2 0 1", "2 0 2"), "over variables [0, 2]; there are 2"),
        ("m.uai", "MARKOV\n3\n2 2 2\n1\n3 0 1 2\n8\n1 1 1 1 1 1 1 1\n", "only networks of pairs can be read"),
        ("m.uai", "MARKOV\n1.5\n", "expected the number of variables, a whole number"),
        ("m.uai", "\udcff\udcfe", "not UTF-8"),
        ("m.wcsp", "x 2 2 1 9\n2 2\n3 0 1 1 0 0\n", "over 3 variables"),
        ("m.wcsp", "x 2 2 1 9\n2 2\n2 0 1 -1 salldiff\n", "is given by a formula"),
        ("m.wcsp", "x 2 2 1 9\n2 2\n1 0 0 1\n2 1\n", "names the values [2]"),
        ("m.fg", "1\n1\n0\n2\n1\n5 1\n", "place 5 in factor 0"),
        ("m.fg", "2\n1\n0\n2\n0\n1\n0\n3\n0\n", "has 3 states here and 2 before"),
        ("m.cfn", "{", "not valid JSON"),
        ("m.cfn", "[]", "not a CFN file"),
        ("m.cfn", json.dumps({**CFN, "problem": {"mustbe": ">1"}}), "to be maximised"),
        ("m.cfn", json.dumps({**CFN, "functions": {"f": {"scope": ["c"], "costs": [1, 2]}}}), "unknown variable"),
        ("m.cfn", json.dumps({**CFN, "functions": {"f": {"scope": ["a"], "costs": [1]}}}), "has 1 costs"),
        (
            "m.cfn",
            json.dumps({**CFN, "functions": {"f": {"scope": ["a"], "costs": [1, True]}}}),
            "which is not a number",
        ),
        ("m.cfn", json.dumps({**CFN, "functions": {"f": {"type": "knapsack"}}}), "only tables of costs"),
        ("m.xml", "", "must end in .uai"),
    ],
)
def test_broken_files_are_named_in_one_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as error:
        read_network(tmp_path / name)
    assert message in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_network(tmp_path / "none.uai")


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"write network.folded\(\)"):
        write_network(random_pairwise(1, budget=True), tmp_path / "m.cfn")
    wide = PairwiseNetwork.from_factors([2], [([0], [0.0, 1000.0])])
    with pytest.raises(InputError, match=r"'node 0' lie 1e\+03 apart; write \.cfn"):
        write_network(wide, tmp_path / "m.uai")
    with pytest.raises(InputError, match="use fewer decimals"):
        write_wcsp(wide, tmp_path / "m.wcsp", decimals=17)
    assert list(tmp_path.iterdir()) == []


@given(pairwise_networks(max_nodes=3, budgets=True))
@settings(max_examples=10)
def test_a_folded_budget_can_be_written(network: PairwiseNetwork) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.cfn"
        write_network(network.folded(), path)
        assert least_pairwise_energy(read_network(path)) == pytest.approx(
            least_pairwise_energy(network), abs=network.folded().rounding + 1e-9
        )
