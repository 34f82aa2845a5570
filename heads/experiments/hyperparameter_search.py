"""``grid``: search the hyperparameters of a head, the own CNN or a baseline, refit the best, judge it, keep it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data.synthetic import is_sample
from featcache.data.tasks import Task, about_task, as_task
from featcache.features.feature_request import FeatureRequest
from featcache.store.store import Store
from featcache.system.timer import Stopwatch
from featcache.system.user_paths import expanded
from featcache.system.write_access import require_writable

from ..bundles.saving import save_bundle
from ..evaluation.held_out_scores import HeldOutScores
from ..evaluation.judgement import sets_judged
from ..evaluation.run_folder import require_out, run_folder, stamp, write_evaluation, write_json
from ..evaluation.task_metrics import TASK_METRICS
from ..search.search_cv import Progress
from ..training.checked_rows import rows_of
from .baseline_models import short_names
from .calibration_patients import scores_of_rows
from .divisions import check_counts
from .head_models import HEADS
from .held_out import outputs_of_folds
from .judged_part import look_at_test, require_shown
from .reference import BEST
from .search_plan import PRESET, SAMPLE_GRID, SearchPlan, Values, check_method, plan_search
from .search_results import draw_results, write_results
from .search_run import SearchLog, SearchRows, nested_estimate, require_rows_for_halving, run_search, search_rows
from .search_scores import SCORES
from .searched_spread import spread_of_search
from .spread import Repeats, planned
from .training_data import TrainingData, training_data

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Asked:
    """A search as it is asked for: on which features, of which model, over what, and how."""

    request: FeatureRequest
    model: str
    plan: SearchPlan
    cv: int
    nested: bool
    restart: bool
    memory: int | None
    reference_best: Mapping[str, Any] | None
    repeated: Repeats | None = None
    final: bool = False

    def options(self, feature_set: str) -> dict[str, Any]:
        """Parameters of the search beside the plan's."""
        name = f"{self.request.learns.name}-{self.model}-{feature_set}.journal"
        journal = expanded(self.request.cache).absolute() / "searches" / name
        return {"journal": journal, "memory": self.memory, "n_jobs": os.cpu_count()}


@dataclass(frozen=True)
class _Done:
    """A search that was run, and its best as the test rows judge it."""

    learnt_from: TrainingData
    rows: SearchRows
    log: SearchLog
    search: Any
    seconds: float
    outputs: np.ndarray | None
    test: dict[str, Any] | None
    looked: dict[str, Any]
    held_out: HeldOutScores
    sets: dict[str, Any] | None


