"""What the tables and charts of a report hold, as plain values: leaderboards, curves, confusions, searches."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.errors import DataError

from ..evaluation.run_folder import data_title
from .run_reader import Run, judged_run

if TYPE_CHECKING:
    import pandas as pd

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC area",
}
_MODELS = {"dense": "dense head", "own-cnn": "own CNN"}
_SETTINGS = ("units", "activation", "dropout", "batch_norm", "learning_rate", "epochs", "batch_size", "patience")
_PARAMETERS = 4  # of a search, drawn against each other


def leaderboards(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One table for each set of classes: its rows, best test accuracy first, and what all its charts share.

    A row has ``name detail run verb finished cells n seconds confusion``; a cell is a figure with its interval, in the
    order of :data:`METRICS`, None where there is no such figure. ``axis`` is where the charts begin (they end at 1),
    ``chance`` the share of the most frequent class in the tests.
    """
    tables: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in runs:
        tables.setdefault(run.classes, []).extend(_rows(run))
    boards = []
    for classes, rows in tables.items():
        rows.sort(key=lambda row: -row["cells"][0]["value"])
        counts = np.sum(rows[0]["confusion"], axis=1)
        chance = float(counts.max() / counts.sum())
        # What is no better than chance would squeeze all else together: it is drawn as lying off the chart.
        better = [row for row in rows if row["cells"][0]["low"] > chance] or rows
        lows = [cell["low"] for row in better for cell in row["cells"] if cell]
        boards.append(
            {
                "classes": classes,
                "rows": rows,
                "axis": float(np.floor(min([*lows, 0.9]) * 10) / 10),
                "chance": chance,
            }
        )
    return sorted(boards, key=lambda board: len(board["classes"]))


def _rows(run: Run) -> list[dict[str, Any]]:
    about = run.about
    if run.verb == "baselines":
        return [
            _row(run, str(row["name"]), _settings(row["best_params"]), row["test"], row.get("seconds"))
            for row in about["rows"]
        ]
    name = _MODELS.get(about["model"], about["model"])
    if run.verb == "grid":
        detail = f"{_settings(about['best_params'])} (best of {about['candidates']})"
        return [_row(run, f"{name}, searched", detail, about["test"], about.get("seconds"))]
    chosen = {key: about["hyperparameters"].get(key) for key in _SETTINGS}
    return [_row(run, name, _settings(chosen), about["test"], about.get("seconds"))]


