"""What the map of a head tells of each image: what is true, what the head says; a table, by the kind of task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from featcache.features.labelled_features import Features

Points = Mapping[str, Any]


class MapAnswers(Protocol):
    """What is told of one kind of task."""

    def told(self, features: Features, outputs: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
        """Columns of the map, as plain values: one value a point, or ``names`` of them row after row."""

    def misses(self, points: Points) -> dict[str, Any]:
        """A table of images that the head is wrong about, the gravest first.

        ``summary``; ``header``, pairs of a title and ``text`` or ``number``; and ``rows``, each with its ``point``, the
        ``path``, and ``cells``, a value for each of the other columns.
        """


class _OfClasses:
    def told(self, features: Features, outputs: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
        return {"predicted": answers.tolist(), "probabilities": np.round(outputs, 4).ravel().tolist()}

    def misses(self, points: Points) -> dict[str, Any]:
        names, width = points["classes"], len(points["classes"])
        rows = [
            (label, predicted, points["probabilities"][point * width + predicted], point)
            for point, (label, predicted) in enumerate(zip(points["label"], points["predicted"], strict=True))
            if label != predicted
        ]
        rows.sort(key=lambda row: -row[2])
        header = [("Label", "text"), ("Prediction", "text"), ("Probability", "number")]
        cells = [(point, (names[label], names[predicted], p)) for label, predicted, p, point in rows]
        return _table(points, f"The {len(rows)} misclassified images on the map, as a table", header, cells)


class _OfLabels:
    def told(self, features: Features, outputs: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
        """Of each label of each image a character: 1, 0, or ? where it is not known."""
        known = np.where(np.isnan(features.y), "?", np.where(features.y == 1, "1", "0"))
        return {
            "known": "".join(known.ravel().tolist()),
            "said": "".join(map(str, answers.ravel().tolist())),
            "probabilities": np.round(outputs, 4).ravel().tolist(),
        }

    def misses(self, points: Points) -> dict[str, Any]:
        names, width, rows = points["names"], len(points["names"]), []
        for point in range(len(points["path"])):
            own = slice(point * width, (point + 1) * width)
            known, said, p = points["known"][own], points["said"][own], points["probabilities"][own]
            wrong = [label for label in range(width) if known[label] not in ("?", said[label])]
            if wrong:
                far = max(abs(p[label] - int(known[label])) for label in wrong)
                missed = ", ".join(names[label] for label in wrong if known[label] == "1")
                invented = ", ".join(names[label] for label in wrong if known[label] == "0")
                rows.append((far, point, (missed or "–", invented or "–", far)))
        rows.sort(key=lambda row: -row[0])
        header = [("Missed", "text"), ("Said, and not there", "text"), ("Farthest off by", "number")]
        summary = f"The {len(rows)} images on the map with a label that is said otherwise, as a table"
        return _table(points, summary, header, [row[1:] for row in rows])


class _OfNumbers:
    def told(self, features: Features, outputs: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
        return {"true": _short(features.y), "predicted": _short(outputs)}

    def misses(self, points: Points) -> dict[str, Any]:
        pairs = zip(points["true"], points["predicted"], strict=True)
        rows = [(point, (true, predicted, predicted - true)) for point, (true, predicted) in enumerate(pairs)]
        rows.sort(key=lambda row: -abs(row[1][2]))
        header = [(f"True {points['names'][0]}", "number"), ("Predicted", "number"), ("Off by", "number")]
        return _table(
            points, "The images on the map in the order of how far the number is off, as a table", header, rows
        )


def _short(values: np.ndarray) -> list[float]:
    """Six digits of each, which is more than anybody reads."""
    return [float(f"{value:.6g}") for value in values.tolist()]


def _table(
    points: Points, summary: str, header: Sequence[tuple[str, str]], rows: Sequence[tuple[int, Sequence[Any]]]
) -> dict[str, Any]:
    return {
        "summary": summary,
        "header": [("Image", "text"), *header, ("Part", "text")],
        "rows": [
            {
                "point": point,
                "path": points["path"][point],
                "cells": [*cells, points["splits"][points["split"][point]]],
            }
            for point, cells in rows
        ],
    }


MAP_ANSWERS: dict[str, MapAnswers] = {"classes": _OfClasses(), "labels": _OfLabels(), "number": _OfNumbers()}