def grid(
    task: str | Task = "multiclass",
    *,
    model: str = "dense",
    preset: str | None = None,
    params: Mapping[str, Values] | None = None,
    method: str = "exact",
    iterations: int = 20,
    cv: int = 3,
    nested: bool = False,
    force: bool = False,
    backbone: str | None = None,
    pooling: str | None = None,
    classes: Sequence[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    seed: int = 0,
    memory: int | None = None,
    restart: bool = False,
    out: str | os.PathLike[str] | None = None,
    audit: bool = False,
    seeds: int = 1,
    repeats: int = 1,
    final: bool = False,
    on_cell: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Search by cross-validation on the training rows, refit the best on all of them, and judge it on test.

    Parameters
    ----------
    task : {"binary", "multiclass"} or Task, optional
        What is to be learnt; see :func:`featcache.load`.
    model : str, optional
        ``dense``, ``own-cnn``, or a name in the task's table of :data:`heads.experiments.baseline_models.TABLES`.
    preset : {"reference"}, optional
        The reference's grid for the task and model; the default where ``params`` are none, but for the pooled
        features of the built-in sample, which have :data:`heads.experiments.search_plan.SAMPLE_GRID`.
    params : mapping of str to sequence or Between, optional
        Values for each parameter, or a :class:`heads.search.candidate_checks.Between` for a random search.
    method : {"exact", "halving", "random"}, optional
        ``halving`` is a heuristic that drops what looks poor after few epochs (or rows).
    iterations : int, optional
        Candidates of a random search.
    cv : int, optional
        Folds; classes in proportion, groups whole. Validation rows of the data count as training rows here.
    nested : bool, optional
        Also search within each of ``cv`` outer folds, for an estimate that the choice does not raise.
    force : bool, optional
        Halve though there are few rows.
    backbone : str, optional
        A backbone, or the id of a feature set; None takes the one extracted last.
    pooling : {"flatten", "avg", "max"}, optional
        How a map becomes a row; None is ``flatten``, and for heads on the built-in sample ``avg``, where the search
        is to be a matter of seconds.
    classes : sequence of str, optional
        Two or more class names, in place of the task's own.
    data : str or path, optional
        Folder or manifest of the images; None takes that of the last extract.
    group_regex : str, optional
        Where in the file name the patient stands.
    cache : str or path, optional
        Folder of the store.
    seed : int, optional
        Of folds and models.
    memory : int, optional
        Bytes that the process may hold at its peak; None is the limit in force (:func:`featcache.memory_limit`),
        else what it holds already and half of what is free.
    restart : bool, optional
        Forget the cells that an earlier search of this kind left in the journal, ``cache/searches``.
    out : str or path, optional
        Folder for the results; None makes one in ``runs``.
    audit : bool, optional
        As in :func:`heads.fit_head`.
    seeds : int, optional
        Besides, fit the best candidate with so many seeds on each division, 1 to 1,000. ``spread`` then
        says how far the headline metric moves with each part of chance: :mod:`heads.evaluation.spread_parts`.
    repeats : int, optional
        And on so many new divisions of all patients, of the sizes of the run's own parts; of 1, on these alone.
        ``spread`` then has ``winner`` besides: how often the best candidate stays first among the best five.
    final : bool, optional
        Show the metrics of a test part that is locked (``vault lock``), and note that this was the final look.
    on_cell : callable, optional
        Called after each finished cell with a :class:`heads.search.search_cv.Progress`.

    Returns
    -------
    dict of str to object
        ``candidates folds fits best_params best_score best_std seconds results_csv test`` and more; ``score_name``
        names the score (``accuracy``, ``mean_roc_auc`` or ``neg_mean_absolute_error``); in ``out``:
        ``results.csv``, ``heat_maps.png``, figures of the test, ``run.json`` and ``bundle/``. ``estimated_seconds``
        is what was measured on a few epochs before large heads or networks were trained, if none of them stops
        early; else None. ``conformal`` is how often sets of the best hold the truth of the test rows, see
        :func:`heads.evaluation.conformal_coverage.conformal_coverage`. ``reduced`` says what a baseline learnt from
        where the features do not fit in memory (see :mod:`heads.search.streaming_pca`), or None. ``look``, ``hidden``
        and ``test`` as of :func:`fit_head`.

    Raises
    ------
    DataError
        A class has fewer groups than folds.
    UsageError
        An unknown model, parameter or method; or locked images would be learnt from.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import featcache
    >>> from featcache.data.synthetic import write_sample
    >>> from heads import grid
    >>> folder = Path(tempfile.mkdtemp())
    >>> images = write_sample(folder / "images", train=10, test=3)
    >>> extracted = featcache.extract(images, "pixels", size=8, cache=folder / "cache")
    >>> options = {"backbone": "pixels", "cv": 2, "cache": folder / "cache", "out": folder / "run"}
    >>> result = grid(model="knn", params={"n_neighbors": [1, 3, 5]}, **options)
    >>> result["candidates"], result["fits"], sorted(result["best_params"])
    (3, 6, ['n_neighbors'])
    """
    learns = as_task(task, classes)
    check_method(method, iterations)
    check_counts(seeds, repeats)
    on_sample = pooling is None and model == "dense" and _is_sample(data, cache)
    if on_sample and params is None and preset is None and method == "exact":
        params = SAMPLE_GRID
    plan = plan_search(learns, model, preset, params, method=method, iterations=iterations, seed=seed)
    require_out(out)
    require_writable(cache)
    watch = Stopwatch()
    request = FeatureRequest(
        backbone=backbone,
        task=learns,
        pooling=pooling or ("avg" if on_sample else "flatten"),
        data=data,
        group_regex=group_regex,
        cache=cache,
    )
    asked = _Asked(
        request, model, plan, cv, nested, restart, memory, None if params else BEST.get((learns.name, model))
    )
    from_pixels = model == "own-cnn"
    learnt_from = training_data(request, audit=audit, seed=seed, watch=watch, from_pixels=from_pixels, final=final)
    several = {"dividing": {"--repeats": repeats > 1}, "showing": {"--seeds": seeds > 1}}
    require_shown(cache, learnt_from.features, learnt_from.sealed, **several)
    if on_sample:
        features = learnt_from.features
        _log.warning(
            "grid: on the built-in sample the pooled features are searched, %d columns, in longer trainings; "
            "--preset %s --pooling flatten searches all %s, the reference's way",
            features.X.shape[1],
            PRESET,
            f"{math.prod(features.map_shape):,}",
        )
    repeated = planned(learnt_from, seeds, repeats, seed, in_memory=model not in HEADS)
    asked = replace(asked, repeated=repeated, final=final)
    rows = search_rows(learnt_from, model, cv, seed)
    if not force:
        require_rows_for_halving(plan, rows)
    if rows.reduced is not None:
        asked = replace(asked, plan=replace(plan, estimator=rows.reduced.inner(plan.estimator)))
    with run_folder(out, "grid", learns.name, model) as folder:
        done = _search(asked, learnt_from, rows, SearchLog(learnt_from.features.X.shape[1:], on_cell), folder, watch)
        result = _result(asked, done, folder, watch)
        _write(asked, done, result, folder, watch)
        return result


def _search(
    asked: _Asked, learnt_from: TrainingData, rows: SearchRows, log: SearchLog, folder: Path, watch: Stopwatch
) -> _Done:
    """Run the search, and judge its best on the test rows."""
    features, test = learnt_from.features, learnt_from.parts.test
    search = run_search(asked.plan, rows, log, folder, asked.options(features.feature_set), asked.restart)
    seconds = watch.lap("search")
    measures, sealed = TASK_METRICS[features.task.kind], learnt_from.sealed
    outputs, metrics = None, None
    if sealed is None:
        outputs = measures.outputs(search, rows_of(rows.every, test))
        metrics = measures.evaluate(features.y[test], outputs, features.groups[test], features.classes)
    answers = {} if outputs is None else {asked.model: outputs}
    looked = look_at_test(
        folder, "grid", features, test, answers, cache=asked.request.cache, final=asked.final, sealed=sealed
    )
    watch.lap("evaluate")
    given = outputs_of_folds(search.best_estimator_, rows.X, rows.y, rows.groups, rows.folds, features.task.kind)
    held_out = scores_of_rows(features, rows.train, given)
    sets = None if outputs is None else sets_judged(features, test, outputs, held_out)
    watch.lap("sets")
    return _Done(learnt_from, rows, log, search, seconds, outputs, metrics, looked, held_out, sets)


def _result(asked: _Asked, done: _Done, folder: Path, watch: Stopwatch) -> dict[str, Any]:
    """What ``run.json`` holds, but for what is still to be searched by outer folds, and the top of the table."""
    features, reduced, search = done.learnt_from.features, done.rows.reduced, done.search
    results, best = search.cv_results_, search.best_index_
    candidates = len(results["params"])
    return {
        **stamp("grid", features, {"train": done.rows.train, "test": done.learnt_from.parts.test}),
        "task": asked.request.learns.name,
        "learns": about_task(features.task),
        "model": asked.model,
        "method": asked.plan.method,
        "classes": list(features.classes),
        "feature_set": features.feature_set,
        "pooling": features.pooling,
        "synthetic": features.synthetic,
        "candidates": candidates,
        "folds": asked.cv,
        "fits": candidates * asked.cv,
        "from_journal": sum(cell.from_journal for cell in done.log.cells),
        "best_params": short_names(search.best_params_),
        "score_name": TASK_METRICS[features.task.kind].score_name,
        "best_score": float(results["mean_test_score"][best]),
        "best_std": float(results["std_test_score"][best]),
        "reference_best": asked.reference_best,
        "tied": int((results["rank_test_score"] == 1).sum()),
        "seconds": round(done.seconds, 2),
        "estimated_seconds": round(sum(done.log.estimates), 3) if done.log.estimates else None,
        "phases": watch.phases,
        "results_csv": str(folder / "results.csv"),
        "test": done.test,
        **done.looked,
        "conformal": done.sets,
        "seed": asked.plan.seed,
        "reduced": reduced and reduced.about(),
        "warnings": _warnings(done),
        "made": done.learnt_from.made_with_folds,
        "run": str(folder),
        "bundle": str(folder / "bundle"),
    }


def _warnings(done: _Done) -> list[str]:
    reduced = done.rows.reduced
    return [*done.learnt_from.warnings, *([] if reduced is None else [reduced.caution()])]


def _write(asked: _Asked, done: _Done, result: dict[str, Any], folder: Path, watch: Stopwatch) -> None:
    """The files of the run; ``result`` gains ``top``, and where asked ``nested`` and ``spread``."""
    features, rows, search = done.learnt_from.features, done.rows, done.search
    title = f"{features.feature_set}, {asked.model}, {asked.request.learns.name}"
    result["top"] = write_results(folder, search)
    said = SCORES[features.task.kind].said
    draw_results(folder, search, features, f"{title}: {said} by {asked.cv} folds, mean over the rest")
    watch.lap("draw")
    if asked.nested:
        options = asked.options(features.feature_set)
        result["nested"] = nested_estimate(asked.plan, rows, features, asked.cv, done.log, options)
        watch.lap("nested")
    if asked.repeated is not None:
        result["spread"] = spread_of_search(asked.repeated, search, asked.model)
        asked.repeated.write(folder, {asked.model: result["spread"]}, f"{title}, best of {result['candidates']}")
        watch.lap("spread")
    save_bundle(
        folder / "bundle",
        search.best_estimator_ if rows.reduced is None else rows.reduced.whole(search.best_estimator_),
        features,
        rows.train,
        scores={} if done.test is None else {"test": done.test},
        look=done.looked["look"],
        cache=asked.request.cache,
        warnings=result["warnings"],
        held_out=done.held_out,
    )
    watch.lap("bundle")
    best_of = f"{title}, best of {result['candidates']}, test"
    if done.outputs is not None and done.test is not None:
        write_evaluation(folder, features, done.learnt_from.parts.test, done.outputs, done.test, best_of)
    watch.lap("draw")
    write_json(folder / "run.json", result)


def _is_sample(data: str | os.PathLike[str] | None, cache: str | os.PathLike[str]) -> bool:
    """Whether the data is the built-in sample."""
    with Store(cache) as store:
        return bool(store.last_extract().get("synthetic") if data is None else is_sample(store.cache, data))
