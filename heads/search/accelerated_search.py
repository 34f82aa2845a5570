"""What the searches add to sklearn's: their cells are computed by the quickest exact way.

sklearn keeps the search: candidates, folds, scorers, ranks, refit. Its loop hands every cell, one candidate on one
fold, to joblib; here a backend of joblib takes them all (:mod:`heads.search.joblib_backend`), has them computed
(:mod:`heads.search.cell_run`), and leaves to sklearn what it could not.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import sklearn
from sklearn.pipeline import Pipeline

from featcache.errors import UsageError

from ..training.label_wise import takes_groups
from . import sklearn_hooks
from .cell_run import OnCell, SearchRequest, results_of
from .cells import OnEstimate
from .joblib_backend import Answers
from .journal import Journal
from .shared_fits import may_have_a_way

_WATCHING = ("patience", "checkpoint")  # parameters for which a head sets rows aside
if TYPE_CHECKING:
    from sklearn.model_selection import GridSearchCV as _Search
else:
    _Search = object


class AcceleratedSearch(_Search):
    """Stands before a search of sklearn's among the parents of a class."""

    estimator: Any
    scoring: Any
    cv: Any
    refit: Any
    n_jobs: int | None
    pre_dispatch: Any
    journal: str | os.PathLike[str] | None
    restart: bool
    memory: int | None
    on_cell: OnCell | None
    on_estimate: OnEstimate | None = None  # no parameter: who wants to hear it sets it on the search

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Run the search, as sklearn's own ``fit`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to learn from; heads take :class:`featcache.StoredRows`, too.
        y : array-like of shape (n_samples,), optional
            Their labels.
        **params : dict
            What sklearn's ``fit`` takes besides, such as ``groups`` and ``sample_weight``.

        Returns
        -------
        self
            The search, fitted.
        """
        if reason := self._reason_for_the_ordinary_way(y):
            if reason != "nothing to be won":
                self._say(reason)
            return super().fit(X, y, **self._with_groups(params))
        with contextlib.ExitStack() as stack:
            journal = None if self.journal is None else stack.enter_context(Journal(self.journal, self.restart))
            backend = Answers(
                functools.partial(results_of, request=self._request(journal)), self.n_jobs, self.pre_dispatch
            )
            stack.enter_context(backend.for_the_next_parallel())
            return super().fit(X, y, **params)

    def _request(self, journal: Journal | None) -> SearchRequest:
        return SearchRequest(
            scoring=self.scoring,
            refit=self.refit,
            n_jobs=self.n_jobs,
            groups_name=self._groups_name(),
            memory=self.memory,
            journal=journal,
            cluster=_cluster(),
            on_cell=self.on_cell,
            on_estimate=self.on_estimate,
        )

    # -- the ordinary way ------------------------------------------------------------------------

    def _reason_for_the_ordinary_way(self, y: Any) -> str:
        helped = self.journal is not None or self.on_cell is not None or may_have_a_way(self.estimator, self)
        if y is None or not helped:
            return "nothing to be won"
        if sklearn_hooks.has_callbacks([self, *_values(self._grids())]):
            return "nothing to be won" if self.journal is None and self.on_cell is None else "callbacks are set"
        return sklearn_hooks.missing_hook()

    def _say(self, reason: str) -> None:
        unserved = [name for name in ("journal", "on_cell") if getattr(self, name) is not None]
        without = f", without {' and '.join(unserved)}" if unserved else ""
        sklearn_hooks.warn_once(f"{reason}, so this search goes sklearn's ordinary way{without}: same answer, slower")

    def _with_groups(self, params: dict[str, Any]) -> dict[str, Any]:
        """Arguments of ``fit`` by which groups reach the model where sklearn's own routing cannot be added to."""
        name, groups = self._groups_name(), params.get("groups")
        routed = sklearn_hooks.hands_on_groups() or sklearn.get_config()["enable_metadata_routing"]
        if not name or groups is None or routed:
            return params
        if name != "groups":  # a pipeline's last step, which sklearn hands it to by this name
            return {name: np.asarray(groups), **params}
        grids = self._grids()
        watching = {key for key in _WATCHING if getattr(self.estimator, key, None)}
        asked = {key for grid in grids for key in grid} | watching
        if asked.isdisjoint(_WATCHING):
            return params
        raise UsageError(
            f"scikit-learn {sklearn.__version__} has another way of handing groups to a model, so rows to stop early "
            "by could not be set aside by group; take an earlier release of it, or neither patience nor checkpoint"
        )

    # -- groups ----------------------------------------------------------------------------------

    def _get_routed_params_for_fit(self, *args: Any, **kwargs: Any) -> Any:
        """What sklearn hands to ``fit``, and the groups besides, where the model takes them."""
        routed = super()._get_routed_params_for_fit(*args, **kwargs)
        params = kwargs.get("params", args[0] if args else {})
        if sklearn_hooks.hands_on_groups() and (name := self._groups_name()) and params.get("groups") is not None:
            routed.estimator.fit.setdefault(name, np.asarray(params["groups"]))
        return routed

    def _groups_name(self) -> str:
        """What the model's ``fit`` calls groups; empty where it takes none, or candidates replace it."""
        model = self.estimator
        if not isinstance(model, Pipeline):
            return "groups" if takes_groups(model) else ""
        step, last = model.steps[-1]
        replaced = any(step in grid for grid in self._grids())
        return f"{step}__groups" if takes_groups(last) and not replaced else ""

    def _grids(self) -> list[Mapping[str, Any]]:
        grids = getattr(self, "param_grid", None) or getattr(self, "param_distributions", None) or {}
        return [grids] if isinstance(grids, Mapping) else list(grids)


def _values(grids: list[Mapping[str, Any]]) -> list[Any]:
    """All values of some grids that can be listed."""
    lists = [values for grid in grids for values in grid.values() if isinstance(values, list | tuple)]
    return [value for values in lists for value in values]


def _cluster() -> Any | None:
    """The client of the Dask cluster that ``joblib.parallel_config("dask")`` has put in force, or None."""
    backend, _ = joblib.parallel.get_active_backend()
    return getattr(backend, "client", None) if type(backend).__name__ == "DaskDistributedBackend" else None
