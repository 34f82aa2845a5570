"""Intervals that allow for the choice among models: against Šidák's, SciPy's multivariate normal, and plain ones."""

from __future__ import annotations

import numpy as np
import pytest
from made_up import VGG16
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from featcache.data.tasks import Classification, Multilabel, Regression
from featcache.errors import DataError
from featcache.features.labelled_features import Features, FeatureSource
from heads.evaluation.kept_answers import read_kept_answers, write_kept_answers
from heads.evaluation.simultaneous_intervals import best_sentence, joint_tail, simultaneous_intervals
from heads.evaluation.task_metrics import TASK_METRICS

KINDS = ("classes", "labels", "number")


def drawn(kind: str, rows: int = 120, models: int = 3, seed: int = 0):
    """Truths, outputs of models by name, and groups of three rows."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(rows // 3), 3)
    if kind == "classes":
        y = rng.integers(0, 3, rows)
        given = [rng.dirichlet(np.ones(3), rows) + 0.6 * np.eye(3)[y] for _ in range(models)]
        return y, {f"m{i}": p / p.sum(axis=1, keepdims=True) for i, p in enumerate(given)}, groups
    if kind == "labels":
        y = rng.integers(0, 2, (rows, 2)).astype(float)
        y[rng.random((rows, 2)) < 0.1] = np.nan
        given = [np.clip(0.3 * np.nan_to_num(y) + 0.7 * rng.random((rows, 2)), 0, 1) for _ in range(models)]
        return y, {f"m{i}": p for i, p in enumerate(given)}, groups
    y = rng.normal(50, 10, rows)
    return y, {f"m{i}": y + rng.normal(0, 3 + i, rows) for i in range(models)}, groups


@pytest.mark.parametrize("kind", KINDS)
def test_at_two_and_a_half_percent_it_is_the_plain_interval(kind):
    y, outputs, groups = drawn(kind)
    measures = TASK_METRICS[kind]
    for given in outputs.values():
        plain = measures.headline(measures.evaluate(y, given, groups, ("a", "b", "c")[: 2 if kind == "labels" else 3]))
        assert measures.headline_interval(y, given, groups, 0.025) == pytest.approx(tuple(plain.interval), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_more_models_widen_the_intervals_and_each_holds_its_plain_one(kind):
    y, outputs, groups = drawn(kind, models=12)
    before = None
    for count in (1, 2, 5, 12):
        some = dict(list(outputs.items())[:count])
        found = simultaneous_intervals(kind, y, some, groups)
        low, high = found.intervals["m0"]
        if before is None:
            assert found.tail == 0.025
            assert (low, high) == TASK_METRICS[kind].headline_interval(y, outputs["m0"], groups, 0.025)
        else:
            assert low < before[0]
            assert high > before[1]
        before = low, high


@pytest.mark.parametrize("models", [2, 5, 30])
def test_models_that_err_independently_cost_what_sidak_says(models):
    added = np.linalg.qr(np.random.default_rng(0).standard_normal((200, models)))[0].T
    sidak = (1 - 0.95 ** (1 / models)) / 2
    assert joint_tail(added) == pytest.approx(sidak, rel=0.12)
    assert joint_tail(added) >= 0.025 / models * 0.95


@pytest.mark.parametrize("rho", [0.3, 0.8, 0.97])
def test_models_that_err_together_cost_what_a_normal_with_their_correlation_says(rho):
    root = np.linalg.cholesky((1 - rho) * np.eye(4) + rho)
    added = root @ np.linalg.qr(np.random.default_rng(1).standard_normal((500, 4)))[0].T
    model = multivariate_normal(np.zeros(4), (1 - rho) * np.eye(4) + rho, seed=0)
    critical = brentq(lambda c: model.cdf([c] * 4, lower_limit=[-c] * 4) - 0.95, 1.5, 4, xtol=1e-3)
    assert joint_tail(added, doubt=1e-6) == pytest.approx(norm.sf(critical), rel=0.13)  # rounded down to two digits


def test_one_model_twice_costs_nothing_and_a_perfect_one_as_much_as_any():
    rng = np.random.default_rng(2)
    added = rng.standard_normal((1, 40))
    assert joint_tail(np.r_[added, added, 3 * added]) == 0.025
    alone = joint_tail(np.r_[added, np.zeros((1, 40))])
    assert alone == pytest.approx((1 - 0.95**0.5) / 2, rel=0.1)
    assert joint_tail(np.zeros((3, 40))) < alone


def test_few_patients_are_not_believed_to_err_together():
    added = np.random.default_rng(3).standard_normal((1, 6)) + 0.01 * np.random.default_rng(4).standard_normal((8, 6))
    many = np.repeat(added, 50, axis=1)
    assert joint_tail(added) < 0.6 * joint_tail(many)


def test_the_best_is_named_with_the_choice_allowed_for():
    values, ends = {"a": 0.9, "b": 0.86, "c": None}, {"a": (0.8, 0.95), "b": (0.7, 0.93), "c": None}
    said = best_sentence(values, ends, "accuracy", False, named="b")
    assert said == (
        "the best of 2 on test, by accuracy: a 0.9, allowing for the choice 0.8 to 0.95; b 0.86, allowing for the "
        "choice 0.7 to 0.93"
    )
    assert best_sentence(values, ends, "error", True, named="b").startswith("the best of 2 on test, by error: b 0.86")
    assert best_sentence({"a": 0.9}, ends, "accuracy", False) == ""


# -- answers kept for it ---------------------------------------------------------------------------

TASKS = {
    "classes": Classification("multiclass", ("x", "y", "z")),
    "labels": Multilabel(("x", "y")),
    "number": Regression("age"),
}


def features_of(kind: str, y: np.ndarray, groups: np.ndarray) -> Features:
    rows = len(y)
    return Features(
        X=np.zeros((rows, 1), np.float32),
        y=y,
        classes={"classes": ("x", "y", "z"), "labels": ("x", "y"), "number": ("age",)}[kind],
        paths=[f"secret/{i}.png" for i in range(rows)],
        groups=np.array([f"Smith {i}" for i in groups], dtype=object),
        splits=np.array(["test"] * rows, dtype=object),
        keys=[i.to_bytes(32, "big")[::-1] for i in range(rows)],
        sources=(FeatureSource("s", VGG16, "avg", (1, 1, 1), 1),),
        synthetic=False,
        data="secret",
        task=TASKS[kind],
        metadata_columns={},
    )


@pytest.mark.parametrize("kind", KINDS)
def test_answers_come_back_and_give_the_same_intervals(kind, tmp_path):
    y, outputs, groups = drawn(kind)
    features = features_of(kind, y, groups)
    rows = np.random.default_rng(0).permutation(len(y))
    path = tmp_path / "test_answers.csv"
    write_kept_answers(path, features, rows, {name: given[rows] for name, given in outputs.items()})
    back = read_kept_answers(path, kind, features.classes, list(outputs))
    before = simultaneous_intervals(kind, y, outputs, groups)
    after = simultaneous_intervals(kind, back.y, back.outputs, back.groups)
    for name in outputs:
        assert after.intervals[name] == pytest.approx(before.intervals[name], rel=1e-4)
    assert back.images[0] == features.keys[rows[0]].hex()[:16]
    assert "Smith" not in path.read_text()
    assert "secret" not in path.read_text()
    assert read_kept_answers(tmp_path / "none.csv", kind, features.classes, ["m"]) is None


@pytest.mark.parametrize(
    "text",
    [
        "image,group,true 0\nff,0,0\n",
        "image,group,true 0,0 0\nff,zero,0,1\n",
        "image,group,true 0,0 0\nff,0,0,7\n",
        "image,group,true 0,0 0\nff,0,0,\n",
        "image,group,true 0,0 0\nff,0,0,inf\n",
        "image,group,true 0,0 0\nff,0,0\n",
        "path,group,true 0,0 0\nff,0,0,0\n",
    ],
)
def test_answers_that_are_none_are_refused(text, tmp_path):
    (tmp_path / "test_answers.csv").write_text(text)
    with pytest.raises(DataError, match="make the run anew"):
        read_kept_answers(tmp_path / "test_answers.csv", "classes", ("x", "y"), ["m"])