def _row(run: Run, name: str, detail: str, test: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
    features = str(run.about["feature_set"])
    pooling = f", {run.about['pooling']}" if run.about.get("pooling") not in (None, "map") else ""
    return {
        "name": name,
        "features": f"{features}{pooling}",
        "detail": detail,
        "run": run.folder.name,
        "verb": run.verb,
        "finished": run.finished,
        "cells": cells(test),
        "n": test["n"],
        "seconds": seconds,
        "confusion": test["confusion"],
        "made": "test" in run.about.get("made", ()),
    }


def cells(test: Mapping[str, Any]) -> list[dict[str, float] | None]:
    """Figures with their intervals, in the order of :data:`METRICS`; None where there is none."""
    return [_cell(test.get(name), test.get(f"{name}_ci")) for name in METRICS]


def _cell(value: float | None, interval: Sequence[float] | None) -> dict[str, float] | None:
    if value is None or interval is None:  # no figure without its interval
        return None
    return {"value": value, "low": interval[0], "high": interval[1]}


def _settings(values: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in values.items() if value is not None and value is not False}
    return ", ".join(
        f"{name.replace('_', ' ')} {'×'.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in plain.items()
    )


def confusion(table: Sequence[Sequence[int]], classes: Sequence[str], title: str, note: str = "") -> dict[str, Any]:
    """Counts and shares of each true class."""
    return {
        "title": title,
        "note": note,
        "classes": list(classes),
        "rows": [[{"count": n, "share": n / max(1, sum(row))} for n in row] for row in table],
    }


def elsewhere(evaluations: Sequence[Run], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each evaluation on other images beside the figures from when its model was made.

    ``fell`` says that the accuracy lies below, and the intervals do not even touch.
    """
    found = []
    for run in evaluations:
        about, made = run.about, judged_run(run, runs)
        if made is None:
            continue
        inside, outside = about.get("internal"), about["test"]
        name = data_title(run.data, bool(about.get("synthetic")))
        found.append(
            {
                "data": run.data,
                "name": name,
                "run": run.folder.name,
                "model": f"{_MODELS.get(made.about.get('model', ''), made.about.get('model') or _first(made))}, "
                f"{' / '.join(run.classes)}",
                "of": made.folder.name,
                "inside": cells(inside) if inside else [None] * len(METRICS),
                "outside": cells(outside),
                "n": (inside or {}).get("n"),
                "n_outside": outside["n"],
                "recall": [
                    {"class": name, "inside": _recall(inside, name), "outside": _recall(outside, name)}
                    for name in run.classes
                ],
                "confusion": confusion(outside["confusion"], run.classes, f"On {name}", f"n = {outside['n']}"),
                "trained_on": about.get("trained_on", 0),
                "same_data": run.data == made.data,
                "fell": inside is not None and outside["accuracy_ci"][1] < inside["accuracy_ci"][0],
            }
        )
    return found


def _first(run: Run) -> str:
    """The model of a leaderboard that was kept."""
    rows = run.about.get("rows") or [{}]
    return f"{rows[0]['name']} (best baseline)" if "name" in rows[0] else "best baseline"


def _recall(test: Mapping[str, Any] | None, name: str) -> dict[str, float] | None:
    return None if not test else _cell(test.get("recall", {}).get(name), test.get("recall_ci", {}).get(name))


def curves(run: Run) -> dict[str, Any] | None:
    """Learning curves of a head: of accuracy and of loss the lines and ticks, in a box of 100 by 100 that grows
    downwards; and the epochs worth reading, as a table."""
    history = _history(run)
    if not history:
        return None
    epochs = len(history)
    best = int(run.about.get("best_epoch") or epochs)
    charts = []
    for name in ("accuracy", "loss"):
        lines = {
            part: [float(row[column]) for row in history]
            for part, column in (("training", name), ("validation", f"val_{name}"))
            if column in history[0]
        }
        ticks = _ticks(lines.values(), 0.0 if name == "loss" else None, 1.0 if name == "accuracy" else None)
        low, high = ticks[0], ticks[-1]
        charts.append(
            {
                "name": name if name == "accuracy" else "loss (cross-entropy)",
                "ticks": [{"at": 100 * (high - tick) / (high - low), "text": f"{tick:g}"} for tick in ticks],
                "lines": [
                    {
                        "part": part,
                        "values": [round(value, 4) for value in values],
                        "points": " ".join(
                            f"{100 * i / max(1, epochs - 1):.2f},{100 * (high - value) / (high - low):.2f}"
                            for i, value in enumerate(values)
                        ),
                    }
                    for part, values in lines.items()
                ],
                "best": 100 * (best - 1) / max(1, epochs - 1),
            }
        )
    wanted = sorted({1, best, epochs})
    table = [{"epoch": epoch, **history[epoch - 1]} for epoch in wanted]
    return {
        "run": run.folder.name,
        "title": f"{_MODELS.get(run.about['model'], '')}, {' / '.join(run.classes)}",
        "detail": _rows(run)[0]["features"],
        "epochs": epochs,
        "best": best,
        "charts": charts,
        "table": table,
    }


def _history(run: Run) -> list[dict[str, str]]:
    """The rows of its learning curves.

    Raises :class:`DataError` where they are none.
    """
    history = run.table("history.csv")
    try:
        for name in ("accuracy", "loss") if history else ():
            if not np.isfinite([float(row[name]) for row in history]).any():
                raise ValueError(f"no {name} that is a number")
        [[float(value) for value in row.values()] for row in history]
    except (ValueError, KeyError) as error:
        raise DataError(f"{run.folder / 'history.csv'}: no learning curves ({error!r}); make the run anew") from error
    if (run.about.get("best_epoch") or 0) > len(history) > 0:
        raise DataError(
            f"{run.folder}: its best epoch is not among the {len(history)} of history.csv; make the run anew"
        )
    return history


def _results(path: Path) -> pd.DataFrame:
    """A search's candidates and their scores.

    Raises :class:`DataError` where they are none.
    """
    import pandas as pd

    try:
        results = pd.read_csv(path, keep_default_na=False, na_values=["nan"])
        results["mean_score"] = results["mean_score"].astype(float)
        if not np.isfinite(results["mean_score"]).any():
            raise ValueError("no score is a number")
    except (ValueError, KeyError, OSError) as error:
        raise DataError(f"{path}: no results of a search ({error!r}); make the run anew") from error
    return results


def _ticks(lines: Any, low: float | None, high: float | None) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    values = np.concatenate([np.asarray(line) for line in lines])
    values = values[np.isfinite(values)]
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    return [float(tick) for tick in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, max(high, low + 1e-3))]


def search(run: Run) -> dict[str, Any] | None:
    """A search: its mean score over each pair of its parameters, those that matter most, and its best candidates."""
    path = run.folder / "results.csv"
    if not path.is_file():
        return None
    results = _results(path)
    about = run.about
    names = [str(name) for name in about["best_params"] if name in results and results[name].nunique() > 1]
    means = {name: results.groupby(name)["mean_score"].mean() for name in names}
    drawn = sorted(names, key=lambda name: means[name].min() - means[name].max())[:_PARAMETERS]
    scores = results["mean_score"]
    top = float(scores.max())
    low = min(float(scores.min()), top - 0.05)  # a hair's breadth shall look like one
    maps = []
    for across, down in list(itertools.combinations(drawn, 2)) or [(name, "") for name in drawn]:
        if not down:
            table = means[across].to_frame().T
        else:
            table = results.pivot_table(index=down, columns=across, values="mean_score", aggfunc="mean")
        values = [[None if not np.isfinite(v) else float(v) for v in row] for row in table.to_numpy()]
        maps.append(
            {
                "across": across.replace("_", " "),
                "down": down.replace("_", " "),
                "columns": [str(v) for v in table.columns],
                "index": [str(v) if down else "" for v in table.index],
                "rows": [
                    [None if v is None else {"value": v, "shade": (v - low) / (top - low)} for v in row]
                    for row in values
                ],
            }
        )
    return {
        "run": run.folder.name,
        "title": f"{_MODELS.get(about['model'], about['model'])}, {' / '.join(run.classes)}",
        "candidates": about["candidates"],
        "folds": about["folds"],
        "best": _settings(about["best_params"]),
        "score": about["best_score"],
        "std": about.get("best_std"),
        "tied": about.get("tied", 1),
        "maps": maps,
        "top": [{**row, "params": _settings(row["params"])} for row in about.get("top", [])],
        "test": cells(about["test"])[0],
        "n": about["test"]["n"],
    }
