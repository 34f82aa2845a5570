"""Sets that hold the truth, as a page shows them: how often, how large, and of whom less often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluation.conformal_coverage import spoken
from ..evaluation.run_folder import data_title
from .run_reader import Run, judged_run
from .shown_metrics import Axis, cell_of, title_of
from .tables import MODEL_TITLES

_TRUTH = {"yes": "has it", "no": "has it not"}


def sets_views(runs: Sequence[Run], evaluations: Sequence[Run]) -> list[dict[str, Any]]:
    """The sets of each model that tells of some, newest first, then those on images from elsewhere.

    Dicts of ``model title features where kind wanted patients between sentence few each needed size single axis below``
    and ``rows``, each ``name images patients cell size one below``.
    """
    own = [_view(run, run, None) for run in runs if run.about.get("conformal")]
    pairs = [(run, judged_run(run, runs)) for run in evaluations if run.about.get("conformal")]
    return own + [_view(run, made, _place(run)) for run, made in pairs if made is not None]


def _place(run: Run) -> str:
    return data_title(run.data, bool(run.about.get("synthetic")))


def _view(run: Run, made: Run, where: str | None) -> dict[str, Any]:
    found, kind = run.about["conformal"], run.kind
    wanted = found["coverage"]
    rows = [_row(row, kind) for row in found.get("rows", ())]
    lows = [row["cell"]["low"] for row in rows if row["cell"]]
    return {
        "model": _model(made),
        "title": title_of(kind, run.classes),
        "features": f"{made.about['feature_set']} · {run.folder.name}",
        "where": where,
        "kind": kind,
        "wanted": f"{wanted:.0%}",
        "patients": found["patients"],
        "between": found.get("between"),
        "sentence": _capital(spoken(found, kind)),
        "few": [f"{_name(one)} ({one['patients']})" for one in found.get("few", ())],
        "each": bool(found.get("each")),
        "needed": found["needed"],
        "size": {"classes": "labels in the set", "labels": "answers left open", "number": "width"}[kind],
        "single": {"classes": "one label", "labels": "plain yes or no"}.get(kind),
        "axis": Axis(int(min([0.5, *lows]) * 10) / 10, 1.0, wanted),
        "rows": rows,
        "below": [row["name"] for row in rows[1:] if row["below"]],
    }


def _model(run: Run) -> str:
    if run.verb == "baselines":
        return str(run.about["rows"][0]["name"])
    name = str(run.about["model"])
    return MODEL_TITLES.get(name, name) + (", searched" if run.verb == "grid" else "")


def _row(row: Mapping[str, Any], kind: str) -> dict[str, Any]:
    size, one = row.get("size"), row.get("one")
    if size is not None and kind == "labels":
        size -= 1  # an answer that is left open has two
    return {
        "name": _name(row),
        "images": row["images"],
        "patients": row["patients"],
        "cell": cell_of(row, "coverage"),
        "size": None if size is None else f"{size:.3g}" if kind == "number" else f"{size:.1f}",
        "one": None if one is None else f"{one:.0%}",
        "below": bool(row.get("below")),
    }


def _name(row: Mapping[str, Any]) -> str:
    """Of which images a row is."""
    if row.get("class") is not None:
        return f"truly {row['class']}"
    if row.get("label") is not None:
        return f"{row['label']}: {_TRUTH[row.get('truth') or 'yes']}"
    if row.get("column") is not None:
        return f"{row['column']} {row.get('subgroup') or ''}".strip()
    return "all images"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
