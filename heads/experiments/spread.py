"""How far a result is one draw of several: one recipe on new divisions of all patients, with several seeds on each.

The settings are those that the run has or found: a search is not repeated on each division. What it found it found on
rows that the new test parts share, so that the means are a little too good; what is told here is how they vary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from featcache.errors import UsageError
from featcache.features.labelled_features import Features
from featcache.features.stored_rows import StoredRows

from ..evaluation import spread_plots
from ..evaluation.canvas import save_figure
from ..evaluation.run_folder import origin_note, write_table
from ..evaluation.splits import Partition
from ..evaluation.spread_parts import Spread, compared, variance_over_patients
from ..evaluation.task_metrics import TASK_METRICS
from .baseline_models import with_seed
from .divisions import check_counts, derived_seed, division_digest, division_strata, divisions
from .repeated_fits import Fit, head_outputs, model_outputs
from .search_scores import SCORES
from .training_data import TrainingData

_Outputs = Sequence[Sequence[np.ndarray]]  # by division and seed


@dataclass(frozen=True)
class Repeats:
    """Divisions of all rows, and how many seeds are tried on each.

    Attributes
    ----------
    features : Features
        The rows.
    made : list of Partition
        The divisions; of one, the run's own.
    strata : int array of shape (n,)
        What they keep in proportion.
    seeds, seed : int
        How many seeds, and what they are drawn from.
    """

    features: Features
    made: list[Partition]
    strata: np.ndarray
    seeds: int
    seed: int

    def seed_of(self, repeat: int, number: int) -> int:
        """The seed of a model; on the run's own division the first is the run's own."""
        if len(self.made) == 1 and number == 0:
            return self.seed
        return derived_seed(self.seed, repeat, 2 + number)

    def of_head(self, model: Any, *, watched: bool) -> Spread:
        """Of a head with these settings; ``watched`` says that it is validated on the val part, else it learns that
        part, too."""
        outputs = self._head_outputs(model, self.seeds, watched)
        several = self.seeds > 1
        return self._spread(outputs, any(_differ(*of[:2]) for of in outputs) if several else None)

    def of_candidates(self, models: Sequence[Any]) -> list[Spread]:
        """Of several heads that learn the val part, too, with the first seed of each division alone."""
        return [self._spread(self._head_outputs(model, 1, watched=False), None) for model in models]

    def _head_outputs(self, model: Any, seeds: int, watched: bool) -> _Outputs:
        fits = []
        for repeat, parts in enumerate(self.made):
            learnt, val = (parts.train, parts.val) if watched else (_learnt(parts), None)
            for number in range(seeds):
                seeded = clone(model).set_params(random_state=self.seed_of(repeat, number))
                fits.append(Fit(seeded, learnt, parts.test, val))
        flat = head_outputs(self.features, fits)
        return [flat[at : at + seeds] for at in range(0, len(flat), seeds)]

    def of_model(self, model: Any, X: np.ndarray, jobs: int, seeds: int | None = None) -> Spread:
        """Of a classical model with these settings, on rows as it sees them.

        Whether it has a seed at all is found by trying two on the first division; one without is fitted once on each.
        """
        seeds = seeds or self.seeds

        def outputs_of(places: Sequence[tuple[int, int]]) -> list[np.ndarray]:
            fits = [
                Fit(
                    with_seed(model, self.seed_of(repeat, number)),
                    _learnt(self.made[repeat]),
                    self.made[repeat].test,
                )
                for repeat, number in places
            ]
            return model_outputs(X, self.features, fits, jobs)

        tried = outputs_of([(0, number) for number in range(min(2, seeds))])
        has_seed = _differ(*tried) if seeds > 1 else None
        fitted = seeds if has_seed else 1
        places = [(repeat, number) for repeat in range(len(self.made)) for number in range(fitted)][
            len(tried[:fitted]) :
        ]
        flat = [*tried[:fitted], *outputs_of(places)]
        outputs = [[*flat[at : at + fitted]] * (seeds // fitted) for at in range(0, len(flat), fitted)]
        return self._spread(outputs, has_seed)

    def _spread(self, outputs: _Outputs, has_seed: bool | None) -> Spread:
        features, measures = self.features, TASK_METRICS[self.features.task.kind]
        values, variances = np.full((len(outputs), len(outputs[0])), np.nan), np.full(len(outputs), np.nan)
        for repeat, (parts, of_seeds) in enumerate(zip(self.made, outputs, strict=True)):
            rows = parts.test
            y = features.y[rows]
            for number, given in enumerate(of_seeds):
                value = measures.headline(measures.scores(y, given)).value
                values[repeat, number] = np.nan if value is None else value
            if np.isfinite(values[repeat]).all():
                influences = np.array([measures.influence(y, given) for given in of_seeds])
                variances[repeat] = variance_over_patients(influences, features.groups[rows], self.strata[rows])
        judged = np.mean([len(set(features.groups[parts.test])) for parts in self.made])
        return Spread(values, variances, float(judged / len(set(features.groups))), has_seed)

    def about(self, spread: Spread) -> dict[str, Any]:
        """What ``run.json`` holds of it: :meth:`Spread.about`, ``metric``, ``n`` (test images of each division) and
        ``divisions``, by which runs know that they judged on the same images."""
        return {
            "metric": SCORES[self.features.task.kind].metric,
            **spread.about(),
            "n": [len(parts.test) for parts in self.made],
            "divisions": division_digest(self.features, self.made),
        }

    def _counts(self) -> str:
        counts = ((len(self.made), "division"), (self.seeds, "seed"))
        return " x ".join(f"{count} {thing}{'' if count == 1 else 's'}" for count, thing in counts)

    def write(self, folder: Path, spreads: Mapping[str, Mapping[str, Any]], title: str) -> None:
        """``spread.csv`` and ``spread.png`` of several models by name, of each what :meth:`about` gives."""
        rows = [
            (repeat + 1, self.seed_of(repeat, number), name, about["metric"], value, about["n"][repeat])
            for name, about in spreads.items()
            for repeat, values in enumerate(about["values"])
            for number, value in enumerate(values)
        ]
        write_table(folder / "spread.csv", ("repeat", "seed", "model", "metric", "value", "n"), rows)
        caption = f"{title}, {self._counts()}{origin_note(self.features)}"
        figure = spread_plots.spread_chart(spreads, SCORES[self.features.task.kind].label, caption)
        save_figure(figure, folder / "spread.png")


def planned(learnt_from: TrainingData, seeds: int, repeats: int, seed: int, *, in_memory: bool) -> Repeats | None:
    """The divisions, before any work; None where one seed and one division are asked for.

    Parameters
    ----------
    learnt_from : TrainingData
        The run's own.
    seeds, repeats, seed : int
        How many seeds on how many divisions, and what they are drawn from.
    in_memory : bool
        Whether the model learns from rows in memory alone.

    Raises
    ------
    UsageError
        Numbers out of range, or features in the store for a model that needs them in memory.
    DataError
        Patients that cannot be divided so often.
    """
    check_counts(seeds, repeats)
    if seeds == repeats == 1:
        return None
    features, parts = learnt_from.features, learnt_from.parts
    if in_memory and isinstance(features.X, StoredRows):
        raise UsageError(
            "--seeds and --repeats: the features do not fit in memory, and this model learns from principal "
            "components that were made of one training part, which other divisions judge on. Take --pooling avg, "
            "allow more --memory, or ask fit-head, which learns from the store"
        )
    made = divisions(features, parts, repeats, seed)
    return Repeats(features, made, division_strata(features, parts), seeds, seed)


def against_first(first: Spread, other: Spread, name: str, kind: str) -> dict[str, Any] | None:
    """How often the first model, whose name this is, is above another: ``first better equal of difference``."""
    found = compared(first.values, other.values, TASK_METRICS[kind].lower_is_better)
    return found and {"first": name, **found}


def winner_stays(
    winner: Spread, others: Sequence[Spread], params: Sequence[Mapping[str, Any]], kind: str
) -> dict[str, Any]:
    """How often a search's winner is first among its best candidates, by the first seed of each division.

    Returns
    -------
    dict
        ``of`` divisions it is ``first`` alone in, and ``tied`` for the first place in; ``candidates``, ``params`` and
        ``mean`` of each, the winner first.
    """
    sign = -1 if TASK_METRICS[kind].lower_is_better else 1
    columns = sign * np.column_stack([spread.values[:, 0] for spread in (winner, *others)])
    known = columns[np.isfinite(columns).all(axis=1)]
    best = known[:, 1:].max(axis=1, initial=-np.inf)
    means = [float(value) if np.isfinite(value) else None for value in sign * _means(columns)]
    return {
        "first": int((known[:, 0] > best).sum()),
        "tied": int((known[:, 0] == best).sum()),
        "of": len(known),
        "candidates": [{"params": dict(one), "mean": mean} for one, mean in zip(params, means, strict=True)],
    }


def _means(columns: np.ndarray) -> np.ndarray:
    return np.array(
        [column[np.isfinite(column)].mean() if np.isfinite(column).any() else np.nan for column in columns.T]
    )


def _learnt(parts: Partition) -> np.ndarray:
    return np.sort(np.concatenate([parts.train, parts.val]))


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    return not np.array_equal(one, other)
