"""``baselines``: the leaderboard of classical models on kept features, and the bundle of the best."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from featcache.data.tasks import Task, about_task, as_task
from featcache.features.feature_request import FeatureRequest
from featcache.features.labelled_features import Features
from featcache.system.timer import Stopwatch

from ..bundles.saving import save_bundle
from ..evaluation.judgement import sets_judged
from ..evaluation.run_folder import require_out, run_folder, stamp, write_json
from ..evaluation.simultaneous_intervals import simultaneous_intervals
from ..evaluation.task_metrics import TASK_METRICS
from .baseline_models import Baseline, chosen_baselines
from .baseline_search import ModelRows, model_rows, side_by_side
from .calibration_patients import scores_of_baseline
from .divisions import check_counts
from .influence import influence_of_patients
from .judged_part import look_at_test, require_shown
from .leaderboard import Leaderboard, rank_baselines, write_leaderboard
from .spread import Repeats, against_first, planned
from .training_data import training_data


def baselines(
    task: str | Task = "multiclass",
    *,
    backbone: str | None = None,
    pooling: str = "flatten",
    classes: Sequence[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    models: Sequence[str] | None = None,
    cv: int = 5,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    audit: bool = False,
    seeds: int = 1,
    repeats: int = 1,
    final: bool = False,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """The leaderboard: each model with the best of its grid, cross-validated on the training rows, and on test.

    Parameters
    ----------
    task : {"binary", "multiclass"} or Task, optional
        What is to be learnt; see :func:`featcache.load`.
    backbone : str, optional
        A backbone, or the id of a feature set; None takes the one extracted last.
    pooling : {"flatten", "avg", "max"}, optional
        How a map becomes a row.
    classes : sequence of str, optional
        Two or more class names, in place of the task's own.
    data : str or path, optional
        Folder or manifest of the images; None takes that of the last extract.
    group_regex : str, optional
        Where in the file name the patient stands.
    cache : str or path, optional
        Folder of the store.
    models : sequence of str, optional
        Names in the task's table of :data:`heads.experiments.baseline_models.TABLES`; None takes all.
    cv : int, optional
        Folds; classes in proportion, groups whole. Validation rows of the data count as training rows here.
    seed : int, optional
        Of the folds and the models.
    out : str or path, optional
        Folder for ``leaderboard.csv`` and ``.png``, ``run.json`` and the bundle of the best; None makes one in
        ``runs``.
    audit : bool, optional
        As in :func:`heads.fit_head`.
    seeds : int, optional
        Besides, fit each model with the values found with so many seeds on each division, 1 to 1,000. ``spread`` then
        says how far the headline metric moves with each part of chance: :mod:`heads.evaluation.spread_parts`.
    repeats : int, optional
        And on so many new divisions of all patients, of the sizes of the run's own parts; of 1, on these alone.
        Models are then compared with the first on the same divisions and seeds.
    final : bool, optional
        Show the metrics of a test part that is locked (``vault lock``), and note that this was the final look.
    on_row : callable, optional
        Called with each row as it is done.

    Returns
    -------
    dict of str to object
        ``rows`` (``name cv_score cv_std test seconds best_params n columns``), best first by ``cv_score``, which
        ``score_name`` names: ``accuracy``, ``mean_roc_auc`` or ``neg_mean_absolute_error``;
        ``bundle`` of the first; ``reduced``, what was done where the features do not fit in memory (see
        :mod:`heads.search.streaming_pca`), or None. ``n`` and ``columns`` are what a model learnt from: fewer rows
        for those whose cost grows with their square. With ``seeds`` or ``repeats`` each row has ``spread``.
        ``influence`` is what the ridge's metric on test becomes without single patients in training: ``metric value
        range groups most patients``, the ten whose leaving out changes the squared error most; ``influence.csv`` has
        all. None without the ridge, for several labels, and for features that do not fit in memory. ``look``, which
        look at its test images it was; ``corrected``, of each model the interval that allows for the choice among
        them (``intervals`` by name, ``tail``; see :mod:`heads.evaluation.simultaneous_intervals`). ``conformal`` is how
        often sets of the first model hold the truth of the test rows, see
        :func:`heads.evaluation.conformal_coverage.conformal_coverage`. Where the test images are locked and ``final``
        is not asked for, all these and each ``test`` are None, and ``hidden`` says why.

    Raises
    ------
    DataError
        A class has fewer groups than folds, or is missing from test.
    UsageError
        An unknown model; or locked images would be learnt from.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import featcache
    >>> from featcache.data.synthetic import write_sample
    >>> from heads import baselines
    >>> folder = Path(tempfile.mkdtemp())
    >>> images = write_sample(folder / "images", train=10, test=3)
    >>> extracted = featcache.extract(images, "pixels", size=8, cache=folder / "cache")
    >>> options = {"backbone": "pixels", "models": ["knn", "dummy"], "cv": 2, "cache": folder / "cache"}
    >>> result = baselines(**options, out=folder / "run")
    >>> [row["name"] for row in result["rows"]]
    ['knn', 'dummy']
    >>> result["rows"][1]["test"]["accuracy"]
    0.25
    """
    learns = as_task(task, classes)
    chosen = chosen_baselines(models, learns)
    check_counts(seeds, repeats)
    require_out(out)
    watch = Stopwatch()
    request = FeatureRequest(
        backbone=backbone,
        task=learns,
        pooling=pooling,
        data=data,
        group_regex=group_regex,
        cache=cache,
    )
    learnt_from = training_data(request, audit=audit, seed=seed, watch=watch, final=final)
    features, test, sealed = learnt_from.features, learnt_from.parts.test, learnt_from.sealed
    asked = {"dividing": {"--repeats": repeats > 1}, "showing": {"--seeds": seeds > 1}}
    require_shown(cache, features, sealed, **asked)
    train, folds = learnt_from.folds(cv, seed)
    repeated = planned(learnt_from, seeds, repeats, seed, in_memory=True)
    warnings = list(learnt_from.warnings)
    with run_folder(out, "baselines", learns.name, features.spec.network) as folder:
        seen = model_rows(features, train, chosen, seed)
        if seen.reduced is not None:
            warnings.append(seen.reduced.caution())
        watch.lap("project")
        board = rank_baselines(chosen, seen, train, folds, test, seed=seed, on_row=on_row, sealed=sealed is not None)
        watch.lap("search")
        looked = look_at_test(
            folder, "baselines", features, test, board.outputs, cache=cache, final=final, sealed=sealed
        )
        held_out = scores_of_baseline(board.best.baseline, board.best.searched, seen, train, folds, seed)
        influence, sets = None, None
        if sealed is None:
            sets = sets_judged(features, test, board.outputs[board.best.baseline.name], held_out)
        watch.lap("sets")
        if sealed is None:
            influence = influence_of_patients(folder, chosen, seen, board.rows, train, test)
        watch.lap("influence")
        bundle = save_bundle(
            folder / "bundle",
            seen.refitted(board.best.baseline, board.best.searched, train, seed),
            features,
            train,
            scores={} if sealed else {"test": board.best.row["test"]},
            look=looked["look"],
            cache=cache,
            warnings=warnings,
            held_out=held_out,
        )
        watch.lap("bundle")
        if repeated is not None:
            _add_spreads(repeated, board, chosen, seen)
            watch.lap("spread")
        result = {
            **stamp("baselines", features, {"train": train, "test": test}),
            "task": learns.name,
            "learns": about_task(features.task),
            "classes": list(features.classes),
            "feature_set": features.feature_set,
            "pooling": pooling,
            "warnings": warnings,
            "synthetic": features.synthetic,
            "folds": cv,
            "seed": seed,
            "phases": watch.phases,
            "score_name": TASK_METRICS[learns.kind].score_name,
            "rows": board.rows,
            **looked,
            "corrected": None if sealed else _corrected(board, features, test),
            "influence": influence,
            "conformal": sets,
            "reduced": seen.reduced and seen.reduced.about(),
            "made": learnt_from.made_with_folds,
            "run": str(folder),
            "bundle": str(bundle),
        }
        write_leaderboard(folder, board.rows, features, train, test)
        if repeated is not None:
            spreads = {row["name"]: row["spread"] for row in board.rows}
            repeated.write(folder, spreads, f"{features.feature_set}, {features.pooling}, {learns.name}")
        write_json(folder / "run.json", result)
        return result


def _corrected(board: Leaderboard, features: Features, test: np.ndarray) -> dict[str, Any] | None:
    """Intervals of the headline metric that allow for the choice; None of one model."""
    if len(board.outputs) < 2:
        return None
    found = simultaneous_intervals(features.task.kind, features.y[test], board.outputs, features.groups[test])
    return {
        "tail": found.tail,
        "intervals": {name: None if ends is None else list(ends) for name, ends in found.intervals.items()},
    }


def _add_spreads(repeated: Repeats, board: Leaderboard, chosen: Sequence[Baseline], seen: ModelRows) -> None:
    """Give each row its ``spread``, and but for the first ``against_first`` in it."""
    by_name = {baseline.name: baseline for baseline in chosen}
    spreads = {}
    for row in board.rows:
        name, X = row["name"], seen.seen_by(by_name[row["name"]])
        model = seen.unfitted(by_name[name], repeated.seed).set_params(**board.found[name])
        spreads[name] = repeated.of_model(model, X, side_by_side(X))
        row["spread"] = repeated.about(spreads[name])
    first, *others = (row["name"] for row in board.rows)
    rows = {row["name"]: row for row in board.rows}
    for name in others:
        kind = seen.features.task.kind
        rows[name]["spread"]["against_first"] = against_first(spreads[first], spreads[name], first, kind)
