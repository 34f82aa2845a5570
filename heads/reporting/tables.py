"""What the tables of a report hold, as plain values: leaderboards, confusions, evaluations elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation.run_folder import data_title
from .run_reader import Run, judged_run

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC area",
}
MODEL_TITLES = {"dense": "dense head", "own-cnn": "own CNN"}
_SETTINGS = ("units", "activation", "dropout", "batch_norm", "learning_rate", "epochs", "batch_size", "patience")


def leaderboards(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One table for each set of classes: its rows, best test accuracy first, and what all its charts share.

    A row has ``name detail run verb finished cells n seconds confusion``; a cell is a metric with its interval, in the
    order of :data:`METRICS`, None where there is no such metric. ``axis`` is where the charts begin (they end at 1),
    ``chance`` the share of the most frequent class in the tests.
    """
    tables: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in runs:
        tables.setdefault(run.classes, []).extend(model_rows(run))
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


def model_rows(run: Run) -> list[dict[str, Any]]:
    """The rows of a leaderboard that a run has: of a baselines run several, else one."""
    about = run.about
    if run.verb == "baselines":
        return [
            _row(run, str(row["name"]), settings_text(row["best_params"]), row["test"], row.get("seconds"))
            for row in about["rows"]
        ]
    name = MODEL_TITLES.get(about["model"], about["model"])
    if run.verb == "grid":
        detail = f"{settings_text(about['best_params'])} (best of {about['candidates']})"
        return [_row(run, f"{name}, searched", detail, about["test"], about.get("seconds"))]
    chosen = {key: about["hyperparameters"].get(key) for key in _SETTINGS}
    return [_row(run, name, settings_text(chosen), about["test"], about.get("seconds"))]


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
    """Metrics with their intervals, in the order of :data:`METRICS`; None where there is none."""
    return [_cell(test.get(name), test.get(f"{name}_ci")) for name in METRICS]


def _cell(value: float | None, interval: Sequence[float] | None) -> dict[str, float] | None:
    if value is None or interval is None:  # no metric without its interval
        return None
    return {"value": value, "low": interval[0], "high": interval[1]}


def settings_text(values: Mapping[str, Any]) -> str:
    """Settings in words, what is off left out."""
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
    """Each evaluation on other images beside the metrics from when its model was made.

    ``fell`` says that the accuracy lies below, and the intervals do not even touch.
    """
    compared = []
    for run in evaluations:
        about, made = run.about, judged_run(run, runs)
        if made is None:
            continue
        inside, outside = about.get("internal"), about["test"]
        name = data_title(run.data, bool(about.get("synthetic")))
        compared.append(
            {
                "data": run.data,
                "name": name,
                "run": run.folder.name,
                "model": f"{MODEL_TITLES.get(made.about.get('model', ''), made.about.get('model') or _first(made))}, "
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
    return compared


def _first(run: Run) -> str:
    """The model of a leaderboard that was kept."""
    rows = run.about.get("rows") or [{}]
    return f"{rows[0]['name']} (best baseline)" if "name" in rows[0] else "best baseline"


def _recall(test: Mapping[str, Any] | None, name: str) -> dict[str, float] | None:
    return None if not test else _cell(test.get("recall", {}).get(name), test.get("recall_ci", {}).get(name))
