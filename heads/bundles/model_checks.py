"""Fitted models out of files, checked before anything walks their arrays.

sklearn and XGBoost follow a tree's children, and look up support vectors and neighbours, in compiled code that takes
every index and shape on trust: one out of range ends the process, or reads what it should not. What they would follow
is checked here. Estimators that compute with NumPy alone notice arrays that do not fit each other by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.ensemble._forest import BaseForest
from sklearn.ensemble._gb import BaseGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.neighbors._base import NeighborsBase
from sklearn.svm import SVR
from sklearn.svm._base import BaseLibSVM
from sklearn.tree import BaseDecisionTree

from featcache.errors import BundleError

_MOST_FEATURES = 10_000_000
_LEAF = -1
_NO_PARENT = 2**31 - 1  # to XGBoost
_KERNELS = ("linear", "poly", "rbf", "sigmoid")


def check_tree(arguments: Any, state: Any) -> None:
    """What a ``sklearn.tree._tree.Tree`` is to be made of, before it is: its constructor trusts its arguments too.

    Raises :class:`BundleError` where a walk through it could leave it.
    """
    try:
        n_features, n_classes, n_outputs = arguments
        nodes, values, count = state["nodes"], state["values"], state["node_count"]
        sound = (
            all(type(number) is int for number in (n_features, n_outputs, count, state["max_depth"]))
            and 1 <= n_features <= _MOST_FEATURES
            and isinstance(n_classes, np.ndarray)
            and n_classes.shape == (n_outputs,)
            and n_classes.dtype.kind == "i"
            and bool((n_classes >= 1).all())
            and nodes.shape == (count,)
            and count >= 1
            and values.shape == (count, n_outputs, n_classes.max())
            and _walkable(nodes["left_child"], nodes["right_child"], nodes["feature"], n_features)
        )
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise BundleError(f"a tree in it is none ({error})") from error
    _require(sound, "a tree in it has nodes that lead out of it")


def check_model(model: Any) -> None:
    """Everything within a fitted sklearn model that compiled code will follow.

    Raises :class:`BundleError` where it could be led out of an array.
    """
    for part in _parts(model):
        if sparse.issparse(part):
            try:
                part.tocsr().check_format(full_check=True)
            except (ValueError, TypeError, AttributeError) as error:
                raise BundleError(f"a sparse matrix in it is none ({error})") from error
        elif isinstance(part, BaseEstimator) and not any(name.endswith("_") for name in vars(part)):
            continue  # a template that was never fitted
        elif isinstance(part, BaseDecisionTree):
            _require(part.tree_.n_features == _width(part), "a tree is of other features than it says")
        elif isinstance(part, BaseForest | BaseGradientBoosting):
            _check_ensemble(part)
        elif isinstance(part, BaseHistGradientBoosting):
            _check_histogram_trees(part)
        elif isinstance(part, BaseLibSVM):
            _check_svm(part)
        elif isinstance(part, NeighborsBase):
            _check_neighbours(part)


def check_booster(model: Any) -> None:
    """An XGBoost model, as :func:`heads.bundles.ubjson.parse` gives it.

    Raises :class:`BundleError` for what XGBoost would follow out of an array, and for what no classifier on features
    has: categories, several targets, leaves of several values, linear boosters.
    """
    try:
        learner = model["learner"]
        about, booster = learner["learner_model_param"], learner["gradient_booster"]
        rows = int(about["num_feature"])
        groups = max(1, int(about["num_class"]))
        _require(
            1 <= rows <= _MOST_FEATURES and groups <= 100_000, "it is of more features or classes than there can be"
        )
        _require(int(about.get("num_target", 1)) == 1, "it has several targets")
        classes = learner["objective"].get("softmax_multiclass_param")
        _require(classes is None or int(classes["num_class"]) == groups, "its numbers of classes differ")
        dropped = booster.get("weight_drop")
        inner = (booster["gbtree"] if booster["name"] == "dart" else booster)["model"]
        _require(
            booster["name"] in ("gbtree", "dart"), f"a booster {str(booster['name'])[:20]!r} is not kept in bundles"
        )
        trees, of_group = inner["trees"], np.asarray(inner["tree_info"], np.int64)
        layers = np.asarray(inner.get("iteration_indptr", [0, len(trees)]), np.int64)
        best = int(learner["attributes"].get("best_iteration", 0))
        _require(
            int(inner["gbtree_model_param"]["num_trees"]) == len(trees) == len(of_group)
            and bool(((of_group >= 0) & (of_group < groups)).all())
            and layers[0] == 0
            and layers[-1] == len(trees)
            and bool((np.diff(layers) >= 0).all())
            and (dropped is None or len(dropped) == len(trees))
            and 0 <= best < max(1, len(layers) - 1)
            and not any(len(part) for part in inner.get("cats", {}).values()),
            "its list of trees is none",
        )
        for tree in trees:
            _check_boosted_tree(tree, rows)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise BundleError(f"no model of XGBoost ({type(error).__name__}: {error})") from error


# -- sklearn -----------------------------------------------------------------------------------------


def _parts(model: Any) -> Iterator[Any]:
    """The model and all that it holds, each once, the innermost first."""
    stack, seen, order = [model], set(), []
    while stack:
        part = stack.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        order.append(part)
        if isinstance(part, Mapping):
            stack += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            stack += part
        elif isinstance(part, np.ndarray):
            stack += part.ravel().tolist() if part.dtype == object else []
        elif not isinstance(part, type):
            stack += vars(part).values() if hasattr(part, "__dict__") else []
    yield from reversed(order)


def _walkable(left: np.ndarray, right: np.ndarray, feature: np.ndarray, n_features: int) -> bool:
    """Whether each node is a leaf, or has two children behind itself (a walk then ends) and a feature that is there."""
    place = np.arange(len(left))
    inner = left != _LEAF
    kept = [array[inner].astype(np.int64) for array in (left, right)]
    within = all(((child > place[inner]) & (child < len(left))).all() for child in kept)
    return bool(within and ((feature[inner] >= 0) & (feature[inner] < n_features)).all())


def _check_ensemble(model: Any) -> None:
    """A forest, or boosted trees: the trees are walked without another look at the rows' width."""
    trees = np.asarray(model.estimators_, dtype=object).ravel()
    width = _width(model)
    _require(
        all(isinstance(tree, BaseDecisionTree) and tree.tree_.n_features == width for tree in trees),
        "its trees are of other features than it says",
    )
    if isinstance(model, BaseGradientBoosting):
        start = model._raw_predict_init(np.zeros((1, width), np.float32))
        _require(
            np.ndim(model.estimators_) == 2 and start.shape == (1, np.shape(model.estimators_)[1]),
            "its trees are of other classes than it says",
        )


