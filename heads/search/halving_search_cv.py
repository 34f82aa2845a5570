"""Successive halving over hyperparameters as sklearn's, the same answer sooner."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV

from .accelerated_search import AcceleratedSearch
from .cell_run import OnCell


class FastHalvingGridSearchCV(AcceleratedSearch, HalvingGridSearchCV):
    """``sklearn.model_selection.HalvingGridSearchCV``, sooner; see :class:`heads.FastGridSearchCV`.

    A heuristic: what looks poor with few resources is dropped, though it might have won with more.

    Parameters
    ----------
    estimator : estimator
        The model.
    param_grid : dict or list of dict
        Values to try, by names of parameters.
    factor : float, default=3
        One in so many candidates goes on to the next round, which has so many times the resources.
    resource : str, default="n_samples"
        What grows from round to round: rows, or a parameter of the model such as ``epochs``.
    max_resources : int or "auto", default="auto"
        The most of it that a candidate gets.
    min_resources : int, "exhaust" or "smallest", default="exhaust"
        What the candidates of the first round get.
    aggressive_elimination : bool, default=False
        Whether the first round is repeated until few enough candidates are left for the last one.
    cv : int, splitter or iterable, default=5
        The folds.
    scoring : str, callable, list, tuple or dict, optional
        What is measured, as in sklearn; the model's own ``score`` where None.
    refit : bool, str or callable, default=True
        Whether the best candidate is fitted on all rows, and by which metric it is the best.
    error_score : "raise" or float, default=nan
        The score of a candidate that cannot be fitted.
    return_train_score : bool, default=True
        Whether rows learnt from are scored, too.
    random_state : int, RandomState or None, optional
        What the drawing of rows starts from.
    n_jobs : int, optional
        Fits side by side, where a way to share them does not fill the processor by itself.
    verbose : int, default=0
        Prints what sklearn prints: from 1 on the number of fits, from 2 on a line for each, from 3 on its score.
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
    n_candidates_ : list of int
        Candidates of each round.
    n_resources_ : list of int
        What each of them was given.

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
    >>> from sklearn.svm import SVC
    >>> from heads import FastHalvingGridSearchCV
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(80) % 2
    >>> X = rng.normal(size=(80, 200)) + y[:, None]
    >>> grid = {"C": [0.01, 0.1, 1.0, 10.0]}
    >>> search = FastHalvingGridSearchCV(SVC(kernel="linear"), grid, factor=2, cv=4, random_state=0).fit(X, y)
    >>> search.n_candidates_
    [4, 2, 1]
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: Any = "auto",
        min_resources: Any = "exhaust",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        error_score: Any = np.nan,
        return_train_score: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        journal: str | os.PathLike[str] | None = None,
        restart: bool = False,
        memory: int | None = None,
        on_cell: OnCell | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.journal = journal
        self.restart = restart
        self.memory = memory
        self.on_cell = on_cell
