"""What the charts of a report hold, as plain values: learning curves, and the maps of a search."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.errors import DataError

from .run_reader import Run
from .shown_metrics import SHOWN, cells, score_title, title_of
from .tables import MODEL_TITLES, features_of, settings_text

if TYPE_CHECKING:
    import pandas as pd

_PARAMETERS = 4  # of a search, drawn against each other


def curves(run: Run) -> dict[str, Any] | None:
    """Learning curves of a head, and the epochs worth reading as a table; None where it has none.

    Of loss, and of accuracy or error, these are the lines and ticks, in a box of 100 by 100 that grows downwards.
    """
    history = _history(run)
    if not history:
        return None
    epochs = len(history)
    best = int(run.about.get("best_epoch") or epochs)
    charts = []
    for name, called in SHOWN[run.kind].history:
        lines = {
            part: [float(row[column]) for row in history]
            for part, column in (("training", name), ("validation", f"val_{name}"))
            if column in history[0]
        }
        share = name == "accuracy"
        ticks = _ticks(lines.values(), None if share else 0.0, 1.0 if share else None)
        low, high = ticks[0], ticks[-1]
        charts.append(
            {
                "name": called,
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
        "title": f"{MODEL_TITLES.get(run.about['model'], '')}, {title_of(run.kind, run.classes)}",
        "detail": features_of(run),
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
        for name, _ in SHOWN[run.kind].history if history else ():
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
    hair = 0.05 * (1 if abs(top) <= 1 else abs(top))
    low = min(float(scores.min()), top - hair)  # a hair's breadth shall look like one
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
        "title": f"{MODEL_TITLES.get(about['model'], about['model'])}, {title_of(run.kind, run.classes)}",
        "candidates": about["candidates"],
        "folds": about["folds"],
        "best": settings_text(about["best_params"]),
        "score": about["best_score"],
        "std": about.get("best_std"),
        "tied": about.get("tied", 1),
        "maps": maps,
        "top": [{**row, "params": settings_text(row["params"])} for row in about.get("top", [])],
        "score_name": score_title(about.get("score_name", "accuracy")),
        "test": cells(about["test"], run.kind)[0] if about.get("test") else None,
        "headline": SHOWN[run.kind].metrics[0].title,
        "n": about["test"]["n"] if about.get("test") else None,
    }
