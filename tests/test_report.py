"""What the page says, before it is a page: its numbers are the mixture's, and nothing in it is mark-up of a name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_runs import save_decided, told_decisions
from strategies import coverages, networks, random_network
from told_mixtures import HOSTILE, told_evaluation, told_mixture, told_names

import taskpgm as tp
from taskpgm.arrangement import classical_scaling, clustered_order, kernel_distances, strongest_pairs
from taskpgm.constraints import Group
from taskpgm.decision_page import DecisionPage, decision_document, decision_page_of
from taskpgm.decisions import Decision
from taskpgm.evaluation_file import read_evaluation
from taskpgm.explanation import explain
from taskpgm.html_page import as_bytes, as_html_page, script_json
from taskpgm.inference import convex_method, solve
from taskpgm.mixture import Mixture
from taskpgm.portrait import Portrait
from taskpgm.report import page_of
from taskpgm.report_page import document_of, load_page, write_page
from taskpgm.shadow_prices import prices
from taskpgm.types import InputError, Solution, Status

MOST_BYTES = 6_000_000
KINDS = ("pairwise", "coverage")


@pytest.fixture(scope="module", params=KINDS)
def mixture(request: pytest.FixtureRequest) -> Mixture:
    return told_mixture(request.param, 14)


class Parts(HTMLParser):
    """The ids, tags and attributes of a page, and the text of its scripts."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


# --------------------------------------------------------------------------------------------------------- its numbers


def test_charts_hold_the_mixture(mixture: Mixture) -> None:
    charts = page_of(mixture).charts
    assert charts["names"] == list(mixture.weights)
    assert charts["mixture"]["weights"] == pytest.approx(list(mixture.weights.values()), rel=1e-5)
    for (low, high), weight in zip(charts["mixture"]["interval"], mixture.weights.values(), strict=True):
        assert low <= weight * (1 + 1e-5)
        assert high >= weight * (1 - 1e-5)
    assert sum(charts["mixture"]["bySize"]) == pytest.approx(1.0, abs=1e-5)
    assert charts["mixture"]["undecided"] == [1]
    assert sorted(charts["order"]) == list(range(14))


def test_matrices_are_those_of_the_evidence(mixture: Mixture) -> None:
    found = {each["key"]: each for each in page_of(mixture).charts["matrices"]}
    divergence = np.array(mixture.details["divergence"])
    told = found["divergence"]
    assert told["symmetric"]
    for i in range(14):
        assert told["rows"][i] == pytest.approx(divergence[i, : i + 1].tolist(), rel=1e-5)
        assert told["high"][i] == pytest.approx((1.1 * divergence[i, : i + 1]).tolist(), rel=1e-5)
    alike = found["similarity"]["rows"][5][2]
    assert alike == pytest.approx(float(np.exp(-10.0 * divergence[5, 2])), rel=1e-5)
    assert ("transfer" in found) == (page_of(mixture).kind == "coverage")


@settings(max_examples=8)
@given(st.one_of(networks(max_tasks=5, scales=(1.0,), taus=(0.0, 0.3)), coverages(max_tasks=5)))
def test_shares_of_the_energy_are_those_that_explain_tells(network: Any) -> None:
    solution = solve(network, convex_method(network))
    assert solution.point is not None
    portrait = Portrait(Mixture.from_solution(network, solution))
    energy = page_of(portrait.mixture).charts["energy"]
    for i, name in enumerate(network.names):
        why = explain(network, solution, name)
        pairs = why.redundancy or {other: -fall for other, fall in why.coverage.items()}
        assert portrait.pair_shares[i].tolist() == pytest.approx([pairs[other] for other in network.names], abs=1e-12)
        sign = -1.0 if energy["kind"] == "coverage" else 1.0
        parts = sum(part[i] for part in energy["parts"].values())
        expected = why.energy - (why.prior if energy["kind"] == "coverage" else 0.0)
        assert sign * parts == pytest.approx(expected, rel=1e-4, abs=1e-5 * max(1.0, abs(expected)))


def test_what_an_energy_leaves_and_takes_off_adds_up_whatever_forecasts_know() -> None:
    mixture = told_mixture("coverage", 5)
    network = mixture.network
    assert isinstance(network, tp.CoverageNetwork)
    known = tp.Interplay(np.full(5, 3.0), 1.0 - np.eye(5))
    told = replace(mixture, network=network.changed(interplay=known))
    left = np.array(page_of(told).charts["energy"]["losses"])
    p = np.array(list(mixture.weights.values()))
    np.testing.assert_allclose(left, network.target_weights * network.losses(p), rtol=1e-3)
    assert np.all(np.array(page_of(told).charts["curves"]["final"]) > network.losses(p) - 1e-3)
    assert np.max(np.array(page_of(told).charts["curves"]["final"]) - network.losses(p)) > 0.05


