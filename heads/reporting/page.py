"""The page itself: what its template is given, and the template filled in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

import featcache
from featcache.spec import are_random

from ..evaluation.ridge_influence import influence_sentence
from ..evaluation.run_folder import data_title
from . import charts, result_details, tables
from .audit_view import audit_view
from .checklist_answers import checklist_answers
from .choice_view import choices_elsewhere, with_choice
from .forecast_view import forecast_view
from .map_answers import MAP_ANSWERS
from .run_reader import Collected, Run
from .scatter import scatter
from .sets_view import sets_views
from .shown_metrics import title_of
from .spread_view import spread_view
from .suspects_view import suspects_view
from .verdict import Verdict

_SCRIPTS = ("report.js", "worklist.js", "answers.js", "explorer.js")
_CURVES, _MATRICES, _LISTED = 8, 3, 200
# Colours of classes, as in heads.evaluation.canvas, but a grey that stands out on black and on white for its black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#8C8C8C", "#56B4E9", "#D55E00", "#C9B300")
# Shapes of classes, SVG paths about (0, 0): dot, triangle, square, diamond, triangle, plus, cross, star.
SHAPES = (
    "M-6.5,0a6.5,6.5 0 1,0 13,0a6.5,6.5 0 1,0 -13,0",
    "M0,-7.5L7.2,5.5H-7.2Z",
    "M-5.8,-5.8H5.8V5.8H-5.8Z",
    "M0,-8L6.5,0L0,8L-6.5,0Z",
    "M0,7.5L7.2,-5.5H-7.2Z",
    "M-2.4,-7H2.4V-2.4H7V2.4H2.4V7H-2.4V2.4H-7V-2.4H-2.4Z",
    "M-6.6,-3.4L-3.4,-6.6L0,-3.2L3.4,-6.6L6.6,-3.4L3.2,0L6.6,3.4L3.4,6.6L0,3.2L-3.4,6.6L-6.6,3.4L-3.2,0Z",
    "M0,-8L2,-2.75L7.61,-2.47L3.23,1.05L4.7,6.47L0,3.4L-4.7,6.47L-3.23,1.05L-7.61,-2.47L-2,-2.75Z",
)
# What images are called that a head is wrong about: several, the ones, and one.
_MISSES = {
    "classes": {"miss": "misclassified", "those": "misclassified ones", "miss_short": "misclassified"},
    "labels": {
        "miss": "with a label that is said otherwise",
        "those": "those with a label said otherwise",
        "miss_short": "said otherwise",
    },
}


def render(
    collected: Collected,
    verdict: Verdict,
    elsewhere: list[dict[str, Any]],
    points: dict[str, Any] | None,
    missing: str,
    images: bool,
    to_do: dict[str, Any],
    looks: Mapping[str, Any],
) -> bytes:
    """The page, as UTF-8.

    Parameters
    ----------
    collected : the runs, and what belongs to them.
    verdict : of :func:`heads.reporting.verdict.judge`.
    elsewhere : of :func:`heads.reporting.tables.elsewhere`.
    points, missing : the map of :func:`heads.reporting.embedding_map.explore`, or None and why there is none.
    images : whether pictures of pairs are shown.
    to_do : of :func:`heads.reporting.worklist_view.worklist_view`.
    looks : of :func:`heads.reporting.looks_view.looks_view`.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("heads.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    files = resources.files("heads.reporting") / "templates"
    style = (files / "report.css").read_text(encoding="utf-8")
    scripts = [(files / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    boards = [_with_details(board, collected.runs) for board in tables.leaderboards(collected.runs)]
    # Of each kind the run that knows most names.
    told = {
        kind: max((run for run in collected.runs if run.kind == kind), key=lambda run: len(run.classes))
        for kind in dict.fromkeys([*(board["kind"] for board in boards), *(run.kind for run in collected.runs)])
    }
    first = next(iter(told.values()))
    # One colour and shape a class, whichever table or map it stands in.
    now = datetime.now()
    synthetic = any(run.about.get("synthetic") for run in collected.runs)
    names = list(dict.fromkeys([*first.classes, *(points["classes"] if points else ())]))
    if points is not None:
        points = {**points, "title": title_of(points["kind"], points["names"]), **_MISSES.get(points["kind"], {})}
    page = environment.get_template("report.html").render(
        data=collected.data,
        title=data_title(collected.data, synthetic) or "report",
        now=f"{now.day} {now:%B %Y, %H:%M}",
        version=featcache.__version__,
        verdict=verdict,
        boards=boards,
        kinds=list(told),
        patients=[{**found, "title": board["title"]} for board in boards for found in board["patients"]],
        predictive=[{**found, "title": board["title"]} for board in boards for found in board["predictive"]],
        subgroups=[{**found, "title": board["title"]} for board in boards for found in board["subgroups"]],
        sets=sets_views(collected.runs, collected.evaluations),
        spreads=[view for view in map(spread_view, boards) if view],
        runs=collected.runs,
        left_out=collected.left_out,
        audit=audit_view(collected, images),
        to_do=to_do,
        doubted=suspects_view(collected.label_errors, images),
        audit_kind=collected.audit.kind if collected.audit else "",
        about=_about(first),
        counted=[_about(run) for run in told.values()],
        confusions=_confusions(boards),
        elsewhere=elsewhere,
        choices_elsewhere=choices_elsewhere(elsewhere, collected.evaluations),
        forecasts=[forecast_view(run) for run in collected.forecasts],
        points=points,
        missing=missing,
        looks=looks,
        curves=[c for c in map(charts.curves, _heads(collected.runs)) if c],
        most_curves=_CURVES,
        searches=[s for s in (charts.search(run) for run in collected.runs if run.verb == "grid") if s],
        synthetic=synthetic,
        random=any(are_random(str(run.about.get("weights", ""))) for run in collected.runs),
        checklists=checklist_answers(
            collected, boards, verdict, elsewhere, points is not None and not points["saliency"]
        ),
        misses=MAP_ANSWERS[points["kind"]].misses(points) if points else None,
        mark_of={name: i for i, name in enumerate(names)},
        marks=[names.index(name) for name in points["classes"]] if points else [],
        colours=COLOURS,
        shapes=SHAPES,
        style=style,
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        listed=_LISTED,
    )
    return page.encode("utf-8", "backslashreplace")  # of names that are not UTF-8


def _hash(script: str) -> str:
    """What a Content-Security-Policy calls a script: nothing else on the page can then run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _heads(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.verb == "fit-head"]


def _with_details(board: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    """A table of results, and what stands below it."""
    kind, rows = board["kind"], board["rows"]
    drawn = None
    if kind == "number":
        folders = {run.folder.name: run for run in runs}
        for row in rows:  # the first that kept what it said
            by_folds = (None, "cross_validated/predictions.csv") if row.get("by_folds") else ()
            found = scatter(folders[row["run"]], *by_folds)
            if found is not None:
                drawn = {**found, "model": row["name"]}
                break
    return {
        **with_choice(board, runs),
        "labels": [result_details.labels_of(row) for row in rows] if kind == "labels" else [],
        "patients": [found for row in rows if (found := result_details.patients_of(row, kind))],
        "predictive": [found for row in rows if (found := result_details.predictive_of(row))],
        "subgroups": [
            found
            for row in rows
            for found in (result_details.subgroups_of(row), result_details.sites_of(row, kind))
            if found
        ],
        "scatter": drawn,
        "influence": [
            f"{influence_sentence(run.about['influence'])} ({run.about['feature_set']})."
            for run in runs
            if (run.kind, run.classes) == (kind, board["classes"]) and run.about.get("influence")
        ],
    }


def _about(run: Run) -> dict[str, Any]:
    """What the data is, as a run knows it."""
    return {name: run.about.get(name) for name in ("images", "groups")} | {
        "per_split": run.about.get("per_split") or {},
        "classes": list(run.classes),
        "kind": run.kind,
    }


def _confusions(boards: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The matrices of each table's models: of the best, and of the rest."""
    confusions = []
    for table in boards:
        if table["kind"] != "classes":
            continue
        matrices = []
        for row in table["rows"]:
            best = row["cells"][0]
            note = f"accuracy {best['text']} ({best['range']}), n = {row['n']}"
            title = f"{row['name']}, {row['features']}"
            matrices.append(tables.confusion(row["test"]["confusion"], table["classes"], title, note))
        confusions.append({"classes": table["classes"], "first": matrices[:_MATRICES], "rest": matrices[_MATRICES:]})
    return confusions
