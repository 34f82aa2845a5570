"""``grid``: search the hyperparameters of a head, the own CNN or a baseline, refit the best, judge it, keep it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from featcache.data.synthetic import is_sample
from featcache.errors import DataError, UsageError
from featcache.features.loading import Features
from featcache.features.stored_rows import StoredRows
from featcache.store.store import Store
from featcache.system.throughput_log import duration
from featcache.system.timer import Stopwatch
from featcache.system.write_access import require_writable

from ..auditing.audit import audited
from ..bundles.saving import save_bundle
from ..evaluation import comparison_plots
from ..evaluation.canvas import save_figure
from ..evaluation.metrics import evaluate
from ..evaluation.run_folder import (
    origin_note,
    require_out,
    run_folder,
    stamp,
    write_evaluation,
    write_json,
    write_table,
)
from ..evaluation.splits import group_folds, partition, training_folds
from ..search.candidate_checks import Between, check_space, naming_candidates
from ..search.search_cv import FastGridSearchCV, FastHalvingGridSearchCV, FastRandomizedSearchCV, Progress
from ..search.streaming_pca import reduce_columns, sampled
from ..training.cnn_classifier import OwnCNNClassifier
from ..training.dense_head_classifier import DenseHeadClassifier
from ..training.epoch_classifier import rows_of
from .head_fit import MODELS, load_for
from .leaderboard import TABLE, seeded, short_names
from .reference import BEST, GRIDS, defaults

_log = logging.getLogger(__name__)
METHODS = ("exact", "halving", "random")
# Of the built-in sample: 96 images are three steps an epoch, in which pooled features learn slowly. With the report's
# rates and epochs they stay near chance.
SAMPLE_GRID: dict[str, Sequence[Any]] = {
    "learning_rate": [0.0001, 0.0003], "epochs": [100, 300, 600], "activation": ["sigmoid", "relu"], "dropout": [0.15, 0.25],
}  # fmt: skip
_PATIENCE = 10  # of the report's grids that stop early
_HALVING_ROWS = 500


def grid(
    task: str = "multiclass",
    *,
    model: str = "dense",
    preset: str | None = None,
    params: Mapping[str, Sequence[Any] | Between] | None = None,
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
    on_cell: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Search by cross-validation on the training rows, refit the best on all of them, and judge it on test.

    Parameters
    ----------
    task, backbone, classes, data, group_regex, cache : as in :func:`featcache.load`.
    pooling : ``flatten``, ``avg`` or ``max``; None is ``flatten``, and for heads on the built-in sample ``avg``, where the
        search is to be a matter of seconds.
    model : ``dense``, ``own-cnn``, or a name in :data:`heads.experiments.leaderboard.TABLE`.
    preset : ``report``, the report's grid for the task and model; the default where ``params`` are none, but for the pooled
        features of the built-in sample, which have :data:`SAMPLE_GRID`.
    params : values for each parameter, or a :class:`Between` for a random search.
    method : ``exact``; ``halving``, a heuristic that drops what looks poor after few epochs (or rows); or ``random``.
    iterations : candidates of a random search.
    cv : folds; classes in proportion, groups whole. Validation rows of the data count as training rows here.
    nested : also search within each of ``cv`` outer folds, for an estimate that the choice does not flatter.
    force : halve though there are few rows.
    seed : of folds and models.
    memory : bytes that the process may hold at its peak; None is the limit in force (:func:`featcache.memory_limit`),
        else what it holds already and half of what is free.
    restart : forget the cells that an earlier search of this kind left in the journal, ``cache/searches``.
    out : folder for the results; None makes one in ``runs``.
    audit : as in :func:`heads.fit_head`.
    on_cell : called after each finished cell.

    Returns
    -------
    ``candidates folds fits best_params best_score best_std seconds results_csv test`` and more; in ``out``:
    ``results.csv``, ``heat_maps.png``, figures of the test, ``run.json`` and ``bundle/``. ``estimated_seconds`` is what was
    measured on a few epochs before large heads or networks were trained, if none of them stops early; else None.
    ``reduced`` says what a baseline
    learnt from where the features do not fit in memory (see :mod:`heads.search.streaming_pca`), or None.

    Raises
    ------
    DataError
        A class has fewer groups than folds.
    UsageError
        An unknown model, parameter or method.
    """
    if method not in METHODS:
        raise UsageError(f"method {method!r} is unknown; expected one of {', '.join(METHODS)}")
    if iterations < 1:
        raise UsageError(f"--iterations {iterations}: expected at least 1")
    drawn = pooling is None and model == "dense" and _of_sample(data, cache)
    if drawn:
        pooling = "avg"
        params = SAMPLE_GRID if params is None and preset is None and method == "exact" else params
    estimator, space = _space(task, model, preset, params, method, seed)
    check_space(estimator, space)
    require_out(out)
    require_writable(cache)
    watch = Stopwatch()
    features = load_for("own-cnn" if model == "own-cnn" else "dense", task, backbone, pooling or "flatten",
                        classes, data, group_regex, cache)  # fmt: skip
    if drawn:
        _log.warning(
            "grid: on the built-in sample the pooled features are searched, %d columns, in longer trainings; --preset report "
            "--pooling flatten searches all %s, the reference report's way", features.X.shape[1], f"{math.prod(features.map_shape):,}",
        )  # fmt: skip
    watch.lap("load")
    features, warnings = audited(features, task, data, group_regex, cache, audit)
    watch.lap("audit")
    parts = partition(features, seed=seed)
    train, folds = training_folds(features, parts, cv, seed)
    reduced = reduce_columns(features.X, train, seed) if model in TABLE and isinstance(features.X, StoredRows) else None
    if reduced is not None:
        estimator, warnings = reduced.inner(estimator), [*warnings, reduced.caution()]
        if TABLE[model].quadratic:
            taken, folds = sampled(features.y[train], folds, seed)
            train = train[taken]
    rows = features.X if reduced is None else reduced.rows
    X, y, groups = rows_of(rows, train), features.y[train], features.groups[train]
    if method == "halving" and len(y) < _HALVING_ROWS and not force:
        raise DataError(
            f"{len(y)} training rows are too few for halving: with folds so small, what leads after a few epochs is "
            f"chance (expected at least {_HALVING_ROWS}). Search exactly, or insist with --force"
        )
    journal = Path(cache).expanduser().absolute() / "searches" / f"{task}-{model}-{features.feature_set}.journal"
    options = {"journal": journal, "memory": memory, "n_jobs": os.cpu_count()}
    seen: list[Progress] = []
    estimated: list[float] = []

    def foretell(trainings: int, epochs: int, seconds: float) -> None:
        estimated.append(seconds)
        _log.info(
            "grid: %d trainings of at most %d epochs on %s columns; measured on a few epochs: some %s, less where they stop early",
            trainings, epochs, f"{math.prod(features.X.shape[1:]):,}", duration(max(1.0, seconds)),
        )  # fmt: skip

    def note(progress: Progress) -> None:
        seen.append(progress)
        if on_cell is not None:
            on_cell(progress)

    with run_folder(out, "grid", task, model) as folder:
        search = _search(estimator, space, method, iterations, folds, seed)
        search.set_params(**options, restart=restart, on_cell=note)
        search.on_estimate = foretell
        try:
            with naming_candidates():
                search.fit(X, y, groups=groups)
        except KeyboardInterrupt:
            _write_partial(folder, seen)
            raise
        seconds = watch.lap("search")
        probabilities = search.predict_proba(rows_of(rows, parts.test))
        test = evaluate(features.y[parts.test], probabilities, features.groups[parts.test], classes=features.classes)
        watch.lap("evaluate")
        results, best = search.cv_results_, search.best_index_
        result: dict[str, Any] = {
            **stamp("grid", features, {"train": train, "test": parts.test}),
            "task": task, "model": model, "method": method, "classes": list(features.classes),
            "feature_set": features.feature_set, "pooling": features.pooling, "synthetic": features.synthetic,
            "candidates": len(results["params"]), "folds": cv, "fits": len(results["params"]) * cv,
            "from_journal": sum(progress.from_journal for progress in seen),
            "best_params": short_names(search.best_params_), "best_score": float(results["mean_test_score"][best]),
            "best_std": float(results["std_test_score"][best]), "report_best": _of_report(task, model, params),
            "tied": int((results["rank_test_score"] == 1).sum()),
            "seconds": round(seconds, 2), "estimated_seconds": round(sum(estimated), 3) if estimated else None,
            "phases": watch.phases, "results_csv": str(folder / "results.csv"), "test": test, "seed": seed,
            "reduced": reduced and reduced.about(), "warnings": warnings, "made": [part for part in parts.made if part != "val"], "run": str(folder), "bundle": str(folder / "bundle"),
        }  # fmt: skip
        result["top"] = _table(folder, search)
        _draw(folder, search, features, task, model, cv)
        watch.lap("draw")
        if nested:
            result["nested"] = _nested(estimator, space, method, iterations, X, y, groups, features.classes, cv, seed,
                                       {**options, "on_cell": note})  # fmt: skip
            watch.lap("nested")
        save_bundle(
            folder / "bundle",
            search.best_estimator_ if reduced is None else reduced.whole(search.best_estimator_),
            features,
            train,
            task=task,
            scores={"test": test},
            cache=cache,
            warnings=warnings,
        )
        watch.lap("bundle")
        title = f"{features.feature_set}, {model}, {task}, best of {result['candidates']}, test"
        write_evaluation(folder, features, parts.test, probabilities, test, title)
        watch.lap("draw")
        write_json(folder / "run.json", result)
        return result


