"""Intervals that allow for the choice among models judged on the same test images, from the answers that runs kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation.kept_answers import FILE, KeptAnswers, read_kept_answers
from ..evaluation.simultaneous_intervals import simultaneous_intervals
from .looks_view import looks_before
from .run_reader import Run
from .shown_metrics import SHOWN, cell_of

_Model = tuple[int, KeptAnswers, np.ndarray, str]  # place of the row, the answers, their order by image, the model


def with_choice(board: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    """A table of results with ``corrected`` in its rows, cells or None, and its ``choice`` and ``looks``, sentences.

    Corrected are the rows on the images that most of them are judged on, where there are two or more.
    """
    by_name = {run.folder.name: run for run in runs}
    models = _largest(_kept(board, by_name))
    corrected: dict[int, Any] = {}
    choice = ""
    kind = board["kind"]
    metric = SHOWN[kind].metrics[0]
    if len(models) > 1:
        first, order = models[0][1], models[0][2]
        outputs = {str(place): answers.outputs[name][own] for place, answers, own, name in models}
        found = simultaneous_intervals(kind, first.y[order], outputs, first.groups[order])
        values = {str(place): board["rows"][place]["test"].get(metric.name) for place, *_ in models}
        corrected = {
            int(place): cell_of({"v": values[place], "v_ci": ends}, "v", metric.scale)
            for place, ends in found.intervals.items()
        }
        known = {place: cell for place, cell in corrected.items() if cell is not None}
        if len(known) > 1:
            best = min(known)  # rows stand in order, the best first
            row, cell = board["rows"][best], known[best]
            choice = (
                f"The best of {len(known)}, {row['name']}: {metric.title} {cell['text']}, allowing for the choice "
                f"{cell['range']}."
            )
            others = len(board["rows"]) - len(models)
            if others:
                choice += f" {others} of the rows kept no answers or are on other images, and are not allowed for."
    own = [by_name[name] for name in dict.fromkeys(row["run"] for row in board["rows"])]
    with_answers = {board["rows"][place]["run"] for place, *_ in models}
    return {
        **board,
        "rows": [{**row, "corrected": corrected.get(place)} for place, row in enumerate(board["rows"])],
        "choice": choice,
        "looks": looks_before(own, [run for run in own if run.folder.name in with_answers]),
    }


def _kept(board: Mapping[str, Any], runs: Mapping[str, Run]) -> list[_Model]:
    """The rows whose answers on test were kept."""
    read: dict[str, KeptAnswers | None] = {}
    models: list[_Model] = []
    for place, row in enumerate(board["rows"]):
        run = runs[row["run"]]
        if row.get("by_folds"):
            continue
        if row["run"] not in read:
            read[row["run"]] = read_kept_answers(run.folder / FILE, board["kind"], board["classes"], _models(run))
        answers = read[row["run"]]
        name = row["name"] if run.verb == "baselines" else _models(run)[0]
        if answers is not None and name in answers.outputs:
            models.append((place, answers, np.argsort(np.array(answers.images), kind="stable"), name))
    return models


def _models(run: Run) -> list[str]:
    """Names of a run's models, in the order in which their answers are kept."""
    return [str(row["name"]) for row in run.about["rows"]] if run.verb == "baselines" else [str(run.about["model"])]


def _largest(models: Sequence[_Model]) -> list[_Model]:
    """Those on the images that most are judged on, and that agree on what is true of them."""
    alike: dict[bytes, list[_Model]] = {}
    for model in models:
        _, answers, order, _ = model
        told = (
            "".join(answers.images[i] for i in order).encode()
            + np.nan_to_num(answers.y[order].astype(float), nan=-1e300).tobytes()
        )
        alike.setdefault(told, []).append(model)
    return max(alike.values(), key=len, default=[])
