"""How often 95% intervals hold the truth, and how often tests raise false alarms: the tables of docs/coverage.md.

    python tests/benchmarks/coverage.py --out docs/coverage.md         # 4,000 draws of each; an hour on 2 cores
    python tests/benchmarks/coverage.py --only shares --draws 400      # a part, sooner

Rows of a group share an intra-class correlation (ICC): what is right or wrong is beta-binomial, scores are normal.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom, norm, spearmanr, t
from sklearn.model_selection import StratifiedGroupKFold

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import conformal_draws

from featcache.data.tasks import Classification, Kind, Multilabel, Regression, Task
from heads.auditing.confounding import confounded
from heads.auditing.leakage import leak_inflation
from heads.auditing.metadata_probes import told_by, worth_asking
from heads.auditing.questions import MEASURES, ask, held_out
from heads.auditing.shortcut_probes import chances
from heads.auditing.without_shortcuts import without_shortcuts
from heads.evaluation.average_precisions import average_precision_limits, average_precision_of
from heads.evaluation.elimination import standings
from heads.evaluation.held_out_ridge import held_out_labels, whole_group_folds
from heads.evaluation.intervals import mean_f1, mean_influence, mean_recall, share_interval
from heads.evaluation.label_metrics import enough, evaluate_labels
from heads.evaluation.label_permutation import p_values
from heads.evaluation.number_metrics import evaluate_numbers
from heads.evaluation.paired_tests import differences
from heads.evaluation.predictive_values import predictive_values
from heads.evaluation.ridge_smoother import RidgeSmoother
from heads.evaluation.roc_areas import area_interval
from heads.evaluation.simultaneous_intervals import simultaneous_intervals
from heads.evaluation.subgroup_metrics import gap_p_value, holm
from heads.experiments.scouting_rounds import scouting_rounds

ACCURACIES = (0.5, 0.8, 0.9, 0.95, 0.99)
Row = tuple[object, ...]


# -- what is drawn -------------------------------------------------------------------------------


def hits(rng: np.random.Generator, groups: int, size: int, accuracy: float, icc: float) -> np.ndarray:
    """Right or wrong, bool array of shape (groups * size,)."""
    if not icc:
        return rng.random(groups * size) < accuracy
    strength = 1 / icc - 1
    of_group = rng.beta(accuracy * strength, (1 - accuracy) * strength, groups)
    return (rng.random((groups, size)) < of_group[:, None]).ravel()


def normals(rng: np.random.Generator, groups: int, size: int, icc: float) -> np.ndarray:
    """Normal numbers, array of shape (groups * size,), alike within groups."""
    shared, own = rng.standard_normal((groups, 1)), rng.standard_normal((groups, size))
    return (np.sqrt(icc) * shared + np.sqrt(1 - icc) * own).ravel()


def two_models(
    rng: np.random.Generator, groups: int, size: int, accuracy: float, lead: float, mixed: bool
) -> tuple[np.ndarray, ...]:
    """Labels, probabilities and predictions of two models, and groups: patients whose images are alike, to both models
    (ICC 0.3, of which 0.3 is either model's own)."""
    y = np.zeros((groups, size), int)
    y[: groups // 2] = 1
    if mixed:
        y = rng.integers(0, 2, (groups, size))
        y[0, 0], y[-1, -1] = 1, 0
    shared, image = rng.standard_normal((groups, 1)), rng.standard_normal((groups, size))

    def latent() -> np.ndarray:
        own, noise = rng.standard_normal((groups, 1)), rng.standard_normal((groups, size))
        return np.sqrt(0.21) * shared + np.sqrt(0.09) * own + np.sqrt(0.35) * (image + noise)

    p, predicted = [], []
    for skill in (accuracy + lead, accuracy):
        predicted.append(np.where(latent() < norm.ppf(skill), y, 1 - y).ravel())
        score = (latent() + norm.ppf(skill) * np.sqrt(2) * y).ravel()
        p.append(np.c_[-score, score])
    return (y.ravel(), *p, *predicted, np.repeat(np.arange(groups), size))


def random_audit(rng: np.random.Generator, patients: int, size: int, torn: int) -> list[float]:
    """p-values of five classifiers on labels dealt to patients at random, ``torn`` of whom get an image of the other
    class; each sees numbers that show the patient."""
    y = np.repeat(rng.permutation(np.arange(patients) % 2), size)
    groups = np.repeat(np.arange(patients), size)
    for patient in rng.permutation(patients)[:torn]:
        y[patient * size + rng.integers(size)] ^= 1
    folds = list(StratifiedGroupKFold(5, shuffle=True, random_state=int(rng.integers(2**31))).split(y, y, groups))
    given = []
    for _ in range(5):
        X = np.c_[[normals(rng, patients, size, 0.8) for _ in range(6)]].T
        predicted = np.empty(len(y), int)
        for train, test in folds:
            means = [X[train][y[train] == label].mean(axis=0) for label in (0, 1)]
            far = [((X[test] - mean) ** 2).sum(axis=1) for mean in means]
            predicted[test] = far[1] < far[0]
        given.append(predicted)
    return p_values(y, given, groups, int(rng.integers(2**31)))


def random_targets(rng: np.random.Generator, kind: str, patients: int, size: int, torn: int) -> np.ndarray:
    """Targets dealt to patients at random, ``torn`` of whom have an image with others: of two or four classes, of six
    labels that go together, one of them rare, a tenth not known; or a number."""
    first = rng.permutation(patients)[:torn] * size + rng.integers(size, size=torn)
    if kind in ("two classes", "four classes"):
        number = 2 if kind == "two classes" else 4
        y = np.repeat(rng.permutation(np.arange(patients) % number), size)
        y[first] = rng.integers(0, number, torn)
        return y
    if kind == "six labels":
        shared = rng.standard_normal((patients, 1))
        scores = np.repeat(0.7 * shared + 0.7 * rng.standard_normal((patients, 6)), size, axis=0)
        scores[first] = rng.standard_normal((torn, 6))
        known = (scores > np.array([0, 0.2, 0.5, 0.5, 0.8, 1.2])).astype(np.float32)
        known[np.repeat(rng.random((patients, 6)) < 0.1, size, axis=0)] = np.nan
        return known
    ages = np.repeat(rng.gamma(6, 8, patients), size)
    ages[first] += rng.uniform(0, 5, torn)
    return ages


def random_metadata(rng: np.random.Generator, patients: int, size: int) -> dict[str, np.ndarray]:
    """Columns as tables have them: of patients and of images, text and numbers, with cells that are empty."""
    count = patients * size

    def category(number: int, of_patients: bool) -> np.ndarray:
        weights = rng.dirichlet(np.full(number, 2.0))
        drawn = rng.choice(number, patients if of_patients else count, p=weights)
        return np.array([f"v{value}" for value in (np.repeat(drawn, size) if of_patients else drawn)], object)

    view = category(2, False)
    alike = rng.random(count) < 0.7
    view[alike] = category(2, True)[alike]
    site = category(8, True)
    site[rng.random(count) < 0.15] = None
    age = np.repeat(rng.normal(50, 15, patients), size).round()
    age[np.repeat(rng.random(patients) < 0.2, size)] = np.nan
    return {"sex": category(2, True), "view": view, "site": site, "age": age, "dose": normals(rng, patients, size, 0.5)}


def metadata_audit(rng: np.random.Generator, kind: str, patients: int, size: int, torn: int) -> tuple[float, float]:
    """The least p of the probes of such metadata and of three of images, and that of a table of what goes together."""
    y, groups = random_targets(rng, kind, patients, size, torn), np.repeat(np.arange(patients), size).astype(str)
    names = tuple(f"t{i}" for i in range({"two classes": 2, "four classes": 4, "six labels": 6}.get(kind, 1)))
    tasks: dict[str, Task] = {"six labels": Multilabel(names), "a number": Regression("t0")}
    task = tasks.get(kind, Classification())
    columns, seed = random_metadata(rng, patients, size), int(rng.integers(2**31))
    images = [np.c_[[normals(rng, patients, size, 0.8) for _ in range(6)]].T for _ in range(3)]
    measure, answers = MEASURES[task.kind], []
    for question in ask(task, y, names, groups, seed):
        for X in (X[question.rows] for X in images):
            near = held_out(
                question.folds,
                lambda learnt, held, X=X, q=question: _nearest(X[learnt], q.y[learnt], X[held], q.n_classes),
            )
            answers.append((question, near[:, 1] if task.kind == "labels" else near))
        told = (told_by(column, question, measure) for column in worth_asking(columns))
        answers += [one for one in told if one is not None]
    least = min(chances(measure, answers, seed), default=1.0)
    return least, min((row["p"] for row in confounded(columns, task, y, names, groups, seed)), default=1.0)


def _nearest(learnt: np.ndarray, y: np.ndarray, held: np.ndarray, n_classes: int) -> np.ndarray:
    """What the nearer mean of a class says: a share of each; of numbers, the mean of the five nearest rows."""
    if y.dtype.kind == "f":
        far = ((held[:, None] - learnt[None]) ** 2).sum(axis=2)
        return y[np.argsort(far, axis=1)[:, :5]].mean(axis=1)
    own = [learnt[y == label] for label in range(n_classes)]
    means = [rows.mean(axis=0) if len(rows) else np.inf for rows in own]  # of a class that is held out, nothing is near
    near = np.exp(-np.stack([((held - mean) ** 2).sum(axis=1) for mean in means], axis=1) / 2)
    return near / near.sum(axis=1, keepdims=True)


def planted(
    rng: np.random.Generator, patients: int, size: int, icc: float, rates: tuple[float, float], of_image: bool
) -> tuple[np.ndarray, ...]:
    """Features, classes and groups, and what a probe sees. A marker is there as often as the rates of the classes say,
    in all images of a patient or in each by itself; it shows in some features, as the class does in others."""
    count = patients * size
    groups = np.repeat(np.arange(patients), size)
    y = rng.permutation(np.arange(patients) % 2)[groups]
    chance = rng.random(count if of_image else patients)
    marker = (chance if of_image else chance[groups]) < np.where(y == 1, *rates)
    X, seen = (np.c_[[normals(rng, patients, size, icc) for _ in range(columns)]].T for columns in (40, 6))
    shows = marker - 0.5
    X[:, 0] += 1.5 * (y - 0.5)
    X[:, 1] += 3 * shows
    X[:, 2] += 0.75 * (y - 0.5) + 1.5 * shows
    seen[:, :2] += 3.5 * marker[:, None]
    return X, y, groups, seen


def score_by_chance(
    rng: np.random.Generator, patients: int, size: int, icc: float, of_image: bool, draws: int = 100
) -> float:
    """What ridge classifiers score that learnt from 0.9 of so many patients, where half of either class has the marker:
    on 20,000 more such."""
    others, true, _, _ = planted(rng, 20000, 1, icc, (0.5, 0.5), of_image)
    scores = []
    for _ in range(draws):
        X, y, groups, _ = planted(rng, round(0.45 * patients) * 2, size, icc, (0.5, 0.5), of_image)
        smoother, targets = RidgeSmoother(X), np.eye(2)[y]
        slopes, level = smoother.model(targets, smoother.best_penalty(targets, whole_group_folds(y, groups, 0)))
        right = (others @ slopes + level).argmax(axis=1) == true
        scores.append(np.mean([right[true == label].mean() for label in (0, 1)]))
    return float(np.mean(scores))


def without_planted(rng: np.random.Generator, *drawn: Any) -> dict[str, Any]:
    X, y, groups, seen = planted(rng, *drawn)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=int(rng.integers(2**31))).split(y, y, groups)
    given = held_out(list(folds), lambda learnt, held: _nearest(seen[learnt], y[learnt], seen[held], 2))
    found = without_shortcuts(X, y, groups, {"corners": given}, int(rng.integers(2**31)))
    assert found is not None
    return found


def patients_alike(
    rng: np.random.Generator, patients: int, size: int, icc: float
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Ten features, the first of which tells a little of a patient's class; labels, and groups."""
    y = np.repeat(np.arange(patients) % 2, size)
    X = np.c_[[normals(rng, patients, size, icc) for _ in range(10)]].T
    X[:, 0] += y
    return X, y, [str(patient) for patient in np.repeat(np.arange(patients), size)]


def network_features(
    rng: np.random.Generator, y: np.ndarray, size: int, columns: int, signal: float, icc: float
) -> np.ndarray:
    """Features of a made-up network: classes so many deviations apart along one direction, patients alike."""
    direction = rng.standard_normal(columns)
    patients = np.repeat(rng.standard_normal((len(y) // size, columns)), size, axis=0)
    noise = np.sqrt(icc) * patients + np.sqrt(1 - icc) * rng.standard_normal((len(y), columns))
    return noise + np.outer((y - 0.5) * signal, direction / np.linalg.norm(direction))


def race(
    rng: np.random.Generator, patients: int, size: int, columns: int, signals: tuple[float, ...], icc: float
) -> tuple[list[int], float, float]:
    """A scouting of made-up networks: which are left, the share of all images computed, and the first one's score."""
    y, of_group = np.repeat(np.arange(patients) % 2, size), np.repeat(np.arange(patients), size)
    networks = {str(i): network_features(rng, y, size, columns, signal, icc) for i, signal in enumerate(signals)}
    seed = int(rng.integers(2**31))
    rounds, left, computed, score = scouting_rounds(y, of_group, seed), list(networks), dict[str, int](), 0.0
    for rows in rounds:
        groups = np.unique(of_group[rows], return_inverse=True)[1]
        folds = whole_group_folds(y[rows], groups, seed)
        predicted = {name: held_out_labels(networks[name][rows], y[rows], folds) for name in left}
        now = standings(y[rows], predicted, groups, len(rounds), len(networks))
        computed |= dict.fromkeys(left, len(rows))
        score = now["0"].score if "0" in now else score
        left = [name for name in left if not now[name].stopped]
        if len(left) == 1:
            break
    return [int(name) for name in left], sum(computed.values()) / len(y) / len(networks), score


def several_models(
    rng: np.random.Generator, patients: int, size: int, models: int, accuracy: float, alike: float
) -> np.ndarray:
    """Which of several models is right on which image, bool array of shape (models, patients * size): all of one
    accuracy; 0.3 of what decides it is the patient, and ``alike`` of either part is the same for all models."""

    def part(count: int, repeat: int) -> np.ndarray:
        shared, own = rng.standard_normal((1, count)), rng.standard_normal((models, count))
        return np.repeat(np.sqrt(alike) * shared + np.sqrt(1 - alike) * own, repeat, axis=1)

    latent = np.sqrt(0.3) * part(patients, size) + np.sqrt(0.7) * part(patients * size, 1)
    return latent < norm.ppf(accuracy)


def label_answers(rng: np.random.Generator, groups: int, size: int, prevalence: float, within: bool) -> np.ndarray:
    """Which rows have a label, bool array of shape (groups * size,): all of a patient or none, or, ``within``, some of
    his, alike by an ICC of 0.3."""
    if not within:
        return np.repeat(rng.random(groups) < prevalence, size)
    strength = 1 / 0.3 - 1
    of_group = rng.beta(prevalence * strength, (1 - prevalence) * strength, groups)
    return (rng.random((groups, size)) < of_group[:, None]).ravel()


def true_precision(apart: float, prevalence: float) -> float:
    """The average precision of normal scores so many deviations apart, in endlessly many rows."""
    x = np.linspace(-9, 9 + apart, 40_001)
    positive, negative = prevalence * norm.sf(x - apart), (1 - prevalence) * norm.sf(x)
    return float(np.trapezoid(norm.pdf(x - apart) * positive / (positive + negative + 1e-300), x))


def number_and_error(
    rng: np.random.Generator, of_group: np.ndarray, icc: float, noise: float, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """A normal number and its error; a patient's numbers are the same (``age``), or alike; of ``heavy`` errors each
    patient's have a scale of their own (a t distribution with 6 degrees of freedom)."""
    groups, n = int(of_group.max()) + 1, len(of_group)

    def alike(rho: float) -> np.ndarray:
        return np.sqrt(rho) * rng.standard_normal(groups)[of_group] + np.sqrt(1 - rho) * rng.standard_normal(n)

    y, error = alike(1.0 if kind == "age" else icc), noise * alike(icc)
    return y, error / np.sqrt(rng.chisquare(6, groups) / 6)[of_group] if kind == "heavy" else error


# -- what is counted -----------------------------------------------------------------------------


def told(found: list[tuple[float, float]], truth: float) -> Row:
    low, high = np.array(found).T
    return (f"{np.mean((low - 1e-12 <= truth) & (truth <= high + 1e-12)):.3f}", f"{np.mean(high - low):.2f}")


def shares_alone(n: int) -> Row:
    """Exact: every number of hits, weighed by its probability."""
    limits = np.array([share_interval(np.arange(n) < k) for k in range(n + 1)])
    cells: list[object] = []
    for accuracy in ACCURACIES:
        weights = binom.pmf(np.arange(n + 1), n, accuracy)
        inside = (limits[:, 0] <= accuracy) & (accuracy <= limits[:, 1])
        cells.append(f"{weights @ inside:.3f} ({weights @ (limits[:, 1] - limits[:, 0]):.2f})")
    return (n, *cells)


def recalls_alone(few: int, many: int) -> Row:
    """Exact, but for what has a chance below 1 in 10,000 in either class: every pair of numbers of hits."""
    y, cells = np.repeat([0, 1], [few, many]), []
    known: dict[tuple[int, ...], tuple[float, float]] = {}
    for recall in ACCURACIES:
        ends = [binom.ppf([1e-4, 1 - 1e-4], count, recall).astype(int) for count in (few, many)]
        weights, found = [], []
        for pair in itertools.product(*(range(low, high + 1) for low, high in ends)):
            if pair not in known:
                right = np.concatenate([np.arange(n) < k for n, k in zip((few, many), pair, strict=True)])
                known[pair] = mean_recall(y, np.where(right, y, 1 - y), np.arange(len(y)))
            weights.append(np.prod(binom.pmf(pair, (few, many), recall)))
            found.append(known[pair])
        low, high = np.array(found).T
        held = np.average((low <= recall) & (recall <= high), weights=weights)
        cells.append(f"{held:.3f} ({np.average(high - low, weights=weights):.2f})")
    return (f"{few} + {many}", *cells)


def shares(groups: int, size: int, icc: float, draws: int) -> Row:
    rng, of_group = np.random.default_rng([groups, size, int(10 * icc)]), np.repeat(np.arange(groups), size)
    cells = []
    known: dict[bytes, tuple[float, float]] = {}  # the order of groups of one size makes no difference
    for accuracy in ACCURACIES:
        found = []
        for _ in range(draws):
            right = hits(rng, groups, size, accuracy, icc)
            key = np.sort(right.reshape(groups, size).sum(axis=1)).tobytes()
            if key not in known:
                known[key] = share_interval(right, of_group)
            found.append(known[key])
        cells.append("{} ({})".format(*told(found, accuracy)))
    return (groups, size, icc, *cells)


def calls(
    positives: int, negatives: int, size: int, icc: float, ends: tuple[float, float], prevalence: float, draws: int
) -> Row:
    """Of patients who have it and patients who have it not, told with such a sensitivity and specificity."""
    sensitivity, specificity = ends
    of_all = {  # hits and misses of all that is called, or not
        "ppv": (prevalence * sensitivity, (1 - prevalence) * (1 - specificity)),
        "npv": ((1 - prevalence) * specificity, prevalence * (1 - sensitivity)),
    }
    truth = {name: right / (right + wrong) for name, (right, wrong) in of_all.items()}
    rng = np.random.default_rng([positives, negatives, size, int(1000 * prevalence)])
    told_of: dict[str, list[tuple[float, float]]] = {"ppv": [], "npv": []}
    positive = np.repeat(np.arange(positives + negatives) < positives, size)
    groups = np.repeat(np.arange(positives + negatives), size)
    for _ in range(draws):
        said = np.r_[hits(rng, positives, size, sensitivity, icc), ~hits(rng, negatives, size, specificity, icc)]
        of = predictive_values(positive, said, groups, prevalence)
        for name, intervals in told_of.items():
            if of[f"{name}_ci"] is not None:
                intervals.append(of[f"{name}_ci"])
    cells = ["{:.4g}: {} ({})".format(truth[name], *told(found, truth[name])) for name, found in told_of.items()]
    return (positives, negatives, size, icc, f"{ends[0]}, {ends[1]}", prevalence, *cells)


def averages(positives: int, negatives: int, size: int, icc: float, accuracy: float, draws: int) -> Row:
    """ROC area, balanced accuracy and macro F1 of two classes, each patient of one; counts are of patients."""
    rng = np.random.default_rng([positives, negatives, size, int(10 * icc), int(100 * accuracy)])
    y = np.repeat([1, 0], [positives * size, negatives * size])
    of_group = np.repeat(np.arange(positives + negatives), size)
    found: dict[str, list[tuple[float, float]]] = {"area": [], "recall": [], "f1": []}
    for _ in range(draws):
        score = np.r_[
            normals(rng, positives, size, icc) + norm.ppf(accuracy) * np.sqrt(2), normals(rng, negatives, size, icc)
        ]
        right = np.r_[hits(rng, positives, size, accuracy, icc), hits(rng, negatives, size, accuracy, icc)]
        predicted = np.where(right, y, 1 - y)
        found["area"].append(area_interval(y, np.c_[-score, score], of_group))
        found["recall"].append(mean_recall(y, predicted, of_group))
        found["f1"].append(mean_f1(y, predicted, of_group))
    counts = np.array([positives, negatives])
    f1 = float(np.mean(2 * counts * accuracy / (2 * counts * accuracy + counts.sum() * (1 - accuracy))))
    cells = [
        "{} ({})".format(*told(found[name], truth))
        for name, truth in (("area", accuracy), ("recall", accuracy), ("f1", f1))
    ]
    return (f"{positives} + {negatives}", size, icc, accuracy, *cells)


def comparisons(groups: int, size: int, accuracy: float, lead: float, mixed: bool, draws: int) -> Row:
    rng = np.random.default_rng([groups, size, int(100 * accuracy), int(100 * lead), mixed])
    names = ("accuracy", "balanced_accuracy", "roc_auc")
    shown, inside = np.zeros(3), np.zeros(3)
    for _ in range(draws):
        found = differences(*two_models(rng, groups, size, accuracy, lead, mixed))
        for place, name in enumerate(names):
            one = found[name]
            assert one is not None
            shown[place] += one.p < 0.05
            inside[place] += one.ci[0] <= lead <= one.ci[1]
    cells = [f"{a:.3f} / {b:.3f}" for a, b in zip(shown / draws, inside / draws, strict=True)]
    return (groups, size, "both" if mixed else "one", f"{accuracy + lead:.2f}, {accuracy:.2f}", *cells)


def audits(patients: int, size: int, torn: int, draws: int) -> Row:
    rng = np.random.default_rng([patients, size, torn])
    least = np.array([min(random_audit(rng, patients, size, torn)) for _ in range(draws)])
    return (patients, size, torn, f"{np.mean(least < 0.01):.4f}", f"{np.mean(least < 0.05):.4f}")


def metadata_audits(kind: str, patients: int, size: int, torn: int, draws: int) -> Row:
    rng = np.random.default_rng([len(kind), patients, size, torn])
    probes, tables = np.array([metadata_audit(rng, kind, patients, size, torn) for _ in range(draws)]).T
    told = (f"{np.mean(probes < 0.01):.4f}", f"{np.mean(probes < 0.05):.4f}", f"{np.mean(tables < 0.05):.4f}")
    return (kind, patients, size, torn, draws, *told)


def inflations(patients: int, size: int, icc: float, draws: int) -> Row:
    """The truth is the mean over the draws: what such folds gain on average, on sets of so many patients."""
    rng = np.random.default_rng([patients, size, int(10 * icc)])
    found = []
    for _ in range(draws):
        inflation = leak_inflation(*patients_alike(rng, patients, size, icc), int(rng.integers(2**31)))
        assert inflation is not None
        found.append((inflation["difference"], *inflation["interval"]))
    gain, low, high = np.array(found).T
    coverage = "{} ({})".format(*told(list(zip(low, high, strict=True)), float(gain.mean())))
    return (patients, size, icc, f"{gain.mean():+.3f}", coverage, f"{np.mean(low > 0):.3f}")


def nets(patients: int, size: int, icc: float, rates: tuple[float, float], of_image: bool, draws: int) -> Row:
    """The truth is what models score for which the marker means nothing, learnt from as many patients as those alike
    are worth (and beside it, from as many as there are). The difference's is the mean of plain scores minus it, or 0
    where the marker means nothing."""
    rng = np.random.default_rng([patients, size, int(10 * icc), *(int(100 * rate) for rate in rates), of_image])
    found = [without_planted(rng, patients, size, icc, rates, of_image) for _ in range(draws)]
    said = [one for one in found if one["net"] is not None]
    beside = (patients, size, icc, "{:g}, {:g}".format(*rates), "image" if of_image else "patient", draws)
    plain = float(np.mean([one["plain"] for one in found]))
    unsaid = f"{1 - len(said) / draws:.2f}"
    if not said:
        return (*beside, f"{plain:.3f}", *[""] * 7, unsaid)
    worth = float(np.mean([one["matched"]["effective_patients"] for one in said]))
    of_all, truth = (score_by_chance(rng, number, size, icc, of_image) for number in (patients, round(worth)))
    net, gaps = ([tuple(one[name]) for one in said] for name in ("net_ci", "difference_ci"))
    shown = f"{np.mean([low > 0 for low, _ in gaps]):.2f}"
    mean = f"{np.mean([one['net'] for one in said]):.3f}"
    cells = [
        "{} ({})".format(*told(net, truth)),
        "{} ({})".format(*told(gaps, plain - truth if len(set(rates)) == 2 else 0.0)),
    ]
    return (*beside, f"{plain:.3f}", f"{worth:.0f}", f"{of_all:.3f}", f"{truth:.3f}", mean, *cells, shown, unsaid)


def races(patients: int, size: int, columns: int, signals: tuple[float, ...], icc: float, draws: int) -> Row:
    """The first network is the best, or as good as any."""
    rng = np.random.default_rng([patients, size, columns, int(10 * signals[-1])])
    left, computed, score = zip(*(race(rng, patients, size, columns, signals, icc) for _ in range(draws)), strict=True)
    lost, found = np.mean([0 not in names for names in left]), np.mean([names == [0] for names in left])
    apart = ", ".join(f"{signal:g}" for signal in signals)
    told = (f"{np.mean(score):.2f}", draws, f"{lost:.3f}", f"{found:.3f}", f"{np.mean(computed):.2f}")
    return (patients, size, icc, columns, apart, *told)


def precisions(groups: int, size: int, icc: float, prevalence: float, within: bool, apart: float, draws: int) -> Row:
    rng = np.random.default_rng([groups, size, int(10 * icc), int(100 * prevalence), within, int(10 * apart)])
    of_group, found, values = np.repeat(np.arange(groups), size), [], []
    while len(found) < draws:
        y = label_answers(rng, groups, size, prevalence, within)
        score = normals(rng, groups, size, icc) + apart * y
        if enough(y, of_group):
            precision = average_precision_of(y, score)
            values.append(precision.value)
            found.append(average_precision_limits(precision, score, of_group))
    truth = true_precision(apart, prevalence)
    of_patient = "some" if within else "all"
    beside = (f"{truth:.3f}", f"{np.mean(values):.3f}")
    return (groups, size, icc, prevalence, of_patient, *beside, "{} ({})".format(*told(found, truth)))


def label_means(groups: int, size: int, icc: float, prevalence: float, apart: float, draws: int) -> Row:
    """Three labels, whose scores share half of what they vary by; a fifth of the answers is not known."""
    rng = np.random.default_rng([groups, size, int(10 * icc), int(100 * prevalence), int(10 * apart)])
    of_group = np.repeat(np.arange(groups), size)
    areas, precisions_found = [], []
    while len(areas) < draws:
        shared = normals(rng, groups, size, icc)
        y = np.column_stack([label_answers(rng, groups, size, prevalence, False) for _ in range(3)]).astype(float)
        noise = np.column_stack([shared + normals(rng, groups, size, icc) for _ in range(3)]) / np.sqrt(2)
        score = noise + apart * y
        y[rng.random(y.shape) < 0.2] = np.nan
        found = evaluate_labels(y, score, of_group, ("a", "b", "c"))
        if not any("note" in label for label in found["labels"].values()):
            areas.append(tuple(found["mean_roc_auc_ci"]))
            precisions_found.append(tuple(found["mean_average_precision_ci"]))
    cells = (
        told(areas, float(norm.cdf(apart / np.sqrt(2)))),
        told(precisions_found, true_precision(apart, prevalence)),
    )
    return (groups, size, icc, prevalence, f"{apart:g}", draws, *("{} ({})".format(*cell) for cell in cells))


def choices(patients: int, size: int, models: int, accuracy: float, alike: float, draws: int) -> Row:
    """Several models on the same images: how often all intervals hold, and that of the best one."""
    rng = np.random.default_rng([patients, size, models, round(100 * accuracy), round(10 * alike)])
    of_group, y = np.repeat(np.arange(patients), size), np.zeros(patients * size, int)
    held = np.zeros((draws, 4), bool)
    widths = np.zeros((draws, 2))
    for draw in range(draws):
        right = several_models(rng, patients, size, models, accuracy, alike)
        outputs = {str(number): np.column_stack([row, ~row]).astype(float) for number, row in enumerate(right)}
        best = int(right.mean(axis=1).argmax())
        found = simultaneous_intervals("classes", y, outputs, of_group)
        ends = np.array(list(found.intervals.values()))
        alone = share_interval(right[best], of_group)
        added = np.array([np.bincount(of_group, mean_influence(row)) for row in right])
        reached = norm.isf(found.tail) * np.sqrt((added**2).sum(axis=1) * patients / (patients - 1))
        inside = (ends[:, 0] - 1e-9 <= accuracy) & (accuracy <= ends[:, 1] + 1e-9)
        held[draw] = (
            alone[0] - 1e-9 <= accuracy <= alone[1] + 1e-9,
            inside[best],
            inside.all(),
            (np.abs(right.mean(axis=1) - accuracy) <= reached).all(),
        )
        widths[draw] = alone[1] - alone[0], ends[best, 1] - ends[best, 0]
    plain, chosen, every, normal = held.mean(axis=0)
    wide = widths.mean(axis=0)
    cells = (f"{plain:.3f} ({wide[0]:.2f})", f"{chosen:.3f} ({wide[1]:.2f})", f"{every:.3f}", f"{normal:.3f}")
    return (patients, size, models, alike, accuracy, draws, *cells)


def numbers(groups: int, size: int, icc: float, noise: float, kind: str, draws: int) -> Row:
    rng = np.random.default_rng([groups, size, int(10 * icc), int(10 * noise), len(kind)])
    square = noise**2 * (1.5 if kind == "heavy" else 1)
    ranks = 6 / np.pi * np.arcsin(0.5 / np.sqrt(1 + noise**2))
    if kind == "heavy":
        y, error = number_and_error(np.random.default_rng(0), np.arange(1_000_000), 0, noise, kind)
        ranks = spearmanr(y, y + error)[0]
    truth = {
        "mae": float(noise * (t(6).expect(abs) if kind == "heavy" else np.sqrt(2 / np.pi))),
        "rmse": float(np.sqrt(square)),
        "r2": 1 - square,
        "spearman": float(ranks),
        "mean_error": 0.0,
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in truth}
    for _ in range(draws):
        sizes = rng.integers(1, 2 * size, groups) if kind == "uneven" else np.full(groups, size)
        of_group = np.repeat(np.arange(groups), sizes)
        y, error = number_and_error(rng, of_group, icc, noise, kind)
        metrics = evaluate_numbers(y, y + error, of_group)
        for name, ends in found.items():
            ends.append(tuple(metrics[f"{name}_ci"]))
    cells = ["{} ({})".format(*told(found[name], truth[name])) for name in truth]
    return (groups, size, icc, kind, f"{truth['r2']:.2f}", draws, *cells)


def subgroup_alarms(kind: Kind, patients: int, size: int, columns: int, draws: int) -> Row:
    """Subgroups that have nothing to do with the model: half of the columns are of patients, half of images."""
    rng = np.random.default_rng([len(kind), patients, size, columns])
    of_group, alarms, single = np.repeat(np.arange(patients), size), 0, 0
    for _ in range(draws):
        answers = np.column_stack([label_answers(rng, patients, size, 0.4, False) for _ in range(3)]).astype(float)
        score = normals(rng, patients, size, 0.4)[:, None] + answers + rng.standard_normal(answers.shape)
        if kind == "classes":
            y, outputs = answers[:, 0].astype(int), np.column_stack([-score[:, 0], score[:, 0]])
        elif kind == "labels":
            y, outputs = answers, score
        else:
            y, outputs = number_and_error(rng, of_group, 0.4, 1.0, "age")
            outputs = y + outputs
        p = []
        for place in range(columns):
            dealt = rng.integers(0, 2 + place // 2 % 2, patients if place % 2 else len(of_group))
            dealt = dealt[of_group] if place % 2 else dealt
            p.append(gap_p_value(kind, y, outputs, of_group, dealt, rng))
        alarms += min(holm(p)) < 0.05
        single += np.mean(np.array(p) < 0.05)
    return (kind, patients, size, columns, draws, f"{single / draws:.4f}", f"{alarms / draws:.4f}")


def jobs(draws: int) -> Iterator[tuple[str, Callable[..., Row], tuple[object, ...]]]:
    for n in (20, 62, 124, 400):
        yield "alone", shares_alone, (n,)
    for few, many in ((10, 10), (31, 31), (62, 62), (12, 50), (5, 100)):
        yield "recalls", recalls_alone, (few, many)
    for groups, size, icc in itertools.product((5, 8, 10, 25, 100), (5, 20), (0, 0.2, 0.4)):
        yield "shares", shares, (groups, size, icc, draws)
    for n, accuracy in itertools.product((20, 62, 124, 400), ACCURACIES):
        yield "averages", averages, (n // 2, n // 2, 1, 0, accuracy, draws)
    for (many, few), accuracy in itertools.product(((100, 5), (118, 6), (50, 12)), ACCURACIES[1:]):
        yield "averages", averages, (few, many, 1, 0, accuracy, draws)
    for groups, size, icc, accuracy in itertools.product((8, 20, 50), (5, 20), (0, 0.4), (0.8, 0.95)):
        yield "averages", averages, (groups // 2, groups // 2, size, icc, accuracy, draws)
    for (positives, negatives, size, icc, *ends), prevalence in itertools.product(
        (
            (20, 20, 1, 0, 0.9, 0.9),
            (50, 50, 1, 0, 0.9, 0.95),
            (100, 400, 1, 0, 0.9, 0.95),
            (100, 400, 1, 0, 0.99, 0.99),
            (10, 10, 5, 0.4, 0.9, 0.9),
            (25, 25, 5, 0.4, 0.9, 0.95),
            (60, 100, 5, 0.4, 0.8, 0.95),
        ),
        (0.02, 0.2, 0.5),
    ):
        yield "calls", calls, (positives, negatives, size, icc, tuple(ends), prevalence, draws)
    for mixed, groups, size in itertools.product((False, True), (6, 8, 10, 20, 40), (3, 20)):
        yield "comparisons", comparisons, (groups, size, 0.9, 0.0, mixed, draws)
    for groups, size in itertools.product((10, 40), (3, 20)):
        yield "comparisons", comparisons, (groups, size, 0.9, 0.06, False, draws)
    for patients, size, torn in ((16, 6, 0), (16, 6, 1), (24, 1, 0), (30, 10, 1), (20, 5, 5), (20, 5, 20)):
        yield "audits", audits, (patients, size, torn, draws)
    for kind, (patients, size, torn) in itertools.product(
        ("two classes", "four classes", "six labels", "a number"), ((24, 1, 0), (30, 5, 8), (150, 2, 10))
    ):
        yield "metadata", metadata_audits, (kind, patients, size, torn, max(1, draws // 4))
    for (patients, size), icc in itertools.product(((10, 6), (20, 6), (20, 20), (50, 6)), (0, 0.5)):
        yield "inflations", inflations, (patients, size, icc, draws)
    for patients, size, icc, rates, of_image in (
        (100, 1, 0, (0.9, 0.1), False),
        (300, 1, 0, (0.9, 0.1), False),
        (60, 5, 0.4, (0.8, 0.2), False),
        (100, 4, 0.4, (0.9, 0.1), False),
        (200, 2, 0.4, (0.8, 0.2), True),
        (100, 4, 0.4, (0.7, 0.3), False),
        (40, 5, 0.4, (0.5, 0.5), False),
        (100, 2, 0.4, (0.5, 0.5), False),
        (100, 2, 0.4, (1, 0), False),
        (300, 1, 0, (1, 0), False),
    ):
        yield "nets", nets, (patients, size, icc, rates, of_image, max(1, draws // 20))
    for groups, size, icc, prevalence, within, apart in (
        *itertools.product((60, 400), (1,), (0,), (0.3, 0.5), (False,), (1, 2.5)),
        *itertools.product((400,), (1,), (0,), (0.05, 0.1), (False,), (0, 1, 2.5)),
        (1000, 1, 0, 0.02, False, 1),
        *itertools.product((12, 25, 100), (5,), (0.4,), (0.4,), (False,), (1, 2.5)),
        *itertools.product((10, 25, 100), (10,), (0.4,), (0.2,), (True,), (1, 2.5)),
        *itertools.product((100, 400), (5,), (0.4,), (0.1,), (False,), (0, 1)),
    ):
        yield "precisions", precisions, (groups, size, icc, prevalence, within, apart, draws)
    for groups, size, icc, prevalence, apart in (
        (100, 1, 0, 0.4, 1),
        (400, 1, 0, 0.1, 1.5),
        (25, 5, 0.4, 0.4, 1),
        (100, 5, 0.4, 0.2, 1.5),
    ):
        yield "label means", label_means, (groups, size, icc, prevalence, apart, draws // 4)
    for (groups, size, icc), noise, kind in itertools.product(
        ((10, 1, 0), (25, 1, 0), (100, 1, 0), (10, 5, 0.4), (25, 5, 0.4), (100, 5, 0.4), (10, 20, 0.4)),
        (0.5, 1.5),
        ("age", "own"),
    ):
        if size > 1 or kind == "own":
            yield "numbers", numbers, (groups, size, icc, noise, kind, draws // 2)
    for kind, groups in itertools.product(("uneven", "heavy"), (10, 40)):
        yield "numbers", numbers, (groups, 5, 0.4, 0.8, kind, draws // 2)
    yield "numbers", numbers, (5, 5, 0.4, 0.8, "own", draws // 2)
    for patients, size, models, accuracy in itertools.product((10, 20, 60), (1, 5), (2, 12, 30), (0.8, 0.97)):
        yield "choices", choices, (patients, size, models, accuracy, 0.5, max(1, draws // 4))
    for (patients, size), alike in itertools.product(((10, 5), (20, 5), (60, 1)), (0, 0.9)):
        yield "choices", choices, (patients, size, 12, 0.9, alike, max(1, draws // 4))
    for kind, (patients, size) in itertools.product(("classes", "number", "labels"), ((60, 5), (200, 2))):
        yield "subgroups", subgroup_alarms, (kind, patients, size, 8, draws // 4 if kind == "labels" else draws)
    for patients, size, columns, signals, icc in (
        (160, 1, 500, (2.5,) * 4, 0),
        (160, 1, 20, (1.5,) * 2, 0),
        (60, 5, 100, (3,) * 4, 0.4),
        (320, 1, 500, (3,) * 3, 0),
        (160, 1, 100, (4, 3, 3, 3), 0),
        (160, 1, 100, (4, 2, 2, 2), 0),
        (400, 1, 100, (4, 2, 2, 2), 0),
        (60, 5, 100, (4, 2, 2, 2), 0.4),
    ):
        yield "races", races, (patients, size, columns, signals, icc, max(1, draws // 20))
    yield from conformal_jobs(draws)


def conformal_jobs(draws: int) -> Iterator[tuple[str, Callable[..., Row], tuple[object, ...]]]:
    """Sets that hold the truth 0.9 of the time."""
    for sizes, icc in (("1", 0.0), ("1-8", 0.3), ("1-8", 0.9), ("fewer if hard", 0.6)):
        for patients in (10, 20, 40):
            yield "sets", conformal_draws.promises, ("classes", sizes, icc, patients, draws)
    for kind, patients in (("classes", 200), ("labels", 40), ("labels", 100), ("number", 20), ("number", 40)):
        yield "sets", conformal_draws.promises, (kind, "1-8", 0.6, patients, draws)
    for method, patients in itertools.product(("LAC", "APS", "RAPS", "LAC by class"), (20, 40, 200)):
        yield "set scores", conformal_draws.scores_compared, (method, patients, draws // 20)
    for how, patients in (
        *(("head", 20), ("head, stops early", 10), ("head, stops early", 20), ("head, stops early", 40)),
        *(("head, stops early, temperature", 10), ("head, stops early, temperature", 20)),
    ):
        yield "set fits", conformal_draws.fitted_and_judged, (how, patients, draws // 10)
    for how, patients in itertools.product(("temperature", "isotonic", "isotonic, proven by itself"), (20, 40)):
        yield "set fits", conformal_draws.fitted_and_judged, (f"logistic, {how}", patients, draws // 20)
    for how, patients in itertools.product(("ridge, by folds", "logistic, by folds"), (20, 60)):
        yield "set fits", conformal_draws.fitted_and_judged, (how, patients, draws // 40)
    for sizes, icc, patients in (("1", 0.0, 40), ("1-8", 0.3, 20), ("1-8", 0.3, 60), ("1-8", 0.9, 60)):
        yield "set intervals", conformal_draws.reported, (sizes, icc, patients, draws // 4)


_ENDED = ("stopped", "alone", "share computed")
TITLES = {
    "alone": ("A share of independent rows: coverage (mean width), exact", ("n", *map(str, ACCURACIES))),
    "shares": (
        "A share over groups: coverage (mean width) by accuracy",
        ("groups", "rows a group", "ICC", *map(str, ACCURACIES)),
    ),
    "averages": (
        "ROC area, balanced accuracy, macro F1 of two classes: coverage (mean width)",
        ("groups of each class", "rows a group", "ICC", "area, recalls", "ROC area", "balanced accuracy", "macro F1"),
    ),
    "calls": (
        "Predictive values at a prevalence: the truth, coverage (mean width); patients who have it and who have it not",
        ("have it", "have it not", "images", "ICC", "sensitivity, specificity", "prevalence", "PPV", "NPV"),
    ),
    "recalls": (
        "Balanced accuracy of independent images: coverage (mean width), exact",
        ("images", *map(str, ACCURACIES)),
    ),
    "comparisons": (
        "Two models on the same patients: how often a difference is shown / its interval holds it",
        ("patients", "images", "classes a patient", "A, B", "accuracy", "balanced accuracy", "ROC area"),
    ),
    "audits": (
        "Five shortcut probes on labels dealt at random: how often any has such a p",
        ("patients", "images", "patients of both classes", "p < 0.01", "p < 0.05"),
    ),
    "precisions": (
        "Average precision of a label, which all of a patient's images have or some: coverage (mean width)",
        ("patients", "images", "ICC", "prevalence", "images with it", "truth", "mean found", "coverage (width)"),
    ),
    "label means": (
        "Means over three labels, a fifth of them not known: coverage (mean width)",
        ("patients", "images", "ICC", "prevalence", "apart", "draws", "ROC area", "average precision"),
    ),
    "numbers": (
        "Predicted numbers: coverage (mean width)",
        ("patients", "images", "ICC", "kind", "true R2", "draws", "MAE", "RMSE", "R2", "Spearman", "mean error"),
    ),
    "choices": (
        "The best of several models on the same images: coverage (mean width) of its plain interval, and of those that "
        "allow for the choice",
        (
            *("patients", "images", "models", "alike", "accuracy", "draws", "best, plain", "best, allowing"),
            *("all at once", "all at once, by max-t alone"),
        ),
    ),
    "subgroups": (
        "Subgroups that mean nothing: how often a column has p < 0.05, and how often any is shown after Holm",
        ("task", "patients", "images", "columns", "draws", "a column", "any shown"),
    ),
    "metadata": (
        "Eight probes of metadata and three of images on targets dealt at random: how often any has such a p; and how "
        "often the table of what goes together has one",
        (*("targets", "patients", "images", "torn", "draws"), "probes, p < 0.01", "p < 0.05", "table, p < 0.05"),
    ),
    "races": (
        "Networks ranked on more and more patients: how often the best, or one as good, is stopped, and is left alone",
        (*("patients", "images", "ICC", "columns", "signals"), "score of the first", "draws", *_ENDED),
    ),
    "nets": (
        "A planted marker, and the score without it: coverage (mean width) of its interval, and of the difference's",
        (
            *("patients", "images", "ICC", "has it", "by", "draws", "plain", "worth", "by chance, of all"),
            *("by chance, of as many", "net", "net's coverage", "difference's", "difference shown", "nothing said"),
        ),
    ),
    "sets": (
        "Sets that hold the truth 0.9 of the time: coverage ± its deviation over who calibrates, and mean size",
        (
            *("task", "images a patient", "ICC", "patients", "draws", "coverage", "size"),
            *("worst class or answer", "who is hard to tell", "calibrated by images: coverage", "size"),
        ),
    ),
    "set scores": (
        "Which score: sets of four classes (0.4, 0.3, 0.2 and 0.1 of patients), 1 to 8 images a patient, ICC 0.4",
        ("score", "patients", "draws", "coverage", "size", "single labels", "worst class", "who is hard to tell"),
    ),
    "set fits": (
        "From features to sets: fitted, stopped, mended and calibrated anew; coverage ± what chance leaves",
        ("fit", "patients that calibrate", "draws", "coverage", "size"),
    ),
    "set intervals": (
        "The coverage that a result tells of its sets: how often its 95% interval holds the truth (mean width)",
        ("images a patient", "ICC", "patients judged by", "draws", "coverage (width)"),
    ),
    "inflations": (
        "Accuracy gained by folds that tear patients apart: coverage (mean width) of its interval",
        ("patients", "images", "ICC", "mean gain", "coverage (width)", "interval above 0"),
    ),
}


def run(job: tuple[str, Callable[..., Row], tuple[object, ...]]) -> tuple[str, Row]:
    name, work, arguments = job
    return name, work(*arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--only", help="tables to make: " + ",".join(TITLES))
    parser.add_argument("--out", type=Path, help="a Markdown file; without it, the terminal")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    wanted = given.only.split(",") if given.only else list(TITLES)
    tables: dict[str, list[Row]] = {name: [] for name in wanted}
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
        for name, row in pool.imap(run, [job for job in jobs(given.draws) if job[0] in wanted], chunksize=1):
            tables[name].append(row)
            print(name, *row, file=sys.stderr, flush=True)  # noqa: T201
    text = [
        "# How often intervals hold, and tests raise false alarms",
        "",
        f"Made by `python tests/benchmarks/coverage.py` with {given.draws:,} draws of each line (fewer where a",
        "column says so): nominal 95%",
        "(between 0.943 and 0.957 by chance alone with 4,000). Rows of a group are alike by the intra-class",
        "correlation (ICC). Wanted: 0.93 to 0.97 from 10 groups on, or more where so few errors come in whole numbers;",
        "with fewer groups no less, and the width beside it.",
        "",
    ]
    for name, rows in tables.items():
        title, header = TITLES[name]
        text += [f"## {title}", "", "| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
        text += ["| " + " | ".join(map(str, row)) + " |" for row in rows] + [""]
    if given.out:
        given.out.write_text("\n".join(text))
    else:
        print("\n".join(text))  # noqa: T201


if __name__ == "__main__":
    main()
