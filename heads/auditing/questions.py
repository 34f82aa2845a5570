"""What an audit asks of images: which class, whether a label, or which number; by the kind of the task in one table."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.model_selection import StratifiedGroupKFold

from featcache.data.tasks import Task

from ..evaluation.clusters import group_codes
from ..evaluation.intervals import Interval
from ..evaluation.label_permutation import Agreement
from ..evaluation.metrics import evaluate
from ..evaluation.rank_correlation import rank_correlation
from ..evaluation.roc_areas import area_limits, area_of
from ..evaluation.splits import Fold, merged

FOLDS = 5
_TEN = 10  # images at least that have a label, and that have it not
_MOST = 20  # labels


@dataclass(frozen=True)
class Question:
    """One thing that may be told of some images.

    Attributes
    ----------
    label : what it is called: ``label`` of classes, else the name of a label or of the number.
    rows : positions of the images of which the answer is known, int array of shape (m,).
    y : array of shape (m,): classes counted from 0, 0 and 1, or float64.
    groups : int array of shape (m,), counted from 0.
    strata : what folds keep in proportion, int array of shape (m,).
    chance : what guessing scores.
    seed : of folds.
    """

    label: str
    rows: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    strata: np.ndarray
    chance: float
    seed: int

    @property
    def n_classes(self) -> int:
        """How many classes there are; 0 where the answer is a number."""
        return int(self.y.max()) + 1 if self.y.dtype.kind in "iu" else 0

    @property
    def answerable(self) -> bool:
        """Whether each stratum has rows of two groups or more, as folds need."""
        return _fewest(self.strata, self.groups) > 1

    @functools.cached_property
    def folds(self) -> list[Fold]:
        """Five folds, or as many as a stratum has groups, with groups whole."""
        splitter = StratifiedGroupKFold(
            min(FOLDS, _fewest(self.strata, self.groups)), shuffle=True, random_state=self.seed
        )
        return list(splitter.split(self.strata, self.strata, self.groups))

    def among(self, known: np.ndarray) -> Question | None:
        """The same of those images for which a mask over all holds; None where that leaves a stratum one group."""
        kept = known[self.rows]
        if set(self.strata[kept]) != set(self.strata):
            return None
        groups = group_codes(self.groups[kept], int(kept.sum()))
        left = Question(self.label, self.rows[kept], self.y[kept], groups, self.strata[kept], self.chance, self.seed)
        return left if left.answerable else None


@dataclass(frozen=True)
class Measure:
    """How answers are learnt and judged.

    Attributes
    ----------
    name : of the score.
    agreement : its kind in :mod:`heads.evaluation.label_permutation`.
    forest : of so many trees, from a seed.
    given : what a fitted forest says of rows, from how many classes there are.
    shares : what categories say: from targets of rows learnt from, their categories, and the numbers of categories and
        of classes.
    judged : what is given as what a permutation test takes.
    score : of what is given, its interval, and the accuracy where there is one.
    """

    name: str
    agreement: Agreement
    forest: Callable[[int, int], RandomForestClassifier | RandomForestRegressor]
    given: Callable[[RandomForestClassifier | RandomForestRegressor, np.ndarray, int], np.ndarray]
    shares: Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
    judged: Callable[[np.ndarray], np.ndarray]
    score: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[float, Interval, float | None]]


def ask(
    task: Task, y: np.ndarray, names: Sequence[str], groups: Sequence[str] | np.ndarray, seed: int = 0
) -> list[Question]:
    """What is asked of images.

    Of classes, which one; of several labels, each that ten images of two groups have and as many have not, of those the
    20 most frequent; of a number, which.

    Parameters
    ----------
    task : what is learnt.
    y : its targets, as :class:`featcache.data.tasks.Targets` holds them.
    names : of classes, labels, or the number.
    groups : group of each image.
    seed : of folds.
    """
    return _ASKED[task.kind](np.asarray(y), tuple(names), np.asarray(groups, str), seed)


def held_out(folds: Sequence[Fold], told: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """What is told of each row where it is held out, from the rows learnt from and those held out, by position."""
    parts = [(held, told(learnt, held)) for learnt, held in folds]
    whole = np.zeros((sum(len(held) for held, _ in parts), *parts[0][1].shape[1:]))
    for held, said in parts:
        whole[held] = said
    return whole


def _of_classes(y: np.ndarray, names: tuple[str, ...], groups: np.ndarray, seed: int) -> list[Question]:
    one = Question("label", np.arange(len(y)), y, group_codes(groups, len(y)), y, 1 / len(names), seed)
    return [one] if len(np.unique(y)) == len(names) and one.answerable else []


def _of_labels(y: np.ndarray, names: tuple[str, ...], groups: np.ndarray, seed: int) -> list[Question]:
    found: list[Question] = []
    for place in np.argsort(-(y == 1).sum(axis=0), kind="stable"):
        rows = np.flatnonzero(~np.isnan(y[:, place]))
        has = y[rows, place].astype(np.int64)
        if min(has.sum(), len(has) - has.sum()) >= _TEN:
            one = Question(names[place], rows, has, group_codes(groups[rows], len(rows)), has, 0.5, seed)
            found += [one] if one.answerable else []
    return found[:_MOST]


def _of_number(y: np.ndarray, names: tuple[str, ...], groups: np.ndarray, seed: int) -> list[Question]:
    if len(np.unique(groups)) < FOLDS or len(np.unique(y)) < 2:
        return []
    fifths = np.searchsorted(np.quantile(y, (0.2, 0.4, 0.6, 0.8)), y, side="left")
    one = Question(
        names[0], np.arange(len(y)), y, group_codes(groups, len(y)), merged(fifths, groups, FOLDS), 0.0, seed
    )
    return [one] if one.answerable else []


def _fewest(strata: np.ndarray, groups: np.ndarray) -> int:
    """Groups of the stratum that has fewest."""
    return min((len(np.unique(groups[strata == one])) for one in np.unique(strata)), default=0)


def _class_shares(y: np.ndarray, codes: np.ndarray, n_codes: int, n_classes: int) -> np.ndarray:
    """Share of each class in each category, classes counting alike; one row more of each is made up."""
    counts = np.zeros((n_codes, n_classes))
    np.add.at(counts, (codes, y), 1)
    weighed = counts / np.maximum(counts.sum(axis=0), 1) * len(y) / n_classes + 1 / n_classes
    return np.asarray(weighed / weighed.sum(axis=1, keepdims=True))


def _mean_numbers(y: np.ndarray, codes: np.ndarray, n_codes: int, _: int) -> np.ndarray:
    """Mean of each category, one row more of each made up."""
    sums, sizes = np.bincount(codes, y, n_codes), np.bincount(codes, minlength=n_codes)
    return np.asarray((sums + y.mean()) / (sizes + 1))


def _probabilities(forest: RandomForestClassifier, X: np.ndarray, n_classes: int) -> np.ndarray:
    """Of every class; 0 of one that the rows learnt from had none of, since all of its groups were held out."""
    probabilities = np.zeros((len(X), n_classes))
    probabilities[:, forest.classes_] = forest.predict_proba(X)
    return probabilities


def _in_order(said: np.ndarray) -> np.ndarray:
    """Which category says more, from 1 on.

    What a category says differs a little from fold to fold, and against what is held out: more of a label there is less
    of it in the rest. Rows of one category would be ranked by that, and wrongly.
    """
    return np.asarray(rankdata(said.round(9), "dense"))


def _recalls(y: np.ndarray, given: np.ndarray, groups: np.ndarray) -> tuple[float, Interval, float | None]:
    metrics = evaluate(y, given, groups)
    low, high = metrics["balanced_accuracy_ci"]
    return metrics["balanced_accuracy"], (low, high), metrics["accuracy"]


def _area(y: np.ndarray, given: np.ndarray, groups: np.ndarray) -> tuple[float, Interval, float | None]:
    area = area_of(y == 1, given)
    return area.value, area_limits(area, given, groups), None


def _ranks(y: np.ndarray, given: np.ndarray, groups: np.ndarray) -> tuple[float, Interval, float | None]:
    value, interval = rank_correlation(y, given, groups)
    return value, interval, None


def _classifier(trees: int, seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(trees, class_weight="balanced", random_state=seed, n_jobs=-1)


def _regressor(trees: int, seed: int) -> RandomForestRegressor:
    return RandomForestRegressor(trees, max_features="sqrt", random_state=seed, n_jobs=-1)


_ASKED: dict[str, Callable[[np.ndarray, tuple[str, ...], np.ndarray, int], list[Question]]] = {
    "classes": _of_classes,
    "labels": _of_labels,
    "number": _of_number,
}
MEASURES: dict[str, Measure] = {
    "classes": Measure(
        "balanced accuracy",
        "recalls",
        _classifier,
        _probabilities,
        _class_shares,
        lambda given: given.argmax(axis=1),
        _recalls,
    ),
    "labels": Measure(
        "ROC area",
        "area",
        _classifier,
        lambda *fitted: _probabilities(*fitted)[:, 1],
        lambda *learnt: _in_order(_class_shares(*learnt)[:, 1]),
        lambda given: given,
        _area,
    ),
    "number": Measure(
        "rank correlation",
        "ranks",
        _regressor,
        lambda forest, X, _: forest.predict(X),
        lambda *learnt: _in_order(_mean_numbers(*learnt)),
        lambda given: given,
        _ranks,
    ),
}
