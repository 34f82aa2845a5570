"""Sets that hold the truth: how often, and how large they are, in simulation; rows that coverage.py makes tables of.

Patients without end are stood for by 3,000; of these are drawn those that calibrate, and all of them say what the
coverage is, each patient counting as one. A model learns from 60 patients once, so that the draws are of calibration.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from featcache.errors import DataError
from heads.evaluation.calibration import calibrate, fit_calibration
from heads.evaluation.clusters import group_codes, rows_of_groups
from heads.evaluation.conformal_coverage import patients_share
from heads.evaluation.conformal_sets import COVERAGE, SETS
from heads.evaluation.held_out_scores import HeldOutScores, hierarchical_quantile
from heads.evaluation.splits import group_folds
from heads.evaluation.task_metrics import TASK_METRICS
from heads.experiments.baseline_models import TABLES
from heads.experiments.baseline_search import search
from heads.experiments.calibration_patients import mended_by_others
from heads.experiments.held_out import outputs_of_folds
from heads.experiments.search_scores import SCORES
from heads.training.dense_head_classifier import DenseHeadClassifier

Row = tuple[object, ...]
_POOL, _LEARNT = 3000, 60
_CLASSES = (0.4, 0.3, 0.2, 0.1)
_PREVALENCES = (0.4, 0.3, 0.2)
NAMES = ("0", "1", "2", "3")


@dataclass(frozen=True)
class Images:
    """Images of patients, in the patients' order; ``hard`` are those of patients who are hard to tell, one in four."""

    X: np.ndarray
    y: np.ndarray
    patients: np.ndarray
    hard: np.ndarray

    def of(self, patients: np.ndarray) -> np.ndarray:
        """Positions of the images of some of the patients."""
        return np.flatnonzero(np.isin(self.patients, patients))


def drawn(rng: np.random.Generator, kind: str, patients: int, icc: float, sizes: str) -> Images:
    """Images of one patient each (``1``), of 1 to 8 (``1-8``), or of 1 to 3 where they are hard and 6 to 8 where not
    (``fewer if hard``)."""
    hard = rng.random(patients) < 0.25
    number = {"1": np.ones(patients, int), "1-8": rng.permutation(np.resize(np.arange(1, 9), patients))}.get(
        sizes, np.where(hard, rng.integers(1, 4, patients), rng.integers(6, 9, patients))
    )
    of = np.repeat(np.arange(patients), number)
    noise = np.sqrt(icc) * rng.standard_normal((patients, 8))[of]
    noise += np.sqrt(1 - icc) * rng.standard_normal((len(of), 8))
    noise *= np.where(hard, 1.6, 1.0)[of, None]
    if kind == "classes":
        y = rng.choice(len(_CLASSES), patients, p=_CLASSES)[of]
        noise[np.arange(len(of)), y] += 2.0
    elif kind == "labels":
        has = rng.random((patients, len(_PREVALENCES))) < _PREVALENCES
        y = has[of].astype(np.float32)
        noise[:, : len(_PREVALENCES)] += 2.0 * y
        y[rng.random(y.shape) < 0.1] = np.nan
    else:
        y = 60 + 10 * noise[:, 0] + 5 * (noise[:, 1] > 0) + rng.standard_normal(len(of))
        noise[:, 0] += np.where(hard, 1.6, 1.0)[of] * (
            np.sqrt(icc) * rng.standard_normal(patients)[of] + np.sqrt(1 - icc) * rng.standard_normal(len(of))
        )
    return Images(noise, y, of, hard[of])


@functools.cache
def world(kind: str, icc: float, sizes: str) -> tuple[Images, np.ndarray, np.ndarray]:
    """Patients without end, what a model gives their images, and what it says."""
    rng = np.random.default_rng(7)
    learnt, pool = drawn(rng, kind, _LEARNT, icc, sizes), drawn(rng, kind, _POOL, icc, sizes)
    if kind == "classes":
        outputs = LogisticRegression(max_iter=1000).fit(learnt.X, learnt.y).predict_proba(pool.X)
    elif kind == "labels":
        columns = []
        for known, y in zip(~np.isnan(learnt.y.T), learnt.y.T, strict=True):
            columns.append(LogisticRegression().fit(learnt.X[known], y[known] == 1).predict_proba(pool.X)[:, 1])
        outputs = np.stack(columns, axis=1)
    else:
        outputs = Ridge().fit(learnt.X, learnt.y).predict(pool.X)
    return pool, outputs, TASK_METRICS[kind].answers(outputs)