def test_curves_start_without_examples_and_pass_the_forecast() -> None:
    mixture = told_mixture("coverage", 5)
    told, forecast = page_of(mixture).charts["curves"], mixture.details["forecast"]["tasks"]
    for i, name in enumerate(mixture.weights):
        assert told["loss"][i][0] == pytest.approx(forecast[name]["start"], rel=1e-4)
        assert told["final"][i] == pytest.approx(forecast[name]["loss"], rel=1e-5)
        assert np.interp(told["budget"], told["budgets"], told["loss"][i]) == pytest.approx(told["final"][i], rel=0.05)
        assert all(low <= loss <= high for loss, (low, high) in zip(told["loss"][i], told["interval"][i], strict=True))
        assert told["loss"][i] == sorted(told["loss"][i], reverse=True)


def test_the_path_passes_through_the_mixture() -> None:
    mixture = told_mixture("pairwise", 6, plain=True)
    told = page_of(mixture).charts["path"]
    at_beta = [np.interp(np.log(told["beta"]), np.log(told["betas"]), row) for row in told["weights"]]
    assert at_beta == pytest.approx(told["chosen"], abs=0.01)
    assert told["effective"][0] > told["effective"][-1]


def test_the_page_says_what_is_proved_and_what_is_not(mixture: Mixture) -> None:
    page = page_of(mixture)
    assert page.proved
    assert page.certificate[0].startswith("Proved: ")
    assert page.findings == (f"{HOSTILE[0]}: its loss fell little.",)
    unproved = Mixture(mixture.network, mixture.weights, mixture.energy, mixture.bound, 0.25, "feasible", "mine")
    told = page_of(unproved)
    assert told.certificate[0].startswith("Not proved: ")
    assert not told.proved
    assert "prices" not in told.tables
    assert dict(page.provenance)["seed"] == "7"


def test_constraints_that_bind_have_their_price_once() -> None:
    network = told_mixture("pairwise", 5, plain=True).network.changed(
        constraints=[Group(("task 000", "task 001"), 0.0, 0.1, "few")]
    )
    solution = solve(network, convex_method(network))
    details = {"constraints": prices(network, solution).as_dict()}
    for mixture in (
        Mixture.from_solution(network, solution, details=details),
        Mixture.from_solution(network, solution),
    ):
        page = page_of(mixture)
        told = {str(row[0]): row for row in page.tables["prices"].rows}
        saved = next(each for each in prices(network, solution).binding if "few" in each.constraint)
        assert float(str(told[saved.constraint][1])) == pytest.approx(saved.saving, rel=0.01)
        assert str(told[saved.constraint][2]).startswith("one percent more for group 'few' would lower")
        assert not any(line.startswith("Binds") for line in page.said)
        assert page.charts["path"]["tasks"]


def test_an_energy_that_is_not_convex_has_a_page_that_says_so() -> None:
    network = random_network(4, 3, "indefinite")
    point = np.full(4, 0.25)
    page = page_of(
        Mixture.from_solution(network, Solution("mine", Status.feasible, point, energy=network.energy(point)))
    )
    assert "nothing is known" in page.certificate[0]
    assert "not convex" in page.certificate[1]
    assert page.path_note.startswith("No path is drawn: the energy is not convex")
    assert "prices" not in page.tables
    assert b"no bound" in as_bytes(document_of(page))


def test_a_mixture_of_solve_has_a_page_of_what_is_there() -> None:
    bare = told_mixture("pairwise", 5, plain=True)
    page = page_of(Mixture.from_solution(bare.network, solve(bare.network, convex_method(bare.network))))
    assert page.charts["mixture"]["interval"] is None
    assert page.charts["mixture"]["bySize"] is None
    assert [each["key"] for each in page.charts["matrices"]] == ["similarity", "shares"]
    assert page.tables["mixture"].columns == ("task", "weight", "× uniform")
    assert "evaluation" not in page.tables
    Parts(as_html_page(document_of(page)))


@pytest.mark.parametrize("kind", KINDS)
def test_two_tasks_have_a_page_too(kind: Any) -> None:
    assert b"</html>" in as_bytes(document_of(page_of(told_mixture(kind, 2))))


# -------------------------------------------------------------------------------------------------------- the pictures


@settings(max_examples=25)
@given(networks(max_tasks=6, scales=(1.0,), kinds=("full_rank", "low_rank", "exponential_kernel")))
def test_the_map_has_no_larger_distances_than_there_are(network: Any) -> None:
    """Two dimensions of a Euclidean embedding are a projection of it."""
    distances = kernel_distances(network.similarity)
    found = classical_scaling(distances)
    drawn = np.linalg.norm(found.points[:, None] - found.points[None, :], axis=2)
    assert np.all(drawn <= distances + 1e-6 * (1.0 + distances.max()))
    assert 0.0 <= found.share <= 1.0 + 1e-12
    assert sorted(clustered_order(distances).tolist()) == list(range(len(network)))


