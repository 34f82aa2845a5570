"""Scores of fitted cells, written down as sklearn's search does, and what scorers look at."""

from __future__ import annotations

import logging
import numbers
import time
from collections.abc import Mapping
from typing import Any

from sklearn.metrics import get_scorer
from sklearn.model_selection import cross_validate

from ..training.checked_rows import rows_of
from .cells import FittedCell, Problem

_log = logging.getLogger(__name__)
Result = dict[str, Any]


def scored(fitted: FittedCell, problem: Problem, scorers: Any) -> Result | None:
    """The result of a fitted cell as sklearn writes it down; None where a scorer fails, for sklearn to say so."""
    started = time.perf_counter()
    train, test = problem.folds[fitted.cell[1]]
    try:
        scores = _plain(scorers(fitted.model, rows_of(fitted.X, fitted.test), problem.y[test]))
        result = {"test_scores": scores, "n_test_samples": len(test), "fit_error": None}
        seconds = time.perf_counter() - started
        if problem.on_train:
            rows = rows_of(fitted.X, fitted.train)
            result["train_scores"] = _plain(scorers(fitted.model, rows, problem.y[train]))
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        _log.debug("left to sklearn: %s", error)
        return None
    return {**result, "fit_time": fitted.seconds, "score_time": seconds}


def fitted_alone(
    model: Any, X: Any, y: Any, fold: Any, scorers: Any, fit_params: Any, return_train_score: bool
) -> Result | None:
    """The result of a cell that is fitted in the ordinary way, None where it fails."""
    try:
        columns = cross_validate(
            model,
            X,
            y,
            cv=[fold],
            scoring=scorers,
            params=fit_params or None,
            error_score="raise",
            return_train_score=return_train_score,
        )
    except Exception as error:  # noqa: BLE001 - whatever a model raises is sklearn's to report, by error_score
        _log.debug("left to sklearn: %s", error)
        return None
    result: Result = {name: float(columns[name][0]) for name in ("fit_time", "score_time")}
    for part in ("test", "train") if return_train_score else ("test",):
        scores = {name[len(part) + 1 :]: float(v[0]) for name, v in columns.items() if name.startswith(f"{part}_")}
        result[f"{part}_scores"] = scores["score"] if set(scores) == {"score"} else scores
    return {**result, "n_test_samples": len(fold[1]), "fit_error": None}


def answers_the_question(result: Mapping[str, Any], scoring: Any, with_train: bool) -> bool:
    """Whether a cell out of a journal, which anybody may have written, has the scores that this search asks for."""
    names = set(scoring) if isinstance(scoring, dict | list | tuple | set) else None
    parts = [result.get(part) for part in (("test_scores", "train_scores") if with_train else ("test_scores",))]

    def fits(part: Any) -> bool:
        if isinstance(part, dict):  # of a scoring that names its metrics, or of a function that does
            return bool(part) and (callable(scoring) if names is None else set(part) == names)
        return part is not None and names is None

    return all(fits(part) for part in parts)


def deciding(scores: Any, refit: Any) -> float:
    """The score of the metric that decides."""
    if isinstance(scores, dict):
        return float(scores[refit] if isinstance(refit, str) and refit in scores else next(iter(scores.values())))
    return float(scores)


def looks_at_predictions(scoring: Any) -> bool:
    """Whether scorers look at predictions and labels alone, and so may be shown rows in other coordinates."""
    return all(each is None or isinstance(each, str) or hasattr(each, "_score_func") for each in _each(scoring))


def looks_at_labels(scoring: Any) -> bool:
    """Whether scorers ask a model for its labels alone."""
    made = [get_scorer(each) if isinstance(each, str) else each for each in _each(scoring)]
    return all(each is None or getattr(each, "_response_method", None) == "predict" for each in made)


def _each(scoring: Any) -> list[Any]:
    """Scorers one by one, of a nested collection too."""
    if isinstance(scoring, dict):
        return [one for value in scoring.values() for one in _each(value)]
    if isinstance(scoring, list | tuple | set):
        return [one for value in scoring for one in _each(value)]
    return [scoring]


def _plain(scores: Any) -> Any:
    """Scores as numbers; a ValueError where they are none."""
    if isinstance(scores, dict):
        return {name: _plain(value) for name, value in scores.items()}
    value = scores.item() if hasattr(scores, "item") else scores
    if not isinstance(value, numbers.Number):
        raise ValueError(f"a scorer gave {value!r}")
    return value