def of_patients(values: np.ndarray, patients: np.ndarray) -> float:
    """The mean over patients of the means of theirs."""
    if not len(values):
        return float("nan")
    counts = np.bincount(patients)
    there = counts > 0
    return float((np.bincount(patients, values)[there] / counts[there]).mean())


@dataclass(frozen=True)
class Curve:
    """How much of a mass lies at scores up to another, array of shape (m,) and what has come together by each."""

    scores: np.ndarray
    reached: np.ndarray

    def __call__(self, threshold: float) -> float:
        place = int(np.searchsorted(self.scores, threshold, "right"))
        return float(self.reached[place - 1]) if place else 0.0


def curve(scores: np.ndarray, mass: np.ndarray) -> Curve:
    order = np.argsort(scores)
    return Curve(scores[order], np.cumsum(mass[order]))


def shares(patients: np.ndarray) -> np.ndarray:
    """What each row is worth where patients count alike, and their rows do."""
    counts = np.bincount(patients)
    return 1 / counts[patients] / (counts > 0).sum()


@dataclass(frozen=True)
class Curves:
    """Of each question: of whom the truth is held, of its own part, of who is hard to tell, and of all; and the answers
    that are in a set."""

    part: list[Curve]
    hard: list[Curve]
    whole: list[Curve]
    size: list[Curve]

    def judged(self, thresholds: np.ndarray) -> tuple[float, ...]:
        """Coverage, size, coverage of the worst part, and of who is hard to tell."""
        part, hard, whole, size = (
            [one(t) for one, t in zip(curves, thresholds, strict=True)]
            for curves in (self.part, self.hard, self.whole, self.size)
        )
        return sum(whole), sum(size), min(part), sum(hard)


@functools.cache
def curves(kind: str, icc: float, sizes: str) -> Curves:
    """Of patients without end, so that a draw of calibration is judged in no time."""
    pool, outputs, answers = world(kind, icc, sizes)
    if kind == "number":
        far = np.abs(pool.y - outputs)
        whole = [curve(far, shares(pool.patients))]
        hard = [curve(far[pool.hard], shares(pool.patients[pool.hard]))]
        return Curves(whole, hard, whole, whole)
    names = [str(label) for label in range(outputs.shape[1])]
    scores = SETS[kind].scores(pool.y, outputs, answers, pool.patients)
    rows = np.arange(len(pool.y)) if kind == "classes" else np.nonzero(~np.isnan(pool.y))[0]
    questions = range(len(SETS[kind].questions(names)))
    asked = [scores.questions == question for question in questions]
    part = [curve(scores.scores[own], shares(scores.patients[own])) for own in asked]
    hard_rows = pool.hard[rows]
    hard, whole = [], []
    for own in asked:
        both = own & hard_rows
        if kind == "classes":  # each patient counts as one of all, whatever his class
            whole.append(curve(scores.scores[own], shares(scores.patients)[own]))
            hard_mass = shares(scores.patients[hard_rows])
            hard.append(curve(scores.scores[both], hard_mass[own[hard_rows]]))
        else:  # the mean of each label's no and yes
            whole.append(curve(scores.scores[own], shares(scores.patients[own]) / len(asked)))
            hard.append(curve(scores.scores[both], shares(scores.patients[both]) / len(asked)))
    columns = outputs if kind == "classes" else np.stack([1 - outputs, outputs], axis=2).reshape(len(outputs), -1)
    said = np.zeros(columns.shape, bool)
    if kind == "classes":
        said[np.arange(len(said)), answers] = True
    else:
        said = np.stack([answers == 0, answers == 1], axis=2).reshape(said.shape)
    mass = shares(pool.patients) / (1 if kind == "classes" else outputs.shape[1])
    size = [curve(np.where(mine, 0.0, 1 - column), mass) for mine, column in zip(said.T, columns.T, strict=True)]
    return Curves(part, hard, whole, size)