def _of_sample(data: str | os.PathLike[str] | None, cache: str | os.PathLike[str]) -> bool:
    """Whether the data is the built-in sample."""
    with Store(cache) as store:
        return bool(store.last_extract().get("synthetic") if data is None else is_sample(store.cache, data))


# -- what is searched ----------------------------------------------------------------------------


def _space(
    task: str, model: str, preset: str | None, params: Mapping[str, Any] | None, method: str, seed: int
) -> tuple[Any, dict[str, Any]]:
    """The model before the search, and the values to try by sklearn's names."""
    if model not in MODELS and model not in TABLE:
        raise UsageError(f"model {model!r} is unknown; expected one of {', '.join([*MODELS, *TABLE])}")
    if preset not in (None, "report"):
        raise UsageError(f"preset {preset!r} is unknown; there is one: report")
    if preset and (params or model not in MODELS):
        raise UsageError("--preset report is a grid of its own for dense and own-cnn: give no --param with it")
    if model in MODELS:
        estimator: Any = MODELS[model](**defaults(task, model), random_state=seed)
        wanted: Mapping[str, Any] = params or GRIDS.get((task, model)) or GRIDS["multiclass", model]
        if not params and "epochs" not in wanted:
            estimator.set_params(patience=_PATIENCE)
    else:
        estimator = seeded(TABLE[model].model, seed)
        wanted = params or TABLE[model].grid
    known = {name.split("__")[-1]: name for name in sorted(estimator.get_params(), key=len, reverse=True)}
    space: dict[str, Any] = {}
    for name, values in wanted.items():
        full = name if name in estimator.get_params() else known.get(name)
        if full is None or name == "random_state":
            free = sorted(n for n in known if n != "random_state")
            raise UsageError(f"{model} has no parameter {name!r}; it has {', '.join(free)}")
        if isinstance(values, Between) and method != "random":
            raise UsageError(f"--param {name}=LOW..HIGH is for --method random; a grid needs values: {name}=V,V")
        space[full] = values if isinstance(values, Between) else list(values)
    return estimator, space


