"""Rounds grow by whole patients, classes in proportion, none short of what it needs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from heads.experiments.scouting_rounds import LEAST, scouting_rounds


def by_class(y, groups, rows):
    return [len(set(groups[rows][y[rows] == label])) for label in range(int(y.max()) + 1)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("counts", [(500, 500), (900, 60), (30, 400, 12), (12, 12), (3, 300)])
def test_each_round_holds_the_one_before_and_the_last_holds_all(counts, seed):
    rng = np.random.default_rng(seed)
    of_group = np.repeat(np.arange(sum(counts)), rng.integers(1, 4, sum(counts)))
    y = np.repeat(np.arange(len(counts)), counts)[of_group]
    rounds = scouting_rounds(y, of_group, seed)
    assert list(rounds[-1]) == list(range(len(y)))
    for before, after in itertools.pairwise(rounds):
        assert set(before) < set(after)
        assert len(after) > 1.4 * len(before)
    for rows in rounds:
        assert not set(of_group[rows]) & set(of_group[np.setdiff1d(np.arange(len(y)), rows)]), "a patient is torn"
    for label, count in enumerate(counts):
        first = by_class(y, of_group, rounds[0])[label]
        assert first == max(min(LEAST, count), count // 10) or len(rounds) == 1


def test_a_class_that_stands_only_beside_a_rarer_one_is_there_from_the_first_round():
    groups = np.repeat(np.arange(200), 2)
    y = np.zeros(400, int)
    y[:60:2], y[1:60:2] = 1, 2  # thirty patients, each with an image of either class
    rounds = scouting_rounds(y, groups, 0)
    assert min(by_class(y, groups, rounds[0])) >= LEAST


def test_the_seed_decides_who_comes_first():
    y, groups = np.arange(300) % 2, np.arange(300)
    assert list(scouting_rounds(y, groups, 1)[0]) == list(scouting_rounds(y, groups, 1)[0])
    assert list(scouting_rounds(y, groups, 1)[0]) != list(scouting_rounds(y, groups, 2)[0])


def test_few_patients_are_one_round():
    assert len(scouting_rounds(np.arange(24) % 2, np.arange(24))) == 1
    assert [len(rows) for rows in scouting_rounds(np.arange(1000) % 2, np.arange(1000))] == [100, 200, 400, 1000]
