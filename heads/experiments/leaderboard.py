"""Classical models on kept features: a table of pipelines with their grids, and the leaderboard they make."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC
from xgboost import XGBClassifier

import featcache
from featcache.errors import UsageError
from featcache.features.loading import Features
from featcache.features.stored_rows import StoredRows
from featcache.system import memory
from featcache.system.timer import Stopwatch

from ..auditing.audit import audited
from ..bundles.saving import save_bundle
from ..evaluation import comparison_plots
from ..evaluation.canvas import save_figure
from ..evaluation.metrics import evaluate
from ..evaluation.run_folder import origin_note, require_out, run_folder, stamp, write_json, write_table
from ..evaluation.splits import partition, training_folds
from ..search.gram_projection import isometric
from ..search.streaming_pca import MOST_ROWS, Reduced, reduce_columns, sampled

_log = logging.getLogger(__name__)
_WORKER = 400_000_000  # bytes of a process that fits models for us, sklearn and the like in it


@dataclass(frozen=True)
class Baseline:
    """One row of the table.

    Attributes
    ----------
    name : how it is asked for.
    model : the pipeline, unfitted.
    grid : its hyperparameters to try.
    isometric : whether it sees rows through inner products or distances alone, scaling and all, so that a search on
        the projection of :mod:`heads.search.gram_projection` gives the same, to the tolerance at which a solver stops.
    quadratic : whether a fit's cost grows with the square of the rows, so that of very many it learns from a sample.
    """

    name: str
    model: Any
    grid: Mapping[str, Sequence[Any]]
    isometric: bool = True
    quadratic: bool = False


def _scaled(model: Any) -> Pipeline:
    """Rows of unit length: images differ in size of features more than columns do, and unlike scaling by columns it
    leaves the projection exact."""
    return Pipeline([("scale", Normalizer()), ("model", model)])


def _components(model: Any) -> Pipeline:
    """Principal components that carry 95% of the variance. Boosting on 25,088 columns took 30 times as long as on
    these, and was no better."""
    return Pipeline([("scale", Normalizer()), ("pca", PCA(0.95, svd_solver="full")), ("model", model)])


_C = (0.1, 1, 10, 100, 1000)
_SVM = {"model__estimator__C": _C}
_ROWS = [
    Baseline("logistic", _scaled(LogisticRegression(max_iter=5000)), {"model__C": (1, 10, 100, 1000, 10_000)}),
    # Calibrated, since an SVM has no probabilities of its own.
    Baseline("svm-linear", _scaled(CalibratedClassifierCV(SVC(kernel="linear"), ensemble=False)), _SVM,
             quadratic=True),
    Baseline(
        "svm-rbf", _scaled(CalibratedClassifierCV(SVC(kernel="rbf"), ensemble=False)),
        {**_SVM, "model__estimator__gamma": (0.1, 1, 10)}, quadratic=True,
    ),
    Baseline(
        "knn", _scaled(KNeighborsClassifier(algorithm="brute")),
        {"model__n_neighbors": (1, 3, 5, 9, 15), "model__weights": ("uniform", "distance")},
        isometric=False,  # copies are at equal distances, and a projection's last digits would choose between them
    ),
    Baseline(
        "lda", _components(LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
        {"pca__n_components": (0.7, 0.8, 0.9, 0.95, 0.99)},
    ),
    Baseline("random-forest", RandomForestClassifier(300), {"max_features": ("sqrt", 0.02)}, isometric=False),
    Baseline(
        "gradient-boosting", _components(HistGradientBoostingClassifier()), {"model__learning_rate": (0.03, 0.1, 0.3)},
        isometric=False,  # components are the same but for their signs, and trees split coordinates
    ),
    Baseline(
        "xgboost", _components(XGBClassifier(n_estimators=100, n_jobs=1)), {"model__learning_rate": (0.03, 0.1, 0.3)},
        isometric=False,
    ),
    Baseline("dummy", DummyClassifier(strategy="prior"), {}),
]  # fmt: skip
TABLE = {row.name: row for row in _ROWS}


@dataclass(frozen=True)
class Searched:
    """A model with the best values of its grid.

    Attributes
    ----------
    best_params : they.
    cv_score, cv_std : mean accuracy over the folds, and its deviation. The best of a grid flatters a little.
    search : the fitted search.
    """

    best_params: dict[str, Any]
    cv_score: float
    cv_std: float
    search: GridSearchCV


def search(
    model: Any, grid: Mapping[str, Sequence[Any]], X: np.ndarray, y: np.ndarray, folds: Sequence[tuple[Any, Any]]
) -> Searched:
    """Try a grid by cross-validation, all cores busy as far as memory allows, and fit the best on all rows."""
    jobs = os.cpu_count() or 1
    if memory.limit() is not None:
        jobs = max(1, min(jobs, memory.available() // (_WORKER + 4 * X.nbytes)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = GridSearchCV(model, {k: list(v) for k, v in grid.items()}, cv=folds, n_jobs=jobs)
        found.fit(X, y)
    best = found.best_index_
    results = found.cv_results_
    score, std = float(results["mean_test_score"][best]), float(results["std_test_score"][best])
    return Searched(dict(found.best_params_), score, std, found)


def baselines(
    task: str = "multiclass",
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
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """The leaderboard: each model with the best of its grid, cross-validated on the training rows, and on test.

    Parameters
    ----------
    task, backbone, pooling, classes, data, group_regex, cache : as in :func:`featcache.load`.
    models : names in :data:`TABLE`; None takes all.
    cv : folds; classes in proportion, groups whole. Validation rows of the data count as training rows here.
    seed : of the folds and the models.
    out : folder for ``leaderboard.csv``, ``.png``, ``run.json`` and the bundle of the best; None makes one in ``runs``.
    audit : as in :func:`heads.fit_head`.
    on_row : called with each row as it is done.

    Returns
    -------
    ``rows`` (``name cv_score cv_std test seconds best_params n columns``), best first by ``cv_score``; ``bundle`` of the
    first; ``reduced``, what was done where the features do not fit in memory (see :mod:`heads.search.streaming_pca`), or None. ``n``
    and ``columns`` are what a model learnt from: fewer rows for those whose cost grows with their square.

    Raises
    ------
    DataError
        A class has fewer groups than folds, or is missing from test.
    UsageError
        An unknown model.
    """
    chosen = _chosen(models)
    require_out(out)
    watch = Stopwatch()
    features = featcache.load(
        backbone, task=task, classes=classes, pooling=pooling, data=data, group_regex=group_regex, cache=cache
    )
    watch.lap("load")
    features, cautions = audited(features, task, data, group_regex, cache, audit)
    watch.lap("audit")
    parts = partition(features, seed=seed)
    train, folds = training_folds(features, parts, cv, seed)
    y = features.y[train]
    with run_folder(out, "baselines", task, features.spec.backbone) as folder:
        desk = _desk(features, train, chosen, seed)
        if desk.reduced is not None:
            cautions = [*cautions, desk.reduced.caution()]
        watch.lap("project")
        rows: list[dict[str, Any]] = []
        best: tuple[dict[str, Any], Any] | None = None
        for baseline in chosen:
            started = time.perf_counter()
            taken, within = sampled(y, folds, seed) if baseline.quadratic and desk.reduced else (slice(None), folds)
            X = desk.rows(baseline)
            found = search(desk.model(baseline, seed), baseline.grid, X[train[taken]], y[taken], within)
            seconds = time.perf_counter() - started
            probabilities = found.search.predict_proba(X[parts.test])
            test = evaluate(
                features.y[parts.test], probabilities, features.groups[parts.test], classes=features.classes
            )
            row = {
                "name": baseline.name, "cv_score": found.cv_score, "cv_std": found.cv_std, "test": test,
                "seconds": round(seconds, 2), "best_params": short_names(found.best_params), "n": len(y[taken]),
                "columns": desk.columns,
            }  # fmt: skip
            rows.append(row)
            if best is None or row["cv_score"] > best[0]["cv_score"]:
                best = row, found.search.best_estimator_
            del found
            on_row(row)
        watch.lap("search")
        rows.sort(key=lambda row: -row["cv_score"])
        assert best is not None
        model = desk.whole(TABLE[best[0]["name"]], best, train, y, seed)
        bundle = save_bundle(
            folder / "bundle",
            model,
            features,
            train,
            task=task,
            scores={"test": rows[0]["test"]},
            cache=cache,
            warnings=cautions,
        )
        watch.lap("bundle")
        result = {
            **stamp("baselines", features, {"train": train, "test": parts.test}),
            "task": task, "classes": list(features.classes), "feature_set": features.feature_set, "pooling": pooling,
            "warnings": cautions, "synthetic": features.synthetic, "folds": cv, "seed": seed, "phases": watch.phases, "rows": rows,
            "reduced": desk.reduced and desk.reduced.about(), "made": [part for part in parts.made if part != "val"],
            "run": str(folder), "bundle": str(bundle),
        }  # fmt: skip
        _write(result, features, parts.test)
        return result


@dataclass(frozen=True)
class _Desk:
    """The rows as the models see them: in memory as they are or projected, or, of features in the store, reduced."""

    features: Features
    projected: np.ndarray | None
    reduced: Reduced | None

    @property
    def columns(self) -> int:
        """How many of them the models see; a projection counts as what it stands for."""
        return int((self.reduced.rows if self.reduced else self.features.X).shape[1])

    def rows(self, baseline: Baseline) -> np.ndarray:
        """All rows, for a search."""
        if self.reduced is not None:
            return self.reduced.rows
        return self.projected if baseline.isometric and self.projected is not None else np.asarray(self.features.X)

    def model(self, baseline: Baseline, seed: int) -> Any:
        """The model for these rows, unfitted."""
        model = seeded(baseline.model, seed)
        return model if self.reduced is None else self.reduced.inner(model)

    def whole(
        self, baseline: Baseline, best: tuple[dict[str, Any], Any], train: np.ndarray, y: np.ndarray, seed: int
    ) -> Any:
        """The best model, fitted, for features as the store has them: a bundle has no other rows to be projected with."""
        row, fitted = best
        if self.reduced is not None:
            return self.reduced.whole(fitted)
        model = seeded(baseline.model, seed).set_params(**_long(baseline, row["best_params"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(np.asarray(self.features.X)[train], y)


def _desk(features: Features, train: np.ndarray, chosen: Sequence[Baseline], seed: int) -> _Desk:
    if isinstance(features.X, StoredRows):
        reduced = reduce_columns(features.X, train, seed)
        about = reduced.about()
        _log.warning(
            "baselines: the features stay in the store; models learn from %d principal components of %d columns, which carry "
            "%.1f%% of the variance, and SVMs from %s rows at most", about["components"], about["of"], 100 * about["variance"],
            f"{MOST_ROWS:,}",
        )  # fmt: skip
        return _Desk(features, None, reduced)
    return _Desk(features, isometric(features.X) if any(row.isometric for row in chosen) else None, None)


def _chosen(models: Sequence[str] | None) -> list[Baseline]:
    unknown = [name for name in models or () if name not in TABLE]
    if unknown:
        raise UsageError(f"model(s) {', '.join(unknown)} are unknown; there are {', '.join(TABLE)}")
    return [TABLE[name] for name in models or TABLE]


def seeded(model: Any, seed: int) -> Any:
    """A copy with every random state of it set."""
    copy = clone(model)
    states = {name: seed for name in copy.get_params() if name.split("__")[-1] == "random_state"}
    return copy.set_params(**states)


def short_names(params: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values, ``C`` for ``model__estimator__C``; no model here has two parameters of one name."""
    return {name.split("__")[-1]: v.item() if hasattr(v, "item") else v for name, v in params.items()}


