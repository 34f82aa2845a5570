"""What a page shows of a search for wrong labels: how many, pictures of the first, and a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from featcache.data.filesystems import is_url

from ..evaluation.thumbnail import thumbnail
from .run_reader import Run
from .shown_metrics import SHOWN, cells, title_of
from .thumbnails import data_uri

_PICTURES, _SIDE = 20, 160
_PAIRS = 6


def suspects_view(searches: Sequence[Run], images: bool) -> list[dict[str, Any]]:
    """What the page's template takes of each search; ``images`` with pictures of the first suspects."""
    return [_search(run, images) for run in searches]


def _search(run: Run, images: bool) -> dict[str, Any]:
    about = run.about
    suspects = [_suspect(one, run.data) for one in about["suspects"]]
    metric = SHOWN[run.kind].metrics[0].title
    asked = [
        {"name": model["name"], "metric": metric, "cell": cells(model["test"], run.kind)[0]}
        for model in about.get("models", ())
    ]
    shown = suspects[:_PICTURES] if images else []
    for one in shown:
        picture = thumbnail(one["path"], _SIDE)
        one["picture"] = data_uri(picture) if picture else None
    return {
        "run": run.folder.name,
        "title": title_of(run.kind, run.classes),
        "finished": run.finished,
        "wrong": about["estimated_wrong"],
        "of": about["labels"],
        "pairs": [pair for pair in about.get("pairs", ()) if pair["wrong"] >= 0.5][:_PAIRS],
        "asked": asked,
        "left_out": about.get("left_out", []),
        "suspects": suspects,
        "shown": shown,
        "copies": sum(one["copied"] for one in suspects),
    }


def _suspect(one: dict[str, Any], root: str) -> dict[str, Any]:
    path = str(one["path"])
    inside = not is_url(path) and path.startswith(root + os.sep)
    name = os.path.relpath(path, root) if inside else path
    return {**one, "name": name, "part": one.get("part", ""), "copied": one.get("copy") is not None}
