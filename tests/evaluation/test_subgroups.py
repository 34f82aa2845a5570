"""Subgroups: which rows they have, what is said of them, and when a gap is no chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from featcache.errors import DataError, UsageError
from heads.evaluation.label_metrics import evaluate_labels
from heads.evaluation.number_metrics import evaluate_numbers
from heads.evaluation.roc_areas import area_interval
from heads.evaluation.subgroup_metrics import gap_p_value, holm, subgroup_metrics
from heads.evaluation.subgroups import subgroups

SEX = np.array(["f", "m", None, "m", "f", "m"], object)
AGE = np.array([39.9, 40, np.nan, 65, 12, 90])


def members(spec, **columns):
    return {
        column: {name: np.flatnonzero(mask).tolist() for name, mask in parts.items()}
        for column, parts in subgroups(columns, spec).items()
    }


def test_text_and_edges_and_what_is_not_known():
    assert members("sex, age:0-40-65-", sex=SEX, age=AGE) == {
        "sex": {"f": [0, 4], "m": [1, 3, 5], "not known": [2]},
        "age": {"0 to 40": [0, 4], "40 to 65": [1], "65 and more": [3, 5], "not known": [2]},
    }
    assert members("age:-40-", age=AGE)["age"] == {"below 40": [0, 4], "40 and more": [1, 3, 5], "not known": [2]}
    assert members("age:20-40-65", age=AGE)["age"] == {
        "20 to 40": [0], "40 to 65": [1], "outside": [3, 4, 5], "not known": [2]
    }  # fmt: skip
    assert members("a:b", **{"a:b": SEX})["a:b"]["f"] == [0, 4]  # a name with a colon
    said = np.array(["a", "not known", None], object)
    assert members("x", x=said)["x"] == {"a": [0], "not known": [1, 2]}


def test_numbers_without_edges():
    few = np.array([0, 1, 1, np.nan, 2.5])
    assert members("x", x=few)["x"] == {"0": [0], "1": [1, 2], "2.5": [4], "not known": [3]}
    quarters = subgroups({"x": np.arange(100) / 2}, "x")["x"]
    assert [int(mask.sum()) for mask in quarters.values()] == pytest.approx([25] * 4, abs=1)
    heaped = subgroups({"x": np.r_[np.zeros(80), np.arange(1, 21)]}, "x")["x"]
    assert sum(int(mask.sum()) for mask in heaped.values()) == 100


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("", UsageError, "--by names no column"),
        ("sex,", UsageError, "ends in a comma"),
        ("sex,sex", UsageError, "'sex' twice"),
        ("weight", DataError, "--by weight: no such column; there are: sex, age, code, patient, nothing"),
        ("age:", UsageError, "expected edges between dashes"),
        ("age:old", UsageError, "expected edges between dashes"),
        ("age:-", UsageError, "expected edges between dashes"),
        ("age:65-40", UsageError, "two or more edges that rise"),
        ("age:40", UsageError, "two or more edges that rise"),
        ("sex:0-1", UsageError, "this one is of text; name it alone"),
        ("code", DataError, "5,000 different values; expected at most 50"),
        ("patient", DataError, "5,000 different whole numbers on 5,000 images, as identifiers are"),
        ("nothing", DataError, "of no image is it known"),
    ],
)
def test_a_spec_that_says_nothing(spec, error, words):
    n = 5000
    columns = {
        "sex": np.resize(SEX, n),
        "age": np.resize(AGE, n),
        "code": np.array([f"c{i}" for i in range(n)], object),
        "patient": np.arange(n, dtype=float),
        "nothing": np.full(n, np.nan),
    }
    with pytest.raises(error, match=words):
        subgroups(columns, spec)


def made(patients: int = 120, size: int = 3, seed: int = 0):
    """Labels of patients, scores alike within them, and groups."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), size)
    y = (rng.random(patients) < 0.4).astype(int)[groups]
    score = rng.normal(size=patients)[groups] + rng.normal(size=len(y)) + 2.5 * y
    return y, score, groups, rng


def test_the_figures_of_a_subgroup_are_those_of_its_rows():
    y, score, groups, rng = made()
    outputs = np.c_[-score, score]
    masks = subgroups({"view": np.array(["AP", "PA"], object)[rng.integers(0, 2, len(y))]}, "view")
    found = subgroup_metrics("classes", y, outputs, groups, masks, ("normal", "covid"))
    assert (found["metric"], found["higher_is_better"]) == ("roc_auc", True)
    for name, mask in masks["view"].items():
        part = found["columns"]["view"]["subgroups"][name]
        own = np.unique(groups[mask], return_inverse=True)[1]
        assert part["value"] == pytest.approx(metrics.roc_auc_score(y[mask], score[mask]))
        assert part["ci"] == list(area_interval(y[mask], outputs[mask], own))
        assert (part["images"], part["patients"], part["positives"]) == (mask.sum(), own.max() + 1, y[mask].sum())
    gap, values = (
        found["columns"]["view"]["gap"],
        [part["value"] for part in found["columns"]["view"]["subgroups"].values()],
    )
    assert gap["difference"] == pytest.approx(np.ptp(values))
    assert found["worst"]["value"] == min(values)
    assert found["worst"]["subgroup"] == gap["worst"]
    predicted = score + 50
    numbers = subgroup_metrics("number", score * 1.0 + 48, predicted, groups, masks, ("age",))
    for name, mask in masks["view"].items():
        part = numbers["columns"]["view"]["subgroups"][name]
        wanted = evaluate_numbers((score + 48)[mask], predicted[mask], groups[mask])
        assert (part["value"], part["ci"], part["positives"]) == (wanted["mae"], wanted["mae_ci"], None)


