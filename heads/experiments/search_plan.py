"""What ``grid`` searches: a model before the search, the values to try, and by which method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone

from featcache.data.tasks import Task
from featcache.errors import UsageError

from ..evaluation.splits import Fold
from ..search.candidate_checks import Between, check_space
from ..search.halving_search_cv import FastHalvingGridSearchCV
from ..search.search_cv import FastGridSearchCV, FastRandomizedSearchCV
from ..training.epoch_classifier import EpochClassifier
from .baseline_models import TABLES, with_seed
from .head_models import HEADS, MODELS, settings_of
from .reference import GRIDS
from .search_scores import SCORES

METHODS = ("exact", "halving", "random")
PRESET = "reference"
# Of the built-in sample: 96 images are three steps an epoch, in which pooled features learn slowly. With the
# reference's rates and epochs they stay near chance.
SAMPLE_GRID: dict[str, Sequence[Any]] = {
    "learning_rate": [0.0001, 0.0003],
    "epochs": [100, 300, 600],
    "activation": ["sigmoid", "relu"],
    "dropout": [0.15, 0.25],
}
_PATIENCE = 10  # of the reference's grids that stop early
Values = Sequence[Any] | Between


@dataclass(frozen=True)
class SearchPlan:
    """A search that is still to be run.

    Attributes
    ----------
    estimator : estimator
        The model, unfitted.
    space : dict of str to list or Between
        Values to try by sklearn's names of the parameters.
    method : {"exact", "halving", "random"}
        See :func:`heads.grid`.
    iterations : int
        Candidates of a random search.
    seed : int
        Of what a search draws.
    scoring : str, callable or None
        What is measured, as sklearn takes it; None is the model's own.
    """

    estimator: Any
    space: Mapping[str, Any]
    method: str
    iterations: int
    seed: int
    scoring: Any = None

    def search(self, folds: Sequence[Fold]) -> FastGridSearchCV | FastRandomizedSearchCV | FastHalvingGridSearchCV:
        """The search over these folds, unfitted, with a model of its own."""
        # A candidate that cannot be fitted ends the search with its own words: a score that is no number helps nobody.
        common: dict[str, Any] = {"cv": folds, "error_score": "raise", "scoring": self.scoring}
        estimator, space = clone(self.estimator), dict(self.space)
        if self.method == "exact":
            return FastGridSearchCV(estimator, space, **common)
        common["random_state"] = self.seed
        if self.method == "random":
            drawn = {name: v.distribution() if isinstance(v, Between) else v for name, v in space.items()}
            return FastRandomizedSearchCV(estimator, drawn, n_iter=self.iterations, **common)
        common["return_train_score"] = False
        if isinstance(estimator, EpochClassifier):  # what is dropped is dropped after few epochs
            most = max(space.pop("epochs", [estimator.get_params()["epochs"]]))
            common |= {"resource": "epochs", "max_resources": most}
        return FastHalvingGridSearchCV(estimator, space, **common)


def check_method(method: str, iterations: int) -> None:
    """Raise :class:`UsageError` for a method that there is not, or no candidate to draw."""
    if method not in METHODS:
        raise UsageError(f"method {method!r} is unknown; expected one of {', '.join(METHODS)}")
    if iterations < 1:
        raise UsageError(f"--iterations {iterations}: expected at least 1")


def plan_search(
    task: Task,
    model: str,
    preset: str | None,
    params: Mapping[str, Values] | None,
    *,
    method: str,
    iterations: int,
    seed: int,
) -> SearchPlan:
    """The model by its name, with the values that are asked for: given ones, the reference's, or the baseline's own.

    Raises :class:`UsageError` for an unknown model or parameter, and for a value that no fit can take.
    """
    check_method(method, iterations)
    table = TABLES[task.kind]
    there = [*(name for name in HEADS if (task.kind, name) in MODELS), *table]
    if not any(model in names for names in (HEADS, *TABLES.values())):
        raise UsageError(f"model {model!r} is unknown; expected one of {', '.join(there)}")
    if model not in there:
        raise UsageError(f"model {model!r} does not learn task {task.name}; expected one of {', '.join(there)}")
    if preset not in (None, PRESET):
        raise UsageError(f"preset {preset!r} is unknown; there is one: {PRESET}")
    if preset and (params or model not in HEADS or task.kind != "classes"):
        raise UsageError(
            f"--preset {PRESET} is a grid of its own for dense and own-cnn, which learn classes in it: give no --param "
            "with it"
        )
    if model in HEADS:
        estimator: Any = MODELS[task.kind, model](**settings_of(task, model), random_state=seed)
        wanted: Mapping[str, Any] = params or GRIDS.get((task.name, model)) or GRIDS["multiclass", model]
        if not params and "epochs" not in wanted:
            estimator.set_params(patience=_PATIENCE)
    else:
        estimator = with_seed(table[model].model, seed)
        wanted = params or table[model].grid
    space = _space(estimator, model, wanted, method)
    check_space(estimator, space)
    return SearchPlan(estimator, space, method, iterations, seed, SCORES[task.kind].scoring)


def _space(estimator: Any, model: str, wanted: Mapping[str, Values], method: str) -> dict[str, Any]:
    """The values by sklearn's names, which may be longer than those asked for."""
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
    return space
