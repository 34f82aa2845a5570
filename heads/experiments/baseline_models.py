"""Classical models on kept features: for each kind of task a table of pipelines with their grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, SVR
from xgboost import XGBClassifier, XGBRegressor

from featcache.data.tasks import Task
from featcache.errors import UsageError

from ..training.calibrated_ridge import CalibratedRidgeClassifier
from ..training.label_wise import LabelWiseClassifier


@dataclass(frozen=True)
class Baseline:
    """One row of the table.

    Attributes
    ----------
    name : str
        How it is asked for.
    model : estimator
        The pipeline, unfitted.
    grid : mapping of str to sequence
        Its hyperparameters to try.
    isometric : bool
        Whether it sees rows through inner products or distances alone, scaling and all, so that a search on the
        projection of :mod:`heads.search.gram_projection` gives the same, to the tolerance at which a solver stops.
    quadratic : bool
        Whether a fit's cost grows with the square of the rows, so that of very many it learns from a sample.
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


def _calibrated(svm: SVC) -> Pipeline:
    """Calibrated, since an SVM has no probabilities of its own."""
    return _scaled(CalibratedClassifierCV(svm, ensemble=False))


def _components(model: Any) -> Pipeline:
    """Principal components that carry 95% of the variance. Boosting on 25,088 columns took 30 times as long as on
    these, and was no better."""
    return Pipeline([("scale", Normalizer()), ("pca", PCA(0.95, svd_solver="full")), ("model", model)])


def _each(grid: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The grid of a model that learns each label by itself."""
    return {name.replace("model__", "model__estimator__"): values for name, values in grid.items()}


_C = (0.1, 1, 10, 100, 1000)
_RIDGE: dict[str, Sequence[float]] = {"model__alpha": (0.001, 0.01, 0.1, 1, 10, 100)}
_SVM = {"model__estimator__C": _C}
_RBF_SVM = {**_SVM, "model__estimator__gamma": (0.1, 1, 10)}
_KNN = {"model__n_neighbors": (1, 3, 5, 9, 15), "model__weights": ("uniform", "distance")}
_LDA = {"pca__n_components": (0.7, 0.8, 0.9, 0.95, 0.99)}
_FOREST = {"max_features": ("sqrt", 0.02)}
_BOOSTING = {"model__learning_rate": (0.03, 0.1, 0.3)}
_OF_CLASSES = (
    Baseline("logistic", _scaled(LogisticRegression(max_iter=5000)), {"model__C": (1, 10, 100, 1000, 10_000)}),
    Baseline("ridge", _scaled(CalibratedRidgeClassifier()), _RIDGE),
    Baseline("svm-linear", _calibrated(SVC(kernel="linear")), _SVM, quadratic=True),
    Baseline("svm-rbf", _calibrated(SVC(kernel="rbf")), _RBF_SVM, quadratic=True),
    # Not isometric: copies are at equal distances, and a projection's last digits would choose between them.
    Baseline("knn", _scaled(KNeighborsClassifier(algorithm="brute")), _KNN, isometric=False),
    Baseline("lda", _components(LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")), _LDA),
    Baseline("random-forest", RandomForestClassifier(300), _FOREST, isometric=False),
    # Nor these: components are the same but for their signs, and trees split coordinates.
    Baseline("gradient-boosting", _components(HistGradientBoostingClassifier()), _BOOSTING, isometric=False),
    Baseline("xgboost", _components(XGBClassifier(n_estimators=100, n_jobs=1)), _BOOSTING, isometric=False),
    Baseline("dummy", DummyClassifier(strategy="prior"), {}),
)
# Of labels there may be many, and each is learnt by itself: no SVMs, whose calibration fits each six times, and smaller
# forests and boostings.
_OF_LABELS = (
    Baseline("logistic", _scaled(LabelWiseClassifier(LogisticRegression(max_iter=5000))), _each({"model__C": _C[1:]})),
    Baseline("ridge", _scaled(LabelWiseClassifier(CalibratedRidgeClassifier())), _each(_RIDGE)),
    Baseline("knn", _scaled(LabelWiseClassifier(KNeighborsClassifier(algorithm="brute"))), _each(_KNN), False),
    Baseline(
        "lda", _components(LabelWiseClassifier(LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))), _LDA
    ),
    Baseline(
        "random-forest",
        LabelWiseClassifier(RandomForestClassifier(100)),
        {f"estimator__{name}": values for name, values in _FOREST.items()},
        isometric=False,
    ),
    Baseline(
        "gradient-boosting",
        _components(LabelWiseClassifier(HistGradientBoostingClassifier(max_iter=50))),
        _each({"model__learning_rate": (0.1, 0.3)}),
        isometric=False,
    ),
    Baseline(
        "xgboost",
        _components(LabelWiseClassifier(XGBClassifier(n_estimators=50, n_jobs=1))),
        _each({"model__learning_rate": (0.1, 0.3)}),
        isometric=False,
    ),
    Baseline("dummy", LabelWiseClassifier(DummyClassifier(strategy="prior")), {}),
)
_OF_A_NUMBER = (
    # By singular values, which bear features in float32 under small penalties; the normal equations square their error.
    Baseline("ridge", _scaled(Ridge(solver="svd")), _RIDGE),
    # Targets of deviation 1, so that one grid suits ages and millimetres.
    Baseline(
        "svr",
        _scaled(TransformedTargetRegressor(SVR(kernel="rbf"), transformer=StandardScaler())),
        {"model__regressor__C": (0.1, 1, 10, 100), "model__regressor__gamma": (0.1, 1, 10)},
        quadratic=True,
    ),
    Baseline("knn", _scaled(KNeighborsRegressor(algorithm="brute")), _KNN, isometric=False),
    Baseline("random-forest", RandomForestRegressor(300), _FOREST, isometric=False),
    Baseline("gradient-boosting", _components(HistGradientBoostingRegressor()), _BOOSTING, isometric=False),
    Baseline("xgboost", _components(XGBRegressor(n_estimators=100, n_jobs=1)), _BOOSTING, isometric=False),
    Baseline("dummy", DummyRegressor(strategy="mean"), {}),
)
TABLES: dict[str, dict[str, Baseline]] = {
    kind: {row.name: row for row in rows}
    for kind, rows in (("classes", _OF_CLASSES), ("labels", _OF_LABELS), ("number", _OF_A_NUMBER))
}
TABLE = TABLES["classes"]


def chosen_baselines(models: Sequence[str] | None, task: Task) -> list[Baseline]:
    """Rows of the task's table by name, all of them for None.

    Raises :class:`UsageError` for a name that is not in it.
    """
    table = TABLES[task.kind]
    unknown = [name for name in models or () if name not in table]
    if unknown:
        raise UsageError(f"model(s) {', '.join(unknown)} are unknown; of task {task.name} there are {', '.join(table)}")
    return [table[name] for name in models or table]


def with_seed(model: Any, seed: int) -> Any:
    """A copy with every random state of it set."""
    copy = clone(model)
    states = {name: seed for name in copy.get_params() if name.split("__")[-1] == "random_state"}
    return copy.set_params(**states)


def short_names(params: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values, ``C`` for ``model__estimator__C``; no model here has two parameters of one name."""
    return {name.split("__")[-1]: v.item() if hasattr(v, "item") else v for name, v in params.items()}
