"""The files of one fitted head's run: history, predictions, figures and ``run.json``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache.system.timer import Stopwatch

from ..bundles.integrity import CONVERTED, WEIGHTS
from ..evaluation import plots
from ..evaluation.canvas import save_figure
from ..evaluation.decision import Settled
from ..evaluation.run_folder import origin_note, write_evaluation, write_json, write_predictions, write_table
from .training_data import TrainingData

_log = logging.getLogger(__name__)


def write_head_run(
    folder: Path,
    result: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    learnt_from: TrainingData,
    settled: Settled,
    watch: Stopwatch,
    held_out: np.ndarray | None = None,
) -> None:
    """Write them beside the bundle, which is there already; ``watch`` has the lap ``draw`` afterwards.

    ``held_out`` is what heads that did not learn from it give each row, whose figures stand in ``cross_validated/``.
    """
    features = learnt_from.features
    epochs = zip(range(1, result["epochs_run"] + 1), *history.values(), strict=True)
    write_table(folder / "history.csv", ("epoch", *history), [tuple(epoch) for epoch in epochs])
    parts = learnt_from.parts.parts()
    if learnt_from.sealed is not None:
        del parts["test"]  # of which nothing is to be told
    order = np.concatenate(list(parts.values()))
    names = [name for name, rows in parts.items() for _ in rows]
    outputs = settled.probabilities
    write_predictions(folder / "predictions.csv", features, order, names, outputs[order], settled.value)
    title = f"{features.feature_set if result['model'] == 'dense' else 'own CNN'}, {result['task']}"
    curves = plots.learning_curves(history, result["best_epoch"], title + origin_note(features))
    save_figure(curves, folder / "curves.png")
    if "test" in parts:
        test = parts["test"]
        write_evaluation(folder, features, test, outputs[test], result["test"], f"{title}, test")
    if held_out is not None:
        place, rows = folder / "cross_validated", np.arange(len(features))
        place.mkdir()
        write_predictions(place / "predictions.csv", features, rows, list(features.splits), held_out)
        by = f"{title}, by {result['cross_validated']['folds']} folds"
        write_evaluation(place, features, rows, held_out, result["cross_validated"]["test"], by)
    watch.lap("draw")
    write_json(folder / "run.json", result)
    held = {entry.name for entry in (folder / "bundle").iterdir()}
    if not held & {WEIGHTS, CONVERTED} and features.spec.backbone != "pixels":
        reason = "is a function, which is kept nowhere" if features.spec.of_function else "is not kept in this cache"
        advice = "first with the function" if features.spec.of_function else "at least one with this version to keep it"
        _log.warning(
            "bundle: the network %s, so the bundle predicts only where the features are cached; of new images, extract "
            "%s",
            reason,
            advice,
        )
