"""The spread of a search's best candidate, and how often it stays the best of those that came next to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from ..evaluation.spread_parts import Spread
from .baseline_models import TABLES, short_names
from .baseline_search import model_rows, side_by_side
from .head_models import HEADS
from .spread import Repeats, winner_stays

_TOP = 5


def spread_of_search(repeated: Repeats, search: Any, model: str) -> dict[str, Any]:
    """What ``run.json`` holds of it; with several divisions and candidates ``winner``, see
    :func:`heads.experiments.spread.winner_stays`.

    Parameters
    ----------
    repeated : Repeats
        Divisions and seeds.
    search : fitted search
        Of :mod:`heads.search`.
    model : str
        What it searched, as :func:`heads.grid` names it.
    """
    params = _best(search)[: _TOP if len(repeated.made) > 1 else 1]
    models = [clone(search.estimator).set_params(**one) for one in params]
    if model in HEADS:
        best, next_best = repeated.of_head(models[0], watched=False), repeated.of_candidates(models[1:])
    else:
        best, next_best = _of_baseline(repeated, models, model)
    about = repeated.about(best)
    if next_best:
        named = [short_names(one) for one in params]
        about["winner"] = winner_stays(best, next_best, named, repeated.features.task.kind)
    return about


def _of_baseline(repeated: Repeats, models: list[Any], name: str) -> tuple[Spread, list[Spread]]:
    features = repeated.features
    baseline = TABLES[features.task.kind][name]
    X = model_rows(features, np.arange(len(features)), [baseline], repeated.seed).seen_by(baseline)
    best, *next_best = models
    jobs = side_by_side(X)
    return repeated.of_model(best, X, jobs), [repeated.of_model(one, X, jobs, 1) for one in next_best]


def _best(search: Any) -> list[dict[str, Any]]:
    """The candidates' values, the best first and none twice, as a halving search has them."""
    results, found = search.cv_results_, [dict(search.best_params_)]
    for place in np.argsort(results["rank_test_score"], kind="stable"):
        if results["params"][place] not in found:
            found.append(dict(results["params"][place]))
    return found
