"""Searches over hyperparameters as sklearn's, the same answer sooner."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from .accelerated_search import AcceleratedSearch
from .cell_run import OnCell, Progress

__all__ = ["FastGridSearchCV", "FastRandomizedSearchCV", "Progress"]


class FastGridSearchCV(AcceleratedSearch, GridSearchCV):
    """``sklearn.model_selection.GridSearchCV``, exact and sooner where it can be.

    Its parameters, attributes and behaviour are sklearn's, and the last four parameters come on top. Heads that differ
    in their epochs share one training, ensembles share their trees, pipelines their transformers, and models that see
    rows through inner products alone work on fewer columns.

    Parameters
    ----------
    estimator : estimator
        The model, such as :class:`heads.DenseHeadClassifier` or a pipeline of sklearn's.
    param_grid : dict or list of dict
        Values to try, by names of parameters.
    scoring : str, callable, list, tuple or dict, optional
        What is measured, as in sklearn; the model's own ``score`` where None.
    n_jobs : int, optional
        Fits side by side, where a way to share them does not fill the processor by itself.
    refit : bool, str or callable, default=True
        Whether the best candidate is fitted on all rows, and by which metric it is the best.
    cv : int, splitter or iterable, optional
        The folds; five, stratified for classifiers, where None.
    verbose : int, default=0
        Prints what sklearn prints: from 1 on the number of fits, from 2 on a line for each, from 3 on its score.
    pre_dispatch : int or str, default="2*n_jobs"
        Fits handed out ahead of time, of those that are left to sklearn.
    error_score : "raise" or float, default=nan
        The score of a candidate that cannot be fitted.
    return_train_score : bool, default=False
        Whether rows learnt from are scored, too.
    journal : path-like, optional
        File of finished cells, kept as they finish. A search that was killed goes on from it.
    restart : bool, default=False
        Forget what the journal holds.
    memory : int, optional
        Bytes that this process and its workers may hold at their peak, all told; None is what they hold already and
        half of what is free.
    on_cell : callable, optional
        Called with a :class:`heads.search.search_cv.Progress` after each cell.

    Attributes
    ----------
    cv_results_ : dict of str to array of shape (n_candidates,)
        Scores, ranks and seconds, as in sklearn. Cells that share a fit have their share of its time.
    best_index_ : int
        The best candidate's place in ``cv_results_``.
    best_params_ : dict
        Its values.
    best_score_ : float
        Its mean score over the folds.
    best_estimator_ : estimator
        It, fitted on all rows; only where ``refit`` is not False.
    n_splits_ : int
        Number of folds.

    Notes
    -----
    Scores are those of sklearn's search. Of models that are fitted on fewer columns, a fit whose labels could hang on
    rounding, or on where a solver stops, is done again in the ordinary way (:mod:`heads.search.projection_check`).

    With callbacks of sklearn 1.9 on the search, or on a model in it, the search goes sklearn's ordinary way, so that
    they see every fit; so it does, with a warning, where a release of sklearn or joblib is not as it is expected
    (:mod:`heads.search.sklearn_hooks`). The ordinary way keeps no journal and calls no ``on_cell``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from heads import FastGridSearchCV
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 2
    >>> X = rng.normal(size=(40, 200)) + y[:, None]  # more columns than rows: the search works on 40 of them
    >>> search = FastGridSearchCV(LogisticRegression(), {"C": [0.01, 1.0]}, cv=4).fit(X, y)
    >>> search.cv_results_["mean_test_score"].shape
    (2,)
    >>> float(search.best_score_)
    1.0
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        journal: str | os.PathLike[str] | None = None,
        restart: bool = False,
        memory: int | None = None,
        on_cell: OnCell | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.journal = journal
        self.restart = restart
        self.memory = memory
        self.on_cell = on_cell


class FastRandomizedSearchCV(AcceleratedSearch, RandomizedSearchCV):
    """``sklearn.model_selection.RandomizedSearchCV``, sooner; see :class:`heads.FastGridSearchCV`.

    Candidates are drawn as sklearn draws them from the same ``random_state``.

    Parameters
    ----------
    estimator : estimator
        The model.
    param_distributions : dict or list of dict
        Values or distributions of ``scipy.stats`` to draw from, by names of parameters.
    n_iter : int, default=10
        How many candidates are drawn.
    scoring : str, callable, list, tuple or dict, optional
        What is measured, as in sklearn; the model's own ``score`` where None.
    n_jobs : int, optional
        Fits side by side, where a way to share them does not fill the processor by itself.
    refit : bool, str or callable, default=True
        Whether the best candidate is fitted on all rows, and by which metric it is the best.
    cv : int, splitter or iterable, optional
        The folds; five, stratified for classifiers, where None.
    verbose : int, default=0
        Prints what sklearn prints: from 1 on the number of fits, from 2 on a line for each, from 3 on its score.
    pre_dispatch : int or str, default="2*n_jobs"
        Fits handed out ahead of time, of those that are left to sklearn.
    random_state : int, RandomState or None, optional
        What the drawing starts from.
    error_score : "raise" or float, default=nan
        The score of a candidate that cannot be fitted.
    return_train_score : bool, default=False
        Whether rows learnt from are scored, too.
    journal : path-like, optional
        File of finished cells, kept as they finish. A search that was killed goes on from it.
    restart : bool, default=False
        Forget what the journal holds.
    memory : int, optional
        Bytes that this process and its workers may hold at their peak, all told; None is what they hold already and
        half of what is free.
    on_cell : callable, optional
        Called with a :class:`heads.search.search_cv.Progress` after each cell.

    Attributes
    ----------
    cv_results_ : dict of str to array of shape (n_candidates,)
        Scores, ranks and seconds, as in sklearn. Cells that share a fit have their share of its time.
    best_index_ : int
        The best candidate's place in ``cv_results_``.
    best_params_ : dict
        Its values.
    best_score_ : float
        Its mean score over the folds.
    best_estimator_ : estimator
        It, fitted on all rows; only where ``refit`` is not False.
    n_splits_ : int
        Number of folds.

    Notes
    -----
    Scores are those of sklearn's search. Of models that are fitted on fewer columns, a fit whose labels could hang on
    rounding, or on where a solver stops, is done again in the ordinary way (:mod:`heads.search.projection_check`).

    With callbacks of sklearn 1.9 on the search, or on a model in it, the search goes sklearn's ordinary way, so that
    they see every fit; so it does, with a warning, where a release of sklearn or joblib is not as it is expected
    (:mod:`heads.search.sklearn_hooks`). The ordinary way keeps no journal and calls no ``on_cell``.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> from sklearn.svm import SVC
    >>> from heads import FastRandomizedSearchCV
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 2
    >>> X = rng.normal(size=(40, 200)) + y[:, None]
    >>> space = {"C": stats.loguniform(0.01, 100)}
    >>> search = FastRandomizedSearchCV(SVC(kernel="linear"), space, n_iter=3, cv=4, random_state=0).fit(X, y)
    >>> len(search.cv_results_["params"])
    3
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        journal: str | os.PathLike[str] | None = None,
        restart: bool = False,
        memory: int | None = None,
        on_cell: OnCell | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.journal = journal
        self.restart = restart
        self.memory = memory
        self.on_cell = on_cell
