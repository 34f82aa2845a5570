"""Sets that hold the truth: how often, and how large they are, in simulation; rows that coverage.py makes tables of.

Patients without end are stood for by 6,000; of these are drawn those that calibrate, and all of them say what the
coverage is, each patient counting as one. A model learns from 60 patients once, so that the draws are of calibration.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from heads.evaluation.calibration import calibrate, fit_calibration
from heads.evaluation.conformal_coverage import patients_share
from heads.evaluation.conformal_sets import COVERAGE, SETS
from heads.evaluation.held_out_scores import HeldOutScores, hierarchical_quantile
from heads.evaluation.splits import group_folds
from heads.evaluation.task_metrics import TASK_METRICS
from heads.experiments.baseline_models import TABLES
from heads.experiments.baseline_search import search
from heads.experiments.calibration_patients import mended_by_others, outputs_of_folds
from heads.experiments.search_scores import SCORES
from heads.training.dense_head_classifier import DenseHeadClassifier

Row = tuple[object, ...]
_POOL, _LEARNT = 6000, 60
_CLASSES = (0.4, 0.3, 0.2, 0.1)
_PREVALENCES = (0.4, 0.3, 0.2)


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


def promises(kind: str, sizes: str, icc: float, patients: int, draws: int) -> Row:
    """By patient, and beside it by image, as though each were of a patient of his own."""
    pool, outputs, answers = world(kind, icc, sizes)
    rng, rules = np.random.default_rng(patients), SETS[kind]
    names = [str(label) for label in range(outputs.shape[1] if outputs.ndim > 1 else 1)]
    found: dict[str, list[Any]] = {"patient": [], "image": []}
    for _ in range(draws):
        rows = pool.of(rng.choice(_POOL, patients, replace=False))
        scores = rules.scores(pool.y[rows], outputs[rows], answers[rows], pool.patients[rows])
        alone = HeldOutScores(scores.scores, np.arange(len(scores.scores)), scores.questions)
        for how, of in (("patient", scores), ("image", alone)):
            thresholds = rules.thresholds(of, COVERAGE, names)
            found[how].append(_judged(kind, sizes, icc, thresholds))
    means = {how: np.nanmean(values, axis=0) for how, values in found.items()}
    spread = np.std([one[0] for one in found["patient"]])
    cells = [f"{value:.3f}" for value in means["patient"][[0, 3, 4]]]
    own, image = (f"{means[how][1]:.2f}" for how in ("patient", "image"))
    one = "" if kind == "number" else f"{means['patient'][2]:.2f}"
    return (
        *(kind, sizes, icc, patients, draws),
        *(f"{cells[0]} ± {spread:.3f}", own, one, cells[1], cells[2]),
        *(f"{means['image'][0]:.3f}", image),
    )


def _judged(kind: str, sizes: str, icc: float, thresholds: np.ndarray) -> tuple[float, ...]:
    """Coverage, size, share of single answers, coverage of the worst part, and of those who are hard to tell.

    Of labels coverage is the mean of those of each label's "no" and "yes".
    """
    pool, outputs, answers = world(kind, icc, sizes)
    names = [str(label) for label in range(outputs.shape[1] if outputs.ndim > 1 else 1)]
    held = SETS[kind].held(pool.y, SETS[kind].sets(outputs, answers, thresholds), names)
    patients = pool.patients[held.rows]
    parts = [of_patients(held.held[own], patients[own]) for _, own in held.parts] or [float("nan")]
    whole = float(np.mean(parts)) if kind == "labels" else of_patients(held.held, patients)
    hard = pool.hard[held.rows]
    return (
        whole,
        of_patients(held.sizes, patients),
        of_patients(held.sizes == 1, patients),
        min(parts),
        of_patients(held.held[hard], patients[hard]),
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


def _head(rng: np.random.Generator, learnt: Images, val: Images, how: str) -> Any:
    stops = {"patience": 5, "epochs": 60} if "stops" in how else {"epochs": 15}
    model = DenseHeadClassifier(
        units=16, activation="relu", dropout=0.0, learning_rate=0.01, random_state=int(rng.integers(2**31)), **stops
    )
    return model.fit(learnt.X.astype(np.float32), learnt.y, validation_data=(val.X.astype(np.float32), val.y))


def fitted_and_judged(how: str, patients: int, draws: int) -> Row:
    """Learnt, stopped, mended and calibrated anew in each draw, as ``fit-head`` and ``baselines`` do it; judged on 300
    others."""
    rng, found = np.random.default_rng(patients), []
    while len(found) < draws:
        learnt, val = (drawn(rng, "classes", count, 0.4, "1-8") for count in (60, patients))
        test = drawn(rng, "classes", 300, 0.4, "1-8")
        if len(np.unique(learnt.y)) < 4 or len(np.unique(val.y)) < 4:
            continue
        calibration = None
        if how.startswith("head"):
            model = _head(rng, learnt, val, how)
            raw, given = (np.asarray(model.predict_proba(one.X.astype(np.float32))) for one in (val, test))
            method = next((name for name in ("temperature", "sigmoid", "isotonic") if name in how), None)
            if method is not None:
                calibration = fit_calibration(raw, val.y, method)[0]
            mended = (
                calibrate(raw, calibration)
                if "itself" in how
                else mended_by_others("classes", val.y, raw, val.patients, calibration)
            )
            y, of, given = val.y, val.patients, calibrate(given, calibration)
        else:
            # Train and val patients together, folds over both, as baselines do.
            X, y = np.concatenate([learnt.X, val.X]), np.concatenate([learnt.y, val.y])
            of = np.concatenate([learnt.patients, val.patients + 1000])
            try:
                folds = group_folds(y, of, ("0", "1", "2", "3"), 5, int(rng.integers(2**31)))
            except ValueError:
                continue
            baseline = TABLES["classes"][how]
            searched = search(baseline.model, baseline.grid, X, y, folds, SCORES["classes"].scoring, of)
            best = searched.search.best_estimator_
            mended = outputs_of_folds(best, X, y, of, folds, "classes")
            given = np.asarray(best.predict_proba(test.X))
        rules = SETS["classes"]
        scores = rules.scores(y, mended, mended.argmax(axis=1), of)
        thresholds = rules.thresholds(scores, COVERAGE, ("0", "1", "2", "3"))
        held = rules.held(test.y, rules.sets(given, given.argmax(axis=1), thresholds), ("0", "1", "2", "3"))
        found.append((of_patients(held.held, test.patients), of_patients(held.sizes, test.patients)))
    coverage, size = np.mean(found, axis=0)
    error = np.std([one[0] for one in found]) / np.sqrt(draws)
    calibrating = patients if how.startswith("head") else patients + 60
    return how, calibrating, draws, f"{coverage:.3f} ± {1.96 * error:.3f}", f"{size:.2f}"


def reported(sizes: str, icc: float, patients: int, draws: int) -> Row:
    """How often the interval of the coverage that a result tells holds the true coverage of its sets."""
    pool, outputs, answers = world("classes", icc, sizes)
    rng, held = np.random.default_rng(patients), []
    rules = SETS["classes"]
    for _ in range(draws):
        some = rng.choice(_POOL, 30 + patients, replace=False)
        rows, judged = pool.of(some[:30]), pool.of(some[30:])
        scores = rules.scores(pool.y[rows], outputs[rows], answers[rows], pool.patients[rows])
        thresholds = rules.thresholds(scores, COVERAGE, ("0", "1", "2", "3"))
        truth = _judged("classes", sizes, icc, thresholds)[0]
        sets = rules.sets(outputs[judged], answers[judged], thresholds)
        low, high = patients_share(sets[np.arange(len(judged)), pool.y[judged]], pool.patients[judged])[1]
        held.append((low <= truth <= high, high - low))
    coverage, width = np.mean(held, axis=0)
    return sizes, icc, patients, draws, f"{coverage:.3f} ({width:.2f})"
