"""Losers are stopped, and what is as good as the best is not; the whole measurement is tests/benchmarks/coverage.py."""

from __future__ import annotations

import numpy as np
import pytest

from heads.evaluation.elimination import standings

GROUPS, SIZE, ROUNDS = 60, 2, 4


def drawn(rng: np.random.Generator, recalls: list[float]) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Labels of patients with two images each, and what networks that share some of their errors call them."""
    y = np.repeat(np.arange(GROUPS) % 2, SIZE)
    hard = rng.random(len(y)) < 0.3
    called = {}
    for number, recall in enumerate(recalls):
        wrong = np.where(hard, rng.random(len(y)) < (1 - recall) * 2.5, rng.random(len(y)) < (1 - recall) * 0.36)
        called[f"n{number}"] = np.where(wrong, 1 - y, y)
    return y, called, np.repeat(np.arange(GROUPS), SIZE)


def race(rng: np.random.Generator, recalls: list[float]) -> tuple[list[str], int]:
    """Four looks at more and more of the same patients; who is left, and how many images that took in all."""
    y, called, groups = drawn(rng, recalls)
    left, computed = dict(called), dict.fromkeys(called, 0)
    for share in (0.2, 0.4, 0.8, 1.0):
        rows = slice(0, int(share * GROUPS) * SIZE)
        now = standings(
            y[rows], {name: labels[rows] for name, labels in left.items()}, groups[rows], ROUNDS, len(called)
        )
        computed.update(dict.fromkeys(left, rows.stop))
        left = {name: labels for name, labels in left.items() if not now[name].stopped}
        if len(left) == 1:
            break
    return list(left), sum(computed.values())


@pytest.mark.parametrize("networks", [2, 4])
def test_one_as_good_as_the_best_is_seldom_stopped(networks):
    rng, draws = np.random.default_rng(networks), 200 // networks
    lost = sum("n0" not in race(rng, [0.85] * networks)[0] for _ in range(draws))
    assert lost / draws <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / draws)


def test_a_truly_better_one_is_found_and_the_losers_cost_less():
    rng, draws = np.random.default_rng(0), 30
    ended = [race(rng, [0.97, 0.62, 0.62, 0.62]) for _ in range(draws)]
    assert all("n0" in left for left, _ in ended)
    assert np.mean([left == ["n0"] for left, _ in ended]) > 0.8
    assert np.mean([computed for _, computed in ended]) < 0.85 * 4 * GROUPS * SIZE


def test_a_leader_has_no_gap_and_gaps_count_from_it():
    y, called, groups = drawn(np.random.default_rng(0), [0.95, 0.7, 0.8])
    now = standings(y, called, groups, ROUNDS, 3)
    (leader, first), *others = now.items()
    recall = np.mean([(called[leader][y == label] == label).mean() for label in (0, 1)])
    assert first.gap is None
    assert first.p is None
    assert not first.stopped
    assert first.score == pytest.approx(recall)
    for _, standing in others:
        assert standing.score + standing.gap.value == pytest.approx(first.score)
        assert standing.score_ci[0] <= standing.score <= standing.score_ci[1]
    assert [one.score for one in now.values()] == sorted((one.score for one in now.values()), reverse=True)


def test_more_looks_and_more_networks_ask_for_more_evidence():
    y, called, groups = drawn(np.random.default_rng(0), [0.9, 0.8])
    p = [standings(y, called, groups, rounds, models)["n1"].p for rounds, models in ((1, 2), (4, 2), (4, 5))]
    assert p[0] > 0
    assert p[1] == pytest.approx(4 * p[0])
    assert p[2] == pytest.approx(min(1, 16 * p[0]))


def test_equal_labels_are_never_told_apart():
    y, called, groups = drawn(np.random.default_rng(0), [0.9])
    now = standings(y, {"a": called["n0"], "b": called["n0"].copy()}, groups, 1, 2)
    assert now["b"].p == 0.5 or now["b"].p == 1.0
    assert not now["b"].stopped
    assert now["b"].gap.value == 0