def promises(kind: str, sizes: str, icc: float, patients: int, draws: int) -> Row:
    """By patient, and beside it by image, as though each were of a patient of his own."""
    pool, outputs, answers = world(kind, icc, sizes)
    truth, rows_of = curves(kind, icc, sizes), rows_of_groups(pool.patients)
    rng, rules = np.random.default_rng(patients), SETS[kind]
    names = [str(label) for label in range(outputs.shape[1] if outputs.ndim > 1 else 1)]
    found: dict[str, list[Any]] = {"patient": [], "image": []}
    for _ in range(draws):
        rows = np.concatenate([rows_of[one] for one in rng.choice(_POOL, patients, replace=False)])
        scores = rules.scores(pool.y[rows], outputs[rows], answers[rows], group_codes(pool.patients[rows], len(rows)))
        alone = HeldOutScores(scores.scores, np.arange(len(scores.scores)), scores.questions)
        for how, of in (("patient", scores), ("image", alone)):
            thresholds = rules.thresholds(of, COVERAGE, names)
            width = (2 * thresholds[0],) if kind == "number" else ()
            coverage, size, worst, hard = truth.judged(thresholds)
            found[how].append((coverage, *(width or (size,)), worst, hard))
    own, image = (np.mean(found[how], axis=0) for how in ("patient", "image"))
    spread = np.std([one[0] for one in found["patient"]])
    return (
        *(kind, sizes, icc, patients, draws, f"{own[0]:.3f} ± {spread:.3f}", f"{own[1]:.2f}"),
        *("" if kind == "number" else f"{own[2]:.3f}", f"{own[3]:.3f}", f"{image[0]:.3f}", f"{image[1]:.2f}"),
    )


# -- which score -----------------------------------------------------------------------------------