def _search(
    estimator: Any, space: Mapping[str, Any], method: str, iterations: int, folds: Any, seed: int
) -> FastGridSearchCV | FastRandomizedSearchCV | FastHalvingGridSearchCV:
    # A candidate that cannot be fitted ends the search with its own words: a score that is no number helps nobody.
    if method == "random":
        drawn = {name: v.distribution() if isinstance(v, Between) else v for name, v in space.items()}
        return FastRandomizedSearchCV(
            estimator, drawn, n_iter=iterations, cv=folds, random_state=seed, error_score="raise"
        )
    if method == "exact":
        return FastGridSearchCV(estimator, dict(space), cv=folds, error_score="raise")
    if isinstance(estimator, DenseHeadClassifier | OwnCNNClassifier):
        most = max(space.get("epochs", [estimator.epochs]))
        rest = {name: values for name, values in space.items() if name != "epochs"}
        return FastHalvingGridSearchCV(
            estimator, rest, resource="epochs", max_resources=most, cv=folds, random_state=seed,
            return_train_score=False, error_score="raise",
        )  # fmt: skip
    return FastHalvingGridSearchCV(
        estimator, dict(space), cv=folds, random_state=seed, return_train_score=False, error_score="raise"
    )


def _of_report(task: str, model: str, params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if params else BEST.get((task, model))


def _nested(
    estimator: Any, space: Mapping[str, Any], method: str, iterations: int, X: Any, y: np.ndarray,
    groups: np.ndarray, classes: Sequence[str], cv: int, seed: int, options: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """A search within each outer fold, judged on what that fold held back: all rows once, by models that were chosen
    without them."""
    probabilities = np.zeros((len(y), len(classes)))
    chosen = []
    for train, test in group_folds(y, groups, classes, cv, seed + 1):
        inner = group_folds(y[train], groups[train], classes, cv, seed, "inner folds (--nested)")
        search = _search(clone(estimator), space, method, iterations, inner, seed).set_params(**options)
        with naming_candidates():
            search.fit(rows_of(X, train), y[train], groups=groups[train])
        probabilities[test] = search.predict_proba(rows_of(X, test))
        chosen.append(short_names(search.best_params_))
    return {**evaluate(y, probabilities, groups, classes=classes), "best_params": chosen}


# -- what is written -----------------------------------------------------------------------------


def _table(folder: Path, search: Any) -> list[dict[str, Any]]:
    """``results.csv``, best first; returns the first ten rows."""
    results = search.cv_results_
    names = [name for name in results if name.startswith("param_")]
    splits = [name for name in results if name.startswith("split") and name.endswith("test_score")]
    order = np.argsort(results["rank_test_score"], kind="stable")
    short = {name: name.removeprefix("param_").split("__")[-1] for name in names}
    extra = [name for name in ("iter", "n_resources") if name in results]
    header = ["rank", "mean_score", "std_score", *splits, "mean_fit_seconds", *extra, *short.values()]
    rows = [
        [int(results["rank_test_score"][i]), float(results["mean_test_score"][i]), float(results["std_test_score"][i]),
         *(float(results[name][i]) for name in splits), float(results["mean_fit_time"][i]),
         *(int(results[name][i]) for name in extra), *(results[name][i] for name in names)]
        for i in order
    ]  # fmt: skip
    write_table(folder / "results.csv", header, rows)
    return [
        {"rank": row[0], "score": row[1], "std": row[2], "params": short_names(results["params"][i])}
        for row, i in zip(rows[:10], order, strict=False)
    ]


def _draw(folder: Path, search: Any, features: Features, task: str, model: str, cv: int) -> None:
    results = search.cv_results_
    params = [short_names(candidate) for candidate in results["params"]]
    names = [name for name in params[0] if len({str(candidate.get(name)) for candidate in params}) > 1]
    scores = results["mean_test_score"]
    if not names or not np.isfinite(scores).any():
        return
    caption = (
        f"{features.feature_set}, {model}, {task}: accuracy by {cv} folds, mean over the rest{origin_note(features)}"
    )
    rows = [[candidate.get(name) for name in names] for candidate in params]
    save_figure(comparison_plots.heat_maps(names, rows, scores, caption), folder / "heat_maps.png")


def _write_partial(folder: Path, seen: Sequence[Progress]) -> None:
    """What a search that was interrupted had found: means over the folds that were done."""
    found: dict[str, tuple[Mapping[str, Any], list[float]]] = {}
    for progress in seen:
        found.setdefault(str(sorted(progress.params.items(), key=str)), (progress.params, []))[1].append(progress.score)
    rows = sorted(found.values(), key=lambda entry: -float(np.mean(entry[1])))
    if not rows:
        return
    names = list(rows[0][0])
    table = [(float(np.mean(scores)), len(scores), *(params.get(name) for name in names)) for params, scores in rows]
    write_table(
        folder / "partial_results.csv", ("mean_score", "folds_done", *(n.split("__")[-1] for n in names)), table
    )
    _log.warning("interrupted: %d cells are kept, and stand in %s", len(seen), folder / "partial_results.csv")