def _check_histogram_trees(model: Any) -> None:
    width = _width(model)
    _require(model._preprocessor is None, "it prepares categories, which features are not")
    for predictor in (tree for layer in model._predictors for tree in layer):
        _require(type(predictor) is TreePredictor, "a tree in it is none")
        nodes = predictor.nodes
        # A leaf has zeros for children; here it counts as one by ``is_leaf``, which is what sklearn goes by.
        leaf = nodes["is_leaf"].astype(bool)
        left = np.where(leaf, _LEAF, nodes["left"].astype(np.int64))
        sound = nodes.ndim == 1 and len(nodes) > 0 and not nodes["is_categorical"].any()
        _require(
            sound and _walkable(left, nodes["right"], nodes["feature_idx"], width),
            "a tree in it has nodes that lead out of it",
        )


def _check_svm(model: Any) -> None:
    vectors, per_class = model.support_vectors_, np.asarray(model._n_support)
    n_classes = len(per_class)
    pairs = n_classes * (n_classes - 1) // 2
    numbers = isinstance(model, SVR)  # which libsvm calls two classes, each of all vectors
    _require(
        model.kernel in _KERNELS
        and model._impl == type(model)._impl
        and not model._sparse
        and not sparse.issparse(vectors)
        and vectors.shape == (per_class[0] if numbers else per_class.sum(), _width(model))
        and n_classes == (2 if numbers else len(model.classes_)) >= 2
        and bool((per_class >= 0).all())
        and model.support_.shape == (len(vectors),)
        and model._dual_coef_.shape == (n_classes - 1, len(vectors))
        and model._intercept_.shape == (pairs,)
        and all(len(values) in (0, pairs) for values in (model._probA, model._probB)),
        "its support vectors do not fit each other, or its kernel is none that is kept",
    )


def _check_neighbours(model: Any) -> None:
    rows, labels = model._fit_X, np.asarray(getattr(model, "_y", np.empty(0, np.int64)))
    _require(
        isinstance(rows, np.ndarray)
        and rows.ndim == 2
        and rows.dtype.kind in "fiub"
        and rows.shape[1] == _width(model)
        and model._fit_method == "brute"
        and model._tree is None
        and 1 <= int(model.n_neighbors or 1) <= len(rows) == model.n_samples_fit_,
        "its neighbours are no rows of these features (expected algorithm='brute')",
    )
    if hasattr(model, "classes_"):
        _require(
            labels.shape == (len(rows),)
            and labels.dtype.kind == "i"
            and bool(((labels >= 0) & (labels < len(model.classes_))).all()),
            "its neighbours have labels that are none",
        )


def _width(model: Any) -> int:
    """How many features a model says it takes; what it then checks rows by itself."""
    width = getattr(model, "n_features_in_", None)
    _require(type(width) is int and 1 <= width <= _MOST_FEATURES, "it does not say how many features it takes")
    return int(width)  # type: ignore[arg-type]


# -- XGBoost -----------------------------------------------------------------------------------------


def _check_boosted_tree(tree: Mapping[str, Any], n_features: int) -> None:
    about = tree["tree_param"]
    count = int(about["num_nodes"])
    columns = {
        name: np.asarray(tree[name])
        for name in (
            "left_children",
            "right_children",
            "parents",
            "split_indices",
            "split_conditions",
            "default_left",
            "base_weights",
            "loss_changes",
            "sum_hessian",
            "split_type",
        )
    }
    left, right, parents = (columns[name].astype(np.int64) for name in ("left_children", "right_children", "parents"))
    _require(
        count >= 1
        and all(column.shape == (count,) for column in columns.values())
        and int(about["num_feature"]) == n_features
        and int(about.get("size_leaf_vector", 1)) <= 1
        and int(about.get("num_deleted", 0)) == 0
        and not columns["split_type"].any()
        and not any(len(values) for name, values in tree.items() if name.startswith("categories"))
        and _walkable(left, right, columns["split_indices"].astype(np.int64), n_features),
        "a tree in it has nodes that lead out of it",
    )
    inner = np.flatnonzero(left != _LEAF)
    _require(
        bool((parents[left[inner]] == inner).all() and (parents[right[inner]] == inner).all())
        and parents[0] in (_NO_PARENT, -1),
        "a tree in it has children that are another node's",
    )


def _require(sound: bool, why: str) -> None:
    if not sound:
        raise BundleError(f"not to be used, since {why}; get the bundle again, or fit anew")