def test_points_of_a_plane_are_put_back_in_their_places() -> None:
    points = np.random.default_rng(0).standard_normal((9, 2))
    distances = np.linalg.norm(points[:, None] - points[None, :], axis=2)
    found = classical_scaling(distances)
    assert found.share == pytest.approx(1.0)
    again = np.linalg.norm(found.points[:, None] - found.points[None, :], axis=2)
    assert again == pytest.approx(distances, abs=1e-9)


def test_like_tasks_stand_side_by_side() -> None:
    group = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    order = clustered_order((group[:, None] != group[None, :]).astype(float))
    assert sorted(map(sorted, np.split(group[order], 3))) == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]


def test_the_strongest_couplings_of_every_task_are_drawn_once() -> None:
    coupling = np.array([[1.0, 0.9, 0.0, 0.1], [0.2, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.3, 0.0, 1.0]])
    assert strongest_pairs(coupling, 1) == [(0, 1), (1, 3)]


# ------------------------------------------------------------------------------------------------------------ the file


def test_no_name_becomes_mark_up(mixture: Mixture) -> None:
    plain = Parts(as_html_page(document_of(page_of(told_mixture(page_of(mixture).kind, 14, plain=True)))))  # type: ignore[arg-type]
    hostile = Parts(as_html_page(document_of(page_of(mixture))))
    assert [tag for tag, _ in hostile.tags if tag != "bdi"] == [tag for tag, _ in plain.tags if tag != "bdi"]
    assert not [attributes for _, attributes in hostile.tags if any(name.startswith("on") for name in attributes)]
    assert len(hostile.scripts) == 2
    assert json.loads(hostile.scripts[0])["names"] == list(told_names(14))


@given(st.text())
def test_data_in_a_script_ends_nothing_and_reads_back(text: str) -> None:
    for value in (text, f"</script>{text}<!--"):
        written = script_json(value)
        assert not set(written) & set("<>&\u2028\u2029")
        assert json.loads(written) == value


def test_the_file_asks_for_nothing(mixture: Mixture) -> None:
    source = as_bytes(document_of(page_of(mixture))).decode("utf-8")
    parts = Parts(source)
    for tag, attributes in parts.tags:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith(("#", "data:,")) or attributes["href"] is None
    assert "default-src 'none'" in source
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|eval\(|innerHTML", source)


@pytest.mark.parametrize("kind", KINDS)
def test_three_hundred_tasks_fit_into_six_megabytes(kind: Any) -> None:
    assert len(as_bytes(document_of(page_of(told_mixture(kind, 300, solved=False))))) < MOST_BYTES


def test_a_folder_with_an_evaluation_shows_it(tmp_path: Path, mixture: Mixture) -> None:
    mixture.to_json(tmp_path / "mixture.json")
    without = load_page(tmp_path)
    (tmp_path / "evaluation.json").write_text(json.dumps(told_evaluation(tuple(mixture.weights))))
    page = load_page(tmp_path)
    assert without.charts["evaluation"] is None
    (losses, exact) = page.charts["evaluation"]
    assert losses["rows"] == [
        {"mixture": "ours <b>", "view": "all tasks", "mean": -0.08, "sure": True, "interval": [-0.1, -0.06]}
    ]
    assert exact["rows"][0]["sure"] is False
    assert len(page.tables["evaluation"].rows) == 16
    assert any("killed" in line for line in page.evaluated)
    assert load_page(tmp_path / "mixture.json").charts["evaluation"] is None
    path = write_page(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_bytes() == write_page(tmp_path).read_bytes()
    assert "ours &lt;b&gt;" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not a taskpgm-evaluation/1 file"),
        ('{"format": "taskpgm-evaluation/1"}', "damaged"),
        ("{", "not valid JSON"),
        (
            '{"format":"taskpgm-evaluation/1","reference":"u","seeds":[1],"evidence_examples":0,"failed":[],"differences":[1]}',
            "damaged",
        ),
    ],
)
def test_a_damaged_evaluation_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_evaluation(tmp_path / "evaluation.json")
    assert "evaluation.json" in str(caught.value)