def _long(baseline: Baseline, short: Mapping[str, Any]) -> dict[str, Any]:
    return {name: short[name.split("__")[-1]] for name in baseline.grid}


def _write(result: Mapping[str, Any], features: Features, test: np.ndarray) -> None:
    folder = Path(result["run"])
    rows = result["rows"]
    header = ("name", "cv_score", "cv_std", "test_accuracy", "ci_low", "ci_high", "test_balanced_accuracy",
              "test_macro_f1", "test_roc_auc", "test_loss", "seconds", "best_params")  # fmt: skip
    table = [
        (r["name"], r["cv_score"], r["cv_std"], r["test"]["accuracy"], *r["test"]["accuracy_ci"],
         *(r["test"][n] for n in ("balanced_accuracy", "macro_f1", "roc_auc", "loss")), r["seconds"],
         "; ".join(f"{k}={v}" for k, v in r["best_params"].items()))
        for r in rows
    ]  # fmt: skip
    write_table(folder / "leaderboard.csv", header, table)
    chance = float(np.bincount(features.y[test]).max() / len(test))
    caption = (
        f"{features.feature_set}, {features.pooling}, {result['task']}, test n = {len(test)}{origin_note(features)}"
    )
    save_figure(comparison_plots.leaderboard(rows, chance, caption), folder / "leaderboard.png")
    write_json(folder / "run.json", result)