def test_labels_that_count_are_the_same_in_every_subgroup():
    y, score, groups, rng = made()
    answers = np.c_[y, rng.random(len(y)) < 0.3, rng.random(len(y)) < 0.3].astype(np.float32)
    scores = np.c_[score, rng.normal(size=len(y)), rng.normal(size=len(y))]
    sex = np.array(["f", "m"], object)[groups % 2]
    answers[sex == "f", 2] = np.nan  # nobody looked for it in women
    masks = subgroups({"sex": sex}, "sex")
    found = subgroup_metrics("labels", answers, scores, groups, masks, ("a", "b", "c"))["columns"]["sex"]
    assert found["labels"] == ["a", "b"]
    for name, mask in masks["sex"].items():
        wanted = evaluate_labels(answers[mask][:, :2], scores[mask][:, :2], groups[mask], ("a", "b"))
        part = found["subgroups"][name]
        assert part["value"] == pytest.approx(wanted["mean_roc_auc"])
        assert part["ci"] == pytest.approx(wanted["mean_roc_auc_ci"])
        assert part["positives"]["a"] == wanted["labels"]["a"]["positives"]
    assert 0 < found["gap"]["p"] <= 1


def test_several_classes():
    rng = np.random.default_rng(0)
    y, groups = np.arange(180) % 3, np.arange(180)
    p = rng.dirichlet(np.ones(3), 180) + np.eye(3)[y] * 0.3
    p /= p.sum(axis=1, keepdims=True)
    masks = subgroups({"site": np.array(["a", "b"], object)[groups // 3 % 2]}, "site")
    found = subgroup_metrics("classes", y, p, groups, masks, ("x", "y", "z"))["columns"]["site"]
    for name, mask in masks["site"].items():
        area = metrics.roc_auc_score(y[mask], p[mask], multi_class="ovr")
        assert found["subgroups"][name]["value"] == pytest.approx(area)
        assert found["subgroups"][name]["positives"] == {"x": 30, "y": 30, "z": 30}


def test_too_few_to_say():
    y, score, groups, _ = made()
    site = np.where(groups < 4, "small", np.where(groups < 60, "a", "b")).astype(object)
    site[groups > 115] = None
    found = subgroup_metrics(
        "classes", y, np.c_[-score, score], groups, subgroups({"site": site}, "site"), ("normal", "covid")
    )["columns"]["site"]
    assert {name: part.get("note") for name, part in found["subgroups"].items()} == {
        "a": None, "b": None, "small": "too few to say", "not known": "too few to say"
    }  # fmt: skip
    assert {found["gap"]["best"], found["gap"]["worst"]} == {"a", "b"}
    one = subgroup_metrics("number", score, score + 1, groups, {"all": {"x": groups >= 0}}, ("age",))
    assert one["columns"]["all"]["gap"] is None


@pytest.mark.parametrize("within", [False, True], ids=["of patients", "of images"])
@pytest.mark.parametrize("kind", ["classes", "labels", "number"])
def test_a_gap_that_is_there_is_shown(kind, within):
    y, score, groups, rng = made(patients=160)
    column = rng.integers(0, 2, len(y)) if within else rng.integers(0, 2, groups.max() + 1)[groups]
    score[column == 1] = rng.normal(size=(column == 1).sum())  # the model knows nothing there
    masks = subgroups({"view": np.array(["AP", "PA"], object)[column]}, "view")
    if kind == "number":
        found = subgroup_metrics(
            kind, score * 0.0, np.where(column, 3, 1) * rng.normal(size=len(y)), groups, masks, ("x",)
        )
    elif kind == "labels":
        found = subgroup_metrics(kind, np.c_[y, y].astype(float), np.c_[score, score], groups, masks, ("a", "b"))
    else:
        found = subgroup_metrics(kind, y, np.c_[-score, score], groups, masks, ("n", "p"))
    gap = found["columns"]["view"]["gap"]
    assert (gap["worst"], gap["shown"]) == ("PA", True)
    assert gap["p"] == gap["p_corrected"] == pytest.approx(1 / 2000)


def test_subgroups_that_mean_nothing_are_seldom_told_apart():
    """Patients' images are alike; a test that dealt images of whole patients out one by one would find much."""
    alarms, p = 0, []
    for seed in range(40):
        _, score, groups, rng = made(patients=40, size=6, seed=seed)
        score = score + 2 * rng.normal(size=40)[groups]
        column = rng.integers(0, 2, 40)[groups]
        p.append(gap_p_value("number", score * 0.0, score, groups, column, rng))
        alarms += p[-1] < 0.05
    assert alarms <= 6  # 2 expected; 7 or more in 1 of 200 such series
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_the_test_does_not_mistake_how_many_are_ill_for_how_well_they_are_told():
    """Men are ill more often, and the model is as good in them."""
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        male = np.arange(200) % 2
        y = (rng.random(200) < np.where(male, 0.6, 0.2)).astype(int)
        score = rng.normal(size=200) + 1.5 * y
        alarms += gap_p_value("classes", y, np.c_[-score, score], np.arange(200), male, rng) < 0.05
    assert alarms <= 6


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
