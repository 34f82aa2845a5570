"""What the tables of a report hold, as plain values: leaderboards, confusions, settings, evaluations elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation.run_folder import data_title
from ..evaluation.task_metrics import TASK_METRICS
from .run_reader import Run, judged_run
from .scatter import scatter
from .shown_metrics import SHOWN, Axis, Cell, axes, cell_of, cells, rank, title_of

MODEL_TITLES = {"dense": "dense head", "own-cnn": "own CNN"}
_SETTINGS = ("units", "activation", "dropout", "batch_norm", "learning_rate", "epochs", "batch_size", "patience")


def leaderboards(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One table for each set of classes or labels, and each number: rows, the best first, and what all charts share.

    A row has ``name detail run verb finished cells n seconds test``, and ``spread`` where its run has one; a cell is a
    metric with its interval, in the order of :data:`heads.reporting.shown_metrics.SHOWN`, None where there is no such
    metric. ``axes`` are where the charts of each metric begin and end, and ``chance`` the share of the most frequent
    class in the tests, None where there are no classes.
    """
    tables: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for run in runs:
        if rows := model_rows(run):
            tables.setdefault((run.kind, run.classes), []).extend(rows)
    boards = []
    for (kind, names), rows in tables.items():
        rows.sort(key=lambda row: rank(row["cells"][0], kind))
        chance = _most_frequent(rows[0]["test"]) if kind == "classes" else None
        boards.append(
            {
                "kind": kind,
                "classes": names,
                "title": title_of(kind, names),
                "shown": SHOWN[kind],
                "lower": TASK_METRICS[kind].lower_is_better,
                "rows": rows,
                "axes": axes(kind, [row["cells"] for row in rows], chance),
                "chance": chance,
            }
        )
    return sorted(boards, key=lambda board: (list(SHOWN).index(board["kind"]), len(board["classes"])))


def _most_frequent(test: Mapping[str, Any]) -> float:
    counts = np.sum(test["confusion"], axis=1)
    return float(counts.max() / counts.sum())


def model_rows(run: Run) -> list[dict[str, Any]]:
    """The rows of a leaderboard that a run has: of a baselines run several, else one, and one by folds where it has.

    None of a run whose test is hidden.
    """
    about = run.about
    if about.get("hidden"):
        return []
    if run.verb == "baselines":
        return [_row(run, str(row["name"]), settings_text(row["best_params"]), row) for row in about["rows"]]
    name = MODEL_TITLES.get(about["model"], about["model"])
    if run.verb == "grid":
        detail = f"{settings_text(about['best_params'])} (best of {about['candidates']})"
        return [_row(run, f"{name}, searched", detail, about)]
    detail = settings_text({key: about["hyperparameters"].get(key) for key in _SETTINGS})
    rows = [{**_row(run, name, detail, about), "leave_out": about.get("leave_out")}]
    if by_folds := about.get("cross_validated"):
        title = f"{name}, by {by_folds['folds']} folds of all images"
        rows.append({**_row(run, title, detail, by_folds), "by_folds": True})
    return rows


def _row(run: Run, name: str, detail: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """A row of what a run says of one model: its ``test``, and where it has them ``seconds`` and ``spread``."""
    test = told["test"]
    return {
        "name": name,
        "features": features_of(run),
        "detail": detail,
        "run": run.folder.name,
        "verb": run.verb,
        "finished": run.finished,
        "cells": cells(test, run.kind),
        "n": test["n"],
        "seconds": told.get("seconds"),
        "spread": told.get("spread"),
        "test": test,
        "made": "test" in run.about.get("made", ()),
        "look": (run.about.get("look") or {}).get("number"),
    }


def features_of(run: Run) -> str:
    """What a run learnt from, in words."""
    pooling = f", {run.about['pooling']}" if run.about.get("pooling") not in (None, "map") else ""
    return f"{run.about['feature_set']}{pooling}"


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

    ``fell`` says that the metric which stands for the rest is worse there, and the intervals do not even touch.
    """
    compared = []
    for run in evaluations:
        about, made, kind = run.about, judged_run(run, runs), run.kind
        if made is None or about.get("test") is None:
            continue
        inside, outside = about.get("internal"), about["test"]
        name = data_title(run.data, bool(about.get("synthetic")))
        pairs = [
            (metric.title, cell_of(inside or {}, metric.name, metric.scale), cell)
            for metric, cell in zip(SHOWN[kind].metrics, cells(outside, kind), strict=True)
        ]
        parts = [
            (title, within, beyond, Axis(0.0, 1.0)) for title, within, beyond in _PARTS[kind](inside or {}, outside)
        ]
        drawn = axes(kind, [[within for _, within, _ in pairs], [beyond for _, _, beyond in pairs]])
        compared.append(
            {
                "data": run.data,
                "name": name,
                "run": run.folder.name,
                "kind": kind,
                "model": f"{MODEL_TITLES.get(made.about.get('model', ''), made.about.get('model') or _first(made))}, "
                f"{title_of(kind, run.classes)}",
                "of": made.folder.name,
                "headline": SHOWN[kind].metrics[0].title,
                "inside": pairs[0][1],
                "outside": pairs[0][2],
                "n": (inside or {}).get("n"),
                "n_outside": outside["n"],
                "rows": [
                    (*pair, Axis(0.0, 1.0) if metric.scale == "share" else axis)
                    for pair, metric, axis in zip(pairs, SHOWN[kind].metrics, drawn, strict=True)
                ]
                + parts,
                "confusion": confusion(outside["confusion"], run.classes, f"On {name}", f"n = {outside['n']}")
                if kind == "classes"
                else None,
                "scatter": scatter(run, None) if kind == "number" else None,
                "trained_on": about.get("trained_on", 0),
                "same_data": run.data == made.data,
                "drop": _drop(pairs[0][1], pairs[0][2], kind),
                "fell": _fell(pairs[0][1], pairs[0][2], kind),
            }
        )
    return compared


def _drop(inside: Cell | None, outside: Cell | None, kind: str) -> float:
    """By how much the second is worse."""
    return 0.0 if inside is None or outside is None else rank(outside, kind) - rank(inside, kind)


def _fell(inside: Cell | None, outside: Cell | None, kind: str) -> bool:
    if inside is None or outside is None:
        return False
    lower = TASK_METRICS[kind].lower_is_better
    return bool(outside["low"] > inside["high"] if lower else outside["high"] < inside["low"])


_Parts = list[tuple[str, Cell | None, Cell | None]]


def _of_each_class(inside: Mapping[str, Any], outside: Mapping[str, Any]) -> _Parts:
    """What was found of each class."""

    def found(test: Mapping[str, Any], name: str) -> Cell | None:
        return cell_of({"r": test.get("recall", {}).get(name), "r_ci": test.get("recall_ci", {}).get(name)}, "r")

    return [(f"of true {name}, found", found(inside, name), found(outside, name)) for name in outside.get("recall", {})]


def _of_each_label(inside: Mapping[str, Any], outside: Mapping[str, Any]) -> _Parts:
    """The ROC area of each label."""
    own = inside.get("labels", {})
    return [
        (f"ROC area of {name}", cell_of(own.get(name, {}), "roc_auc"), cell_of(label, "roc_auc"))
        for name, label in outside["labels"].items()
    ]


_PARTS: dict[str, Any] = {"classes": _of_each_class, "labels": _of_each_label, "number": lambda inside, outside: []}


def _first(run: Run) -> str:
    """The model of a leaderboard that was kept."""
    rows = run.about.get("rows") or [{}]
    return f"{rows[0]['name']} (best baseline)" if "name" in rows[0] else "best baseline"
