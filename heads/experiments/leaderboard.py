"""The leaderboard: each baseline with the best of its grid, judged on test, best first; and its table and picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.features.labelled_features import Features

from ..evaluation import comparison_plots
from ..evaluation.canvas import save_figure
from ..evaluation.run_folder import origin_note, write_table
from ..evaluation.splits import Fold, merged
from ..evaluation.task_metrics import TASK_METRICS
from ..search.streaming_pca import sampled
from .baseline_models import Baseline, short_names
from .baseline_search import ModelRows, Searched, search
from .search_scores import SCORES, SearchScore


@dataclass(frozen=True)
class Standing:
    """A baseline that was searched, and its row of the leaderboard."""

    baseline: Baseline
    searched: Searched
    row: dict[str, Any]


@dataclass(frozen=True)
class Leaderboard:
    """Rows, best first by ``cv_score``, the first of them with its search; by name the best values of each grid, and,
    in the order of the rows, what each model gives the test rows."""

    rows: list[dict[str, Any]]
    best: Standing
    found: dict[str, dict[str, Any]]
    outputs: dict[str, np.ndarray]


def rank_baselines(
    chosen: Sequence[Baseline],
    seen: ModelRows,
    train: np.ndarray,
    folds: Sequence[Fold],
    test: np.ndarray,
    *,
    seed: int,
    on_row: Callable[[dict[str, Any]], None],
    sealed: bool = False,
) -> Leaderboard:
    """Search each baseline on the training rows and judge it on test; only the best one's search is kept.

    Parameters
    ----------
    chosen : sequence of Baseline
        At least one.
    seen : ModelRows
        The rows as models see them.
    train, test : int arrays
        Positions of the rows to learn from and to judge by.
    folds : sequence of (learnt from, held out)
        Positions within ``train``.
    seed : int
        Of models and samples.
    on_row : callable
        Called with each row as it is done.
    sealed : bool, optional
        The test rows are not judged: ``test`` of each row is None.
    """
    rows: list[dict[str, Any]] = []
    best: Standing | None = None
    found: dict[str, dict[str, Any]] = {}
    outputs: dict[str, np.ndarray] = {}
    for baseline in chosen:
        standing = _searched(baseline, seen, train, folds, seed)
        standing.row["test"] = None
        if not sealed:
            given = outputs[baseline.name] = _outputs(standing, seen, test)
            of_test = seen.features.y[test], given, seen.features.groups[test], seen.features.classes
            standing.row["test"] = TASK_METRICS[seen.features.task.kind].evaluate(*of_test)
        rows.append(standing.row)
        found[baseline.name] = standing.searched.best_params
        if best is None or standing.row["cv_score"] > best.row["cv_score"]:
            best = standing
        on_row(standing.row)
        del standing  # a forest is not to stay beside the next
    if best is None:
        raise ValueError("no baseline is chosen; expected at least one")
    rows.sort(key=lambda row: -row["cv_score"])
    in_order = {row["name"]: outputs[row["name"]] for row in rows if row["name"] in outputs}
    return Leaderboard(rows, best, found, in_order)


def _outputs(standing: Standing, seen: ModelRows, test: np.ndarray) -> np.ndarray:
    return TASK_METRICS[seen.features.task.kind].outputs(
        standing.searched.search, seen.seen_by(standing.baseline)[test]
    )


def _searched(baseline: Baseline, seen: ModelRows, train: np.ndarray, folds: Sequence[Fold], seed: int) -> Standing:
    started = time.perf_counter()
    features, X = seen.features, seen.seen_by(baseline)
    y, kind = features.y[train], features.task.kind
    taken: Any = slice(None)
    if baseline.quadratic and seen.reduced is not None:
        taken, folds = sampled(merged(features.strata[train], np.arange(len(train)), 2), folds, seed)
    of_rows = X[train[taken]], y[taken]
    groups = features.groups[train[taken]]
    searched = search(seen.unfitted(baseline, seed), baseline.grid, *of_rows, folds, SCORES[kind].scoring, groups)
    seconds = time.perf_counter() - started
    row = {
        "name": baseline.name,
        "cv_score": searched.cv_score,
        "cv_std": searched.cv_std,
        "test": None,
        "seconds": round(seconds, 2),
        "best_params": short_names(searched.best_params),
        "n": len(y[taken]),
        "columns": seen.columns,
    }
    return Standing(baseline, searched, row)


def write_leaderboard(
    folder: Path, rows: Sequence[Mapping[str, Any]], features: Features, train: np.ndarray, test: np.ndarray
) -> None:
    """``leaderboard.csv`` and ``leaderboard.png``."""
    score = SCORES[features.task.kind]
    header = (
        *("name", "cv_score", "cv_std", f"test_{score.metric}", "ci_low", "ci_high"),
        *(f"test_{metric}" for metric in score.beside),
        *("seconds", "best_params"),
    )
    write_table(folder / "leaderboard.csv", header, [_cells(row, score) for row in rows])
    name = features.task.name
    caption = f"{features.feature_set}, {features.pooling}, {name}, test n = {len(test)}{origin_note(features)}"
    places = [_place(row, score) for row in rows]
    chance = score.chance_label, score.chance(features.y[train], features.y[test])
    save_figure(
        comparison_plots.leaderboard(places, score.label, chance, score.best, caption), folder / "leaderboard.png"
    )


def _place(row: Mapping[str, Any], score: SearchScore) -> comparison_plots.Place:
    test = row["test"] or {}
    value, interval = test.get(score.metric), test.get(f"{score.metric}_ci")
    return comparison_plots.Place(row["name"], score.sign * row["cv_score"], row["cv_std"], value, interval)


def _cells(row: Mapping[str, Any], score: SearchScore) -> list[Any]:
    test, params = row["test"] or {}, row["best_params"]
    return [
        *(row["name"], row["cv_score"], row["cv_std"], test.get(score.metric)),
        *(test.get(f"{score.metric}_ci") or (None, None)),
        *(test.get(metric) for metric in score.beside),
        *(row["seconds"], "; ".join(f"{name}={value}" for name, value in params.items())),
    ]
