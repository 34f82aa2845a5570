"""What a search of ``grid`` leaves: a table of its candidates, heat maps, and what an interrupt cut off."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache.features.labelled_features import Features

from ..evaluation import comparison_plots
from ..evaluation.canvas import save_figure
from ..evaluation.run_folder import origin_note, write_table
from ..search.search_cv import Progress
from .baseline_models import short_names

_log = logging.getLogger(__name__)
_TOP = 10


def write_results(folder: Path, search: Any) -> list[dict[str, Any]]:
    """``results.csv`` of a fitted search, best first; returns the first ten rows."""
    results = search.cv_results_
    params = [name for name in results if name.startswith("param_")]
    splits = [name for name in results if name.startswith("split") and name.endswith("test_score")]
    extra = [name for name in ("iter", "n_resources") if name in results]  # of a halving search
    scores = ["mean_test_score", "std_test_score", *splits, "mean_fit_time"]
    header = ["rank", "mean_score", "std_score", *splits, "mean_fit_seconds", *extra]
    header += [name.removeprefix("param_").split("__")[-1] for name in params]
    order = np.argsort(results["rank_test_score"], kind="stable")
    rows = []
    for i in order:
        rank, *counts = (int(results[name][i]) for name in ("rank_test_score", *extra))
        rows.append(
            [rank, *(float(results[name][i]) for name in scores), *counts, *(results[name][i] for name in params)]
        )
    write_table(folder / "results.csv", header, rows)
    return [
        {"rank": row[0], "score": row[1], "std": row[2], "params": short_names(results["params"][i])}
        for row, i in zip(rows[:_TOP], order, strict=False)
    ]


def draw_results(folder: Path, search: Any, features: Features, title: str) -> None:
    """``heat_maps.png``, where more than one value of something was tried."""
    results = search.cv_results_
    params = [short_names(candidate) for candidate in results["params"]]
    names = [name for name in params[0] if len({str(candidate.get(name)) for candidate in params}) > 1]
    scores = results["mean_test_score"]
    if not names or not np.isfinite(scores).any():
        return
    rows = [[candidate.get(name) for name in names] for candidate in params]
    save_figure(
        comparison_plots.heat_maps(names, rows, scores, title + origin_note(features)), folder / "heat_maps.png"
    )


def write_partial_results(folder: Path, cells: Sequence[Progress]) -> None:
    """``partial_results.csv`` of a search that was interrupted: means over the folds that were done, best first."""
    done: dict[str, tuple[Mapping[str, Any], list[float]]] = {}
    for cell in cells:
        done.setdefault(str(sorted(cell.params.items(), key=str)), (cell.params, []))[1].append(cell.score)
    candidates = sorted(done.values(), key=lambda entry: -float(np.mean(entry[1])))
    if not candidates:
        return
    names = list(candidates[0][0])
    header = ("mean_score", "folds_done", *(name.split("__")[-1] for name in names))
    rows = [
        (float(np.mean(scores)), len(scores), *(params.get(name) for name in names)) for params, scores in candidates
    ]
    write_table(folder / "partial_results.csv", header, rows)
    _log.warning("interrupted: %d cells are kept, and stand in %s", len(cells), folder / "partial_results.csv")