@pytest.mark.parametrize(
    "details",
    [
        {"divergence": [[0.0]]},
        {"divergence": "none"},
        {"uncertainty": {"interval": {}}},
        {"uncertainty": [1]},
        {"findings": [{"task": "copy"}]},
        {"findings": 3},
        {"divergence_interval": [[[0.0]]]},
    ],
)
def test_damaged_details_are_one_line(tmp_path: Path, details: dict[str, Any]) -> None:
    bare = told_mixture("pairwise", 3, plain=True)
    solution = solve(bare.network, convex_method(bare.network))
    Mixture.from_solution(bare.network, solution, details=details).to_json(tmp_path / "mixture.json")
    with pytest.raises(InputError, match="damaged details") as caught:
        load_page(tmp_path)
    assert "mixture.json" in str(caught.value)


def test_a_plan_for_the_rest_of_a_run_is_refused_in_words() -> None:
    curves = tp.LearningCurves(("a", "b"), 1.0, 0.1, [[2.0], [1.5]], 50.0, 1.0)
    plan = tp.plan_mixture(curves, [10.0, 10.0], 80.0)
    with pytest.raises(tp.InputError, match="a plan for what is left of a run has no page"):
        Portrait(plan)


# ------------------------------------------------------------------------------------------------ decisions in a run


@pytest.fixture(scope="module")
def decisions() -> tuple[Decision, ...]:
    return told_decisions(told_names(18))


def test_a_trainer_s_folder_has_a_page_of_its_decisions(tmp_path: Path, decisions: tuple[Decision, ...]) -> None:
    folder = save_decided(decisions, tmp_path / "run")
    page = load_page(folder)
    assert isinstance(page, DecisionPage)
    assert [each.step for each in page.decisions] == [12, 24, 36, 48, 60, 72, 84, 96]
    told = page.as_dict()
    assert told["proved"] is True
    assert told["decisions"] == [each.as_dict() for each in decisions]
    assert [name.split()[0] for name in told["provenance"] if name.endswith("written")] == [
        f"step-{each.step}.json" for each in decisions
    ]
    assert write_page(folder) == folder / "report.html"
    assert load_page(folder / "mixtures").as_dict() == told


def test_the_page_of_decisions_shows_what_they_are(decisions: tuple[Decision, ...]) -> None:
    page = decision_page_of(decisions)
    drawn, names = page.charts["decisions"], page.names
    for row, task in zip(drawn["weights"], drawn["tasks"], strict=True):
        assert row == pytest.approx([each.mixture.weights[names[task]] for each in decisions], rel=1e-5)
    assert drawn["followed"] == [each.followed for each in decisions]
    assert not all(drawn["followed"])
    for key in ("latest", "expected", "spread"):
        for name, row in zip(names, page.charts["expected"][key], strict=True):
            assert row == pytest.approx([getattr(each, key)[name] for each in decisions], rel=1e-5)
    assert [str(row[0]) for row in page.tables["decisions"].rows] == [str(each.step) for each in decisions]
    text = as_html_page(decision_document(page))
    assert sum("back to the prior." in line for line in text.splitlines() if "<li>" in line) == 1  # one list
    assert text.count("back to the prior.</bdi>") == sum(not each.followed for each in decisions)


def test_no_name_of_a_decided_task_becomes_mark_up(decisions: tuple[Decision, ...]) -> None:
    plain = Parts(as_html_page(decision_document(decision_page_of(told_decisions(tuple(map(str, range(18))))))))
    hostile = Parts(as_html_page(decision_document(decision_page_of(decisions))))
    assert [tag for tag, _ in hostile.tags if tag != "bdi"] == [tag for tag, _ in plain.tags if tag != "bdi"]
    assert json.loads(hostile.scripts[0])["names"] == list(told_names(18))


def test_a_decision_that_is_not_proved_is_not_called_so(decisions: tuple[Decision, ...]) -> None:
    doubtful = replace(decisions[2].mixture, status="feasible", gap=math.inf)
    page = decision_page_of((*decisions[:2], Decision(doubtful), *decisions[3:]))
    assert page.as_dict()["proved"] is False
    (fact,) = (fact for fact in page.facts if fact.label == "certificates")
    assert (fact.value, fact.good) == ("7 of 8", False)
    assert page.tables["decisions"].rows[2][1] == "feasible"
    assert "7 of the 8 decisions are proved" in as_html_page(decision_document(page))


def test_the_command_draws_and_prints_decisions(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, decisions: tuple[Decision, ...]
) -> None:
    folder = save_decided(decisions, tmp_path / "run")
    code, printed, error = call("report", folder, "--figures", tmp_path / "f", "--format", "svg", "--table", "latex")
    assert code == 0
    assert printed.count("proved &") == 8
    assert (tmp_path / "f" / "decisions.svg").is_file()
    assert "report.html" in error
    code, printed, _ = call("report", folder, "--json")
    assert json.loads(printed)["kind"] == "decisions"
    (folder / "mixtures" / "step-12.json").write_text("{}")
    assert call("report", folder)[0] == 2
