"""Intervals that allow for the choice among models judged on the same test images, from the answers that runs kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation.kept_answers import FILE, KeptAnswers, read_kept_answers
from ..evaluation.simultaneous_intervals import simultaneous_intervals
from .looks_view import looks_before
from .run_reader import Run
from .shown_metrics import SHOWN, Cell, cell_of, rank


@dataclass(frozen=True)
class _Model:
    """A model's answers on test images, these in the order of their keys."""

    value: float | None
    answers: KeptAnswers
    name: str

    @property
    def order(self) -> np.ndarray:
        return np.argsort(np.array(self.answers.images), kind="stable")

    @property
    def images(self) -> bytes:
        """Which images they are, and what is true of them."""
        order = self.order
        y = np.nan_to_num(self.answers.y[order].astype(float), nan=-1e300)
        return "".join(self.answers.images[i] for i in order).encode() + y.tobytes()


def with_choice(board: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    """A table of results with ``corrected`` in its rows, cells or None, and its ``choice`` and ``looks``, sentences.

    Corrected are the rows on the images that most of them are judged on, where there are two or more.
    """
    by_name = {run.folder.name: run for run in runs}
    models = _largest(_of_board(board, by_name))
    corrected = _corrected(board["kind"], models)
    choice = ""
    if corrected:
        best = min(corrected)  # rows stand in order, the best first
        said = _sentence(board["kind"], corrected[best], len(corrected), board["rows"][best]["name"])
        choice = said[0].upper() + said[1:]
        others = len(board["rows"]) - len(models)
        if others:
            choice += f" {others} of the rows kept no answers or are on other images, and are not allowed for."
    own = [by_name[name] for name in dict.fromkeys(row["run"] for row in board["rows"])]
    with_answers = {board["rows"][place]["run"] for place in models}
    return {
        **board,
        "rows": [{**row, "corrected": corrected.get(place)} for place, row in enumerate(board["rows"])],
        "choice": choice,
        "looks": looks_before(own, [run for run in own if run.folder.name in with_answers]),
    }


def choices_elsewhere(places: Sequence[Mapping[str, Any]], evaluations: Sequence[Run]) -> list[str]:
    """Of each other place where several models were judged on the same images, the best one's figure, in a sentence.

    ``places`` are as :func:`heads.reporting.tables.elsewhere` gives them.
    """
    runs = {run.folder.name: run for run in evaluations}
    told = []
    for data, kind in dict.fromkeys((place["data"], place["kind"]) for place in places):
        models: dict[int, _Model] = {}
        for number, place in enumerate(places):
            run = runs[place["run"]]
            if (place["data"], place["kind"]) == (data, kind) and place["outside"] is not None:
                answers = read_kept_answers(run.folder / FILE, run.kind, run.classes, [""])  # type: ignore[arg-type]
                if answers is not None:
                    models[number] = _Model(place["outside"]["value"], answers, "")
        corrected = _corrected(kind, _largest(models))
        if corrected:
            best = min(corrected, key=lambda number: rank(corrected[number], kind))
            said = _sentence(kind, corrected[best], len(corrected), places[best]["model"])
            told.append(f"On {places[best]['name']}, {said}")
    return told


def _sentence(kind: str, cell: Cell, count: int, model: str) -> str:
    metric = SHOWN[kind].metrics[0].title
    return f"the best of {count}, {model}: {metric} {cell['text']}, allowing for the choice {cell['range']}."


def _corrected(kind: Any, models: Mapping[int, _Model]) -> dict[int, Cell]:
    """Of each model its headline metric with the interval that allows for the choice; empty of fewer than two."""
    if len(models) < 2:
        return {}
    first = next(iter(models.values()))
    outputs = {str(place): model.answers.outputs[model.name][model.order] for place, model in models.items()}
    found = simultaneous_intervals(kind, first.answers.y[first.order], outputs, first.answers.groups[first.order])
    scale = SHOWN[kind].metrics[0].scale
    told = {
        place: cell_of({"v": model.value, "v_ci": found.intervals[str(place)]}, "v", scale)
        for place, model in models.items()
    }
    known = {place: cell for place, cell in told.items() if cell is not None}
    return known if len(known) > 1 else {}


def _of_board(board: Mapping[str, Any], runs: Mapping[str, Run]) -> dict[int, _Model]:
    """The rows whose answers on test were kept, by their place."""
    read: dict[str, KeptAnswers | None] = {}
    models: dict[int, _Model] = {}
    metric = SHOWN[board["kind"]].metrics[0].name
    for place, row in enumerate(board["rows"]):
        run = runs[row["run"]]
        if row.get("by_folds"):
            continue
        names = [str(one["name"]) for one in run.about["rows"]] if run.verb == "baselines" else [""]
        if row["run"] not in read:
            read[row["run"]] = read_kept_answers(run.folder / FILE, board["kind"], board["classes"], names)
        answers = read[row["run"]]
        if answers is not None:
            name = row["name"] if run.verb == "baselines" else ""
            models[place] = _Model(row["test"].get(metric), answers, name)
    return models


def _largest(models: Mapping[int, _Model]) -> dict[int, _Model]:
    """Those on the images that most are judged on, and that agree on what is true of them."""
    alike: dict[bytes, dict[int, _Model]] = {}
    for place, model in models.items():
        alike.setdefault(model.images, {})[place] = model
    return max(alike.values(), key=len, default={})
