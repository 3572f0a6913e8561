"""What tasks do to each other in one run: forecasts that know it, and where what they know comes from."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, coverages, random_coverage

import taskpgm as tp
from taskpgm.contradictions import contested_prompts
from taskpgm.coverage import CoverageNetwork
from taskpgm.interplay import CROWDING, LEARNED, MOST_CROWDED, Interplay
from taskpgm.least_forecast import least_forecast
from taskpgm.movement import movement
from taskpgm.network_files import network_as_dict, network_from_dict
from taskpgm.types import Example, FloatArray, InputError, LossCurves, Task


def random_interplay(n: int, seed: int, *, moved: bool = True, contested: bool = True) -> Interplay:
    rng = np.random.default_rng(seed)
    cosines = rng.random((n, n))
    cosines = 0.5 * (cosines + cosines.T)
    np.fill_diagonal(cosines, 1.0)
    shares = rng.random((n, n)) * (1.0 - np.eye(n))
    return Interplay(rng.uniform(1.0, 50.0, n), shares if contested else None, cosines if moved else None)


@st.composite
def told_networks(draw: st.DrawFn, contested: bool = True) -> CoverageNetwork:
    network = draw(coverages())
    told = random_interplay(len(network), draw(SEEDS), moved=draw(st.booleans()), contested=contested)
    return network.changed(interplay=told)


def mixture_of(network: CoverageNetwork, seed: int) -> FloatArray:
    return np.random.default_rng(seed).dirichlet(np.ones(len(network)))


def two_tasks(**known: object) -> CoverageNetwork:
    """One task whose loss falls from 2 nats, and one that stays at 3."""
    curves = tp.LearningCurves(("learned", "noise"), 1.0, [[0.1], [3.0]], [[1.9], [0.0]], 50.0, 1.0)
    return CoverageNetwork(curves, np.eye(2), 1_000.0, interplay=Interplay([4.0, 8.0], **known))  # type: ignore[arg-type]


@given(network=told_networks(), seed=SEEDS)
def test_the_even_mixture_is_forecast_as_the_energy_has_it_but_for_contradiction(
    network: CoverageNetwork, seed: int
) -> None:
    even = network.lengths / network.lengths.sum()
    told, known = tp.forecast(network, even), network.interplay
    assert known is not None
    np.testing.assert_allclose(told.exposures, network.exposures(even), rtol=1e-12)
    np.testing.assert_allclose(told.losses - known.contradiction(network, even), network.losses(even), rtol=1e-9)


@given(network=told_networks(contested=False), seed=SEEDS)
def test_without_contradiction_twice_the_budget_never_hurts(network: CoverageNetwork, seed: int) -> None:
    assert tp.forecast(network, mixture_of(network, seed)).doubling.min() >= 0.0


@given(network=told_networks(), seed=SEEDS)
def test_forecasts_lie_in_their_intervals_and_know_nothing_of_the_order_of_tasks(
    network: CoverageNetwork, seed: int
) -> None:
    p = mixture_of(network, seed)
    told = tp.forecast(network, p)
    assert np.all((told.interval[:, 0] <= told.losses) & (told.losses <= told.interval[:, 1]))
    order, known = np.random.default_rng(seed).permutation(len(network)), network.interplay
    assert known is not None
    parts = [None if part is None else part[np.ix_(order, order)] for part in (known.contested, known.movement)]
    stored = network_as_dict(network)
    shapes = {key: [value[i] for i in order] for key, value in stored["curves"].items() if isinstance(value, list)}
    curves = type(network.curves).from_dict([network.names[i] for i in order], stored["curves"] | shapes)
    moved = CoverageNetwork(
        curves,
        network.transfer[np.ix_(order, order)],
        network.budget,
        forgetting=network.forgetting[order],
        lengths=network.lengths[order],
        interplay=Interplay(known.answer_tokens[order], *parts),
    )
    np.testing.assert_allclose(tp.forecast(moved, p[order]).losses, told.losses[order], rtol=1e-9, atol=1e-12)


def test_tasks_that_contradict_each_other_share_belief() -> None:
    network = two_tasks(contested=[[0.0, 0.5], [1.0, 0.0]])
    p = [0.8, 0.2]
    known = network.interplay
    assert known is not None
    found = known.contradiction(network, np.array(p))
    assert found[0] == pytest.approx(math.log1p(200 / 801) / 4.0)
    assert found[1] == pytest.approx(0.5 * math.log1p(800 / 201) / 8.0)
    plain = two_tasks()
    np.testing.assert_allclose(tp.forecast(network, p).beyond - tp.forecast(plain, p).beyond, found)


def test_three_tasks_with_the_same_prompts_cost_no_more_than_their_shares_of_belief() -> None:
    curves = tp.LearningCurves(("a", "b", "c"), 1.0, 0.1, 1.9, 50.0, 1.0)
    known = Interplay(np.ones(3), 1.0 - np.eye(3))
    network = CoverageNetwork(curves, np.eye(3), 3_000_000.0, interplay=known)
    np.testing.assert_allclose(known.contradiction(network, np.full(3, 1 / 3)), math.log(3.0), rtol=1e-5)


def test_examples_teach_less_among_others_that_are_not_learned() -> None:
    network = two_tasks()
    even, noisy = tp.forecast(network, [0.5, 0.5]), tp.forecast(network, [0.2, 0.8])

    def loss(share: float) -> float:
        learned = 0.1 + 1.9 / (1.0 + 1_000.0 * share / 50.0)
        weights = np.array([4.0 * share, 8.0 * (1.0 - share)])
        return LEARNED + float(weights @ [learned, 3.0] / weights.sum())

    assert even.exposures[0] == pytest.approx(500.0)
    assert noisy.exposures[0] == pytest.approx(200.0 * (loss(0.5) / loss(0.2)) ** CROWDING)
    calm = tp.forecast(network, [0.999, 0.001])
    assert calm.exposures[0] == pytest.approx(999.0 * MOST_CROWDED)


def test_movement_tells_half_of_what_a_mixture_does_to_exposure() -> None:
    moved = two_tasks(movement=[[1.0, 0.5], [0.5, 1.0]])
    crowding = tp.forecast(two_tasks(), [0.2, 0.8]).exposures[0] / 200.0
    found = tp.forecast(moved, [0.2, 0.8]).exposures[0]
    by_movement = (0.2 + 0.5 * 0.8) / (0.5 + 0.5 * 0.5)
    assert found == pytest.approx(500.0 * math.sqrt(0.4 * by_movement) * crowding, rel=0.03)


@given(network=told_networks(), seed=SEEDS)
@settings(max_examples=20)
def test_the_energy_knows_nothing_of_it(network: CoverageNetwork, seed: int) -> None:
    p, plain = mixture_of(network, seed), network.changed(interplay=None)
    assert network.energy(p) == plain.energy(p)
    np.testing.assert_array_equal(network.losses(p), plain.losses(p))
    np.testing.assert_array_equal(tp.forecast(plain, p).losses, plain.losses(p))


@given(network=told_networks(), seed=SEEDS)
@settings(max_examples=20)
def test_files_hold_it(network: CoverageNetwork, seed: int) -> None:
    p = mixture_of(network, seed)
    read = network_from_dict(json.loads(json.dumps(network_as_dict(network))))
    assert isinstance(read, CoverageNetwork)
    np.testing.assert_array_equal(tp.forecast(read, p).losses, tp.forecast(network, p).losses)
    older = network_as_dict(network)
    del older["interplay"]
    assert network_from_dict(older).interplay is None  # type: ignore[union-attr]


def test_weights_in_tokens_of_equal_lengths_are_forecast_as_shares_of_examples() -> None:
    base = random_coverage(4, 3).changed(lower=0.0, upper=1.0, lengths=np.ones(4))
    known, p = random_interplay(4, 3), np.array([0.4, 0.3, 0.2, 0.1])
    counted = base.changed(interplay=known)
    in_tokens = counted.changed(lengths=np.full(4, 7.0), budget=7.0 * base.budget)
    np.testing.assert_allclose(tp.forecast(in_tokens, p).losses, tp.forecast(counted, p).losses, rtol=1e-12)


def test_contradiction_counts_examples_whatever_the_unit_of_the_weights() -> None:
    """A share of tokens is one of examples times their length: the same run."""
    base = random_coverage(4, 3).changed(lower=0.0, upper=1.0)
    known, p = random_interplay(4, 3), np.array([0.4, 0.3, 0.2, 0.1])
    in_tokens = base.changed(interplay=known)
    examples = p / base.lengths
    counted = base.changed(interplay=known, lengths=np.ones(4), budget=base.budget * float(examples.sum()))
    np.testing.assert_allclose(
        tp.forecast(counted, examples / examples.sum()).beyond, tp.forecast(in_tokens, p).beyond, rtol=1e-9
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1.0, 0.0],), "answer tokens: 0 of task 1"),
        (([1.0, np.nan],), "answer tokens of task"),
        (([1.0, 2.0], np.eye(3)), "contested: shape 3 x 3, but there are 2 tasks"),
        (([1.0, 2.0], [[0.0, 1.5], [0.0, 0.0]]), "contested: expected numbers from 0 to 1"),
        (([1.0, 2.0], None, [[1.0, -0.5], [-0.5, 1.0]]), "movement: expected numbers from 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Interplay(*arguments)  # type: ignore[arg-type]


def test_an_interplay_of_other_tasks_is_refused() -> None:
    with pytest.raises(InputError, match="interplay of 3 tasks, but there are 2"):
        two_tasks().changed(interplay=Interplay([1.0, 1.0, 1.0]))


def test_networks_of_losses_know_how_long_answers_are() -> None:
    losses = LossCurves(
        ("a", "b"),
        np.array([[0, 100, 200]] * 2),
        np.array([[0, 500, 1000], [0, 200, 400]]),
        np.array([[[2.0, 2.0], [1.0, 2.0], [0.5, 2.0]], [[2.0, 2.0], [2.0, 1.0], [2.0, 0.5]]]),
    )
    known = CoverageNetwork.from_losses(losses, 400).interplay
    assert known is not None
    np.testing.assert_array_equal(known.answer_tokens, [5.0, 2.0])
    assert known.contested is None
    assert known.movement is None


# ------------------------------------------------------------------------------------------ what tasks contradict


def task(name: str, *rows: tuple[str, str], held_out: tuple[tuple[str, str], ...] = ()) -> Task:
    examples = [Example(prompt=prompt, completion=answer) for prompt, answer in rows]
    kept = [Example(prompt=prompt, completion=answer) for prompt, answer in held_out]
    return Task(name, tuple(examples), tuple(kept), ())


def test_contested_prompts_are_counted_once_and_by_the_task_that_asks_them() -> None:
    one = task("one", ("a", "1"), ("b", "2"), ("b", "9"), ("c", "3"), held_out=(("d", "4"),))
    two = task("two", ("A ", "2"), ("b", "2"))
    three = task("three", ("d", "5"), ("e", "6"))
    found = contested_prompts([one, two, three])
    assert found is not None
    expected = np.zeros((3, 3))
    expected[1, 0], expected[0, 1] = 1 / 4, 1 / 2  # "a"; b's first answers agree
    expected[2, 0], expected[0, 2] = 1 / 4, 1 / 2  # "d", held out in one of them
    np.testing.assert_array_equal(found, expected)
    assert contested_prompts([two, three]) is None


def test_the_suite_of_interacting_tasks_has_two_that_contradict_in_every_prompt() -> None:
    tasks = tp.embedded_suite("interacting")
    found = contested_prompts(tasks)
    assert found is not None
    one, other = tasks.names.index("mapc"), tasks.names.index("mapr")
    assert 0.9 < found[one, other] <= 1.0
    assert np.count_nonzero(found) == 2
    assert contested_prompts(tp.demo_suite()) is None


# ------------------------------------------------------------------------------------------------ how experts moved


def save(folder: Path, tensors: dict[str, object]) -> Path:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    save_file({name: torch.as_tensor(value) for name, value in tensors.items()}, folder / "model.safetensors")
    return folder


def weights(seed: int, scale: float = 1.0, rows: int = 6) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    names = ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight")
    shapes = ((rows, 4), (5, 4), (4,))
    return {
        name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in zip(names, shapes, strict=True)
    }


def sum_of(one: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    return {name: one[name] + other[name] for name in one}  # type: ignore[operator]


def test_movement_is_the_cosine_of_what_training_did_to_attention(tmp_path: Path) -> None:
    base, steps = weights(0), [weights(1), weights(2), weights(1, -2.0)]
    folders = [save(tmp_path / str(i), sum_of(base, step)) for i, step in enumerate(steps)]
    found = movement([*folders, folders[0]], save(tmp_path / "base", base))
    flat = [np.ravel(step["model.layers.0.self_attn.q_proj.weight"]) for step in (*steps, steps[0])]  # type: ignore[call-overload]
    lengths = np.linalg.norm(flat, axis=1)
    expected = np.clip(np.array(flat) @ np.array(flat).T / np.outer(lengths, lengths), 0.0, 1.0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found is not None
    assert found[0, 2] == 0.0  # the other way
    assert found[0, 3] == pytest.approx(1.0)


def test_an_expert_that_did_not_move_is_like_no_other(tmp_path: Path) -> None:
    base = weights(0)
    folders = [save(tmp_path / "still", base), save(tmp_path / "moved", sum_of(base, weights(1)))]
    found = movement(folders, save(tmp_path / "base", base))
    np.testing.assert_array_equal(found, np.eye(2))


def test_of_large_models_some_rows_and_columns_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = weights(0, rows=4_000)
    shared, steps = weights(9, rows=4_000), [weights(seed, rows=4_000) for seed in (1, 2)]
    folders = [save(tmp_path / str(i), sum_of(base, sum_of(shared, step))) for i, step in enumerate(steps)]
    at = save(tmp_path / "base", base)
    whole = movement(folders, at)
    assert whole is not None
    for limit, count in (("SAMPLED", 4_000), ("SAMPLED_TOGETHER", 8_000)):
        with monkeypatch.context() as patched:
            patched.setattr(f"taskpgm.movement.{limit}", count)
            part = movement(folders, at)
        assert part is not None
        assert part[0, 1] != whole[0, 1]
        assert part[0, 1] == pytest.approx(0.5, abs=0.05)


def test_weights_of_other_kinds_and_names(tmp_path: Path) -> None:
    import torch

    base, step = weights(0), weights(1)
    halves = {name: torch.as_tensor(value).bfloat16() for name, value in sum_of(base, step).items()}
    folder = save(tmp_path / "halves", halves)  # type: ignore[arg-type]
    at = save(tmp_path / "base", base)
    found = movement([folder, save(tmp_path / "whole", sum_of(base, step))], at)
    assert found is not None
    assert found[0, 1] == pytest.approx(1.0, abs=1e-3)
    unnamed = {name.replace("self_attn", "mixer"): value for name, value in base.items()}
    others = {name.replace("self_attn", "mixer"): value for name, value in sum_of(base, step).items()}
    assert movement([save(tmp_path / "m", others)] * 2, save(tmp_path / "mb", unnamed)) is not None
    assert movement([folder], save(tmp_path / "stranger", {"other.weight": np.ones((2, 2), np.float32)})) is None


# ------------------------------------------------------------------------------------------------ the least forecast


@pytest.mark.parametrize("seed", range(3))
def test_the_least_forecast_is_below_every_start_and_within_the_bounds(seed: int) -> None:
    network = random_coverage(5, seed).changed(interplay=random_interplay(5, seed), lower=0.02, upper=1.0)
    rng = np.random.default_rng(seed)
    starts = [0.02 + 0.9 * rng.dirichlet(np.ones(5)) for _ in range(3)]

    def value(p: FloatArray) -> float:
        return tp.forecast(network, p).mean + network.tau * float(p @ np.log(p / network.prior))

    found = least_forecast(network, starts)
    assert found.sum() == pytest.approx(1.0)
    assert found.min() >= 0.02
    least = value(found)
    assert all(least <= value(p) + 1e-9 for p in starts)
    towards = [0.999 * found + 0.001 * (0.02 + 0.9 * corner) for corner in np.eye(5)]
    assert all(least <= value(p) + 1e-6 for p in towards)


def test_a_least_forecast_within_bounds_that_it_does_not_keep_is_refused() -> None:
    network = random_coverage(3, 1).changed(lower=0.0, upper=0.6)
    with pytest.raises(InputError, match="upper bounds and constraints are not kept"):
        least_forecast(network, [np.full(3, 1 / 3)])