def far_by(method: str, outputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """How far off each class is, (n, n_classes): ``LAC`` (this package's, and with a threshold for each class ``LAC by
    class``), ``APS`` and ``RAPS`` (Romano et al. 2020; Angelopoulos et al. 2021), not randomised."""
    if method.startswith("LAC"):
        far = 1 - outputs
    else:
        order = np.argsort(-outputs, axis=1, kind="stable")
        sums = np.cumsum(np.take_along_axis(outputs, order, axis=1), axis=1)
        if method == "RAPS":
            sums = sums + 0.1 * np.maximum(0, np.arange(1, outputs.shape[1] + 1) - 2)
        far = np.empty(outputs.shape)
        np.put_along_axis(far, order, sums, axis=1)
    far = far.copy()
    np.put_along_axis(far, answers[:, None], 0.0, axis=1)
    return far


def score_rows(method: str, patients: int, draws: int, y: Any, outputs: Any, of: Any, hard: Any, seed: int = 0) -> Row:
    """Coverage, size, share of single labels, and coverage of the worst class and of who is hard to tell."""
    rng, n_classes = np.random.default_rng(seed), outputs.shape[1]
    far = far_by(method, outputs, outputs.argmax(axis=1))
    own = far[np.arange(len(y)), y]
    everyone, found = np.unique(of), []
    for _ in range(draws):
        chosen = np.isin(of, rng.choice(everyone, patients, replace=False))
        rows = np.flatnonzero(chosen)
        asked = (
            [y[rows] == label for label in range(n_classes)] if method.endswith("class") else [np.full(len(rows), True)]
        )
        q = np.array([hierarchical_quantile(own[rows[a]], of[rows[a]], COVERAGE) for a in asked])
        rest = np.flatnonzero(~chosen)
        rest = rest if len(rest) < 4000 else np.sort(rng.choice(rest, 4000, replace=False))
        sets = far[rest] <= q
        held, theirs = sets[np.arange(len(rest)), y[rest]], of[rest]
        sizes = sets.sum(axis=1)
        worst = min(of_patients(held[y[rest] == c], theirs[y[rest] == c]) for c in range(n_classes))
        found.append(
            (
                of_patients(held, theirs),
                of_patients(sizes, theirs),
                of_patients(sizes == 1, theirs),
                worst,
                of_patients(held[hard[rest]], theirs[hard[rest]]),
            )
        )
    return tuple(f"{value:.3f}" for value in np.nanmean(found, axis=0))


def scores_compared(method: str, patients: int, draws: int) -> Row:
    pool, outputs, _ = world("classes", 0.4, "1-8")
    return (method, patients, draws, *score_rows(method, patients, draws, pool.y, outputs, pool.patients, pool.hard))


# -- from features to sets -------------------------------------------------------------------------


def _fitted(rng: np.random.Generator, learnt: Images, val: Images, how: str) -> Any:
    if how.startswith("logistic"):
        return LogisticRegression(max_iter=1000).fit(learnt.X, learnt.y)
    stops = {"patience": 5, "epochs": 60} if "stops" in how else {"epochs": 15}
    model = DenseHeadClassifier(
        units=16, activation="relu", dropout=0.0, learning_rate=0.01, random_state=int(rng.integers(2**31)), **stops
    )
    return model.fit(learnt.X.astype(np.float32), learnt.y, validation_data=(val.X.astype(np.float32), val.y))


def by_validation(
    rng: np.random.Generator, learnt: Images, val: Images, test: Images, how: str
) -> tuple[np.ndarray, ...]:
    """As a head is calibrated: classes, probabilities and patients of the validation part, and what test is given."""
    model = _fitted(rng, learnt, val, how)
    raw, given = (np.asarray(model.predict_proba(one.X.astype(np.float32))) for one in (val, test))
    method = next((name for name in ("temperature", "isotonic") if name in how), None)
    calibration = None if method is None else fit_calibration(raw, val.y, method)[0]
    if "itself" in how:
        mended = calibrate(raw, calibration)
    else:
        mended = mended_by_others("classes", val.y, raw, val.patients, calibration)
    return val.y, mended, val.patients, calibrate(given, calibration)


def by_folds(rng: np.random.Generator, learnt: Images, val: Images, test: Images, how: str) -> tuple[np.ndarray, ...]:
    """As baselines are: of all patients, by folds that chose the values too."""
    X, y = np.concatenate([learnt.X, val.X]), np.concatenate([learnt.y, val.y])
    of = np.concatenate([learnt.patients, val.patients + 1000])
    folds = group_folds(y, of, NAMES, 5, int(rng.integers(2**31)))
    baseline = TABLES["classes"][how.partition(",")[0]]
    with joblib.parallel_config("threading"):
        found = search(baseline.model, baseline.grid, X, y, folds, SCORES["classes"].scoring, of).search
    return y, outputs_of_folds(found.best_estimator_, X, y, of, folds, "classes"), of, found.predict_proba(test.X)


def fitted_and_judged(how: str, patients: int, draws: int) -> Row:
    """Learnt from 60 patients, stopped, mended and calibrated anew in each draw; judged on 300 others."""
    rng, found, rules, count = np.random.default_rng(patients), [], SETS["classes"], 0
    while len(found) < draws:
        learnt, val, test = (drawn(rng, "classes", number, 0.4, "1-8") for number in (60, patients, 300))
        if len(np.unique(learnt.y)) < 4 or len(np.unique(val.y)) < 4:
            continue
        try:
            y, mended, of, given = (by_folds if "folds" in how else by_validation)(rng, learnt, val, test, how)
        except DataError:  # a class of fewer patients than folds
            continue
        count = len(np.unique(of))
        scores = rules.scores(y, mended, mended.argmax(axis=1), of)
        sets = rules.sets(given, given.argmax(axis=1), rules.thresholds(scores, COVERAGE, NAMES))
        held = rules.held(test.y, sets, NAMES)
        found.append((of_patients(held.held, test.patients), of_patients(held.sizes, test.patients)))
    coverage, size = np.mean(found, axis=0)
    error = np.std([one[0] for one in found]) / np.sqrt(draws)
    return how, count, draws, f"{coverage:.3f} ± {1.96 * error:.3f}", f"{size:.2f}"


def reported(sizes: str, icc: float, patients: int, draws: int) -> Row:
    """How often the interval of the coverage that a result tells holds the true coverage of its sets."""
    pool, outputs, answers = world("classes", icc, sizes)
    rng, held = np.random.default_rng(patients), []
    rules = SETS["classes"]
    for _ in range(draws):
        some = rng.choice(_POOL, 30 + patients, replace=False)
        rows, judged = pool.of(some[:30]), pool.of(some[30:])
        scores = rules.scores(pool.y[rows], outputs[rows], answers[rows], pool.patients[rows])
        thresholds = rules.thresholds(scores, COVERAGE, NAMES)
        truth = curves("classes", icc, sizes).judged(thresholds)[0]
        sets = rules.sets(outputs[judged], answers[judged], thresholds)
        low, high = patients_share(sets[np.arange(len(judged)), pool.y[judged]], pool.patients[judged])[1]
        held.append((low <= truth <= high, high - low))
    coverage, width = np.mean(held, axis=0)
    return sizes, icc, patients, draws, f"{coverage:.3f} ({width:.2f})"
