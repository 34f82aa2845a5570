"""What is measured, decided and drawn of each kind of task: a table, by the task's ``kind``.

A model gives *outputs*: of classes probabilities of shape (n, n_classes), of several labels one of its own for each, of
shape (n, n_labels), of a number numbers of shape (n,). A *threshold* is None, of two classes the probability of the
second from which on it is the label, or of several labels one for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from featcache.errors import UsageError
from featcache.features.labelled_features import Features

from . import label_metrics, metrics, number_metrics, plots, task_plots
from .answer_margins import margins
from .calibration import calibrate
from .canvas import save_figure
from .clusters import group_codes
from .decision import Settled, settle
from .intervals import Interval, mean_influence, share_interval
from .label_decision import calibrate_labels, settle_labels, two_columns
from .number_intervals import ABSOLUTES, positive_mean
from .reliability import reliability_bins
from .splits import Partition

Threshold = float | Sequence[float] | None
Test = Mapping[str, Any]


class Headline(NamedTuple):
    """The one metric that stands for a model: what it is called, its value (None where there is too little to say), and
    its 95% interval."""

    label: str
    value: float | None
    interval: Sequence[float] | None

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.label}: too few to say"
        between = "" if self.interval is None else f" [{self.interval[0]:.3g}, {self.interval[1]:.3g}]"
        return f"{self.label} {self.value:.3f}{between}"


class TaskMetrics(Protocol):
    """What is measured of one kind of task."""

    @property
    def score_name(self) -> str:
        """Of what decides a search; greater is better."""

    @property
    def lower_is_better(self) -> bool:
        """Of the headline metric."""

    def outputs(self, model: Any, X: Any) -> np.ndarray:
        """What a fitted model gives rows."""

    def answers(self, outputs: np.ndarray, threshold: Threshold = None) -> np.ndarray:
        """What it says of each: positions of classes (n,), 0 or 1 (n, n_labels), or the numbers themselves."""

    def settle(
        self, features: Features, parts: Partition, outputs: np.ndarray, method: str | None, sensitivity: float | None
    ) -> Settled:
        """Calibrate and choose the threshold, each where asked; see :func:`heads.evaluation.decision.settle`."""

    def mended(self, outputs: np.ndarray, calibration: Any) -> np.ndarray:
        """Outputs, calibrated as it was settled."""

    def calls(self, y: np.ndarray, answers: np.ndarray, names: Sequence[str]) -> dict[str, tuple[np.ndarray, ...]]:
        """Of what an image has or has not, by name: the rows that know, which have it, and which are said to.

        Empty where there is no such thing, as of three classes or a number.
        """

    def margins(self, outputs: np.ndarray, answers: np.ndarray, threshold: Threshold) -> np.ndarray | None:
        """How far each row's answers are from becoming other ones, in log-odds, (n,); None where no answer can."""

    def scores(self, y: np.ndarray, outputs: np.ndarray, threshold: Threshold = None) -> dict[str, Any]:
        """Metrics without intervals."""

    def evaluate(
        self,
        y: np.ndarray,
        outputs: np.ndarray,
        groups: Sequence[object] | np.ndarray | None,
        names: Sequence[str],
        threshold: Threshold = None,
    ) -> dict[str, Any]:
        """Metrics with 95% intervals over groups."""

    def headline(self, test: Test) -> Headline:
        """What stands for them all."""

    def influence(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """What each row adds to the headline metric, linearised, (n,): the sum is 0, and the sum of squares over
        independent rows its variance."""

    def headline_interval(self, y: np.ndarray, outputs: np.ndarray, groups: Any, tail: float) -> Interval | None:
        """The headline metric's interval over groups that leaves out ``tail`` on either side; None where nothing can
        be said. With 0.025 it is that of :meth:`evaluate`, no threshold given."""

    def draw(
        self,
        folder: Path,
        features: Features,
        rows: np.ndarray,
        outputs: np.ndarray,
        test: Mapping[str, Any],
        title: str,
    ) -> None:
        """Figures of some rows, as PNG in ``folder``."""

    def table(
        self, features: Features, rows: np.ndarray, outputs: np.ndarray, threshold: Threshold = None
    ) -> tuple[list[str], list[list[Any]]]:
        """What is true of rows, and what a model says of them: names of columns, and a list for each row."""


class _OfClasses:
    score_name = "accuracy"
    lower_is_better = False

    def outputs(self, model: Any, X: Any) -> np.ndarray:
        return np.asarray(model.predict_proba(X))

    def answers(self, outputs: np.ndarray, threshold: Any = None) -> np.ndarray:
        return metrics.labels_of(outputs, threshold)

    def settle(
        self, features: Features, parts: Partition, outputs: np.ndarray, method: str | None, sensitivity: float | None
    ) -> Settled:
        return settle(features, parts, outputs, method, sensitivity)

    def mended(self, outputs: np.ndarray, calibration: Any) -> np.ndarray:
        return calibrate(outputs, calibration)

    def calls(self, y: np.ndarray, answers: np.ndarray, names: Sequence[str]) -> dict[str, tuple[np.ndarray, ...]]:
        return {names[1]: (np.arange(len(y)), y == 1, answers == 1)} if len(names) == 2 else {}

    def margins(self, outputs: np.ndarray, answers: np.ndarray, threshold: Any) -> np.ndarray | None:
        return margins(outputs, answers, threshold)

    def scores(self, y: np.ndarray, outputs: np.ndarray, threshold: Any = None) -> dict[str, Any]:
        return metrics.scores(y, outputs, threshold)

    def evaluate(
        self, y: np.ndarray, outputs: np.ndarray, groups: Any, names: Sequence[str], threshold: Any = None
    ) -> dict[str, Any]:
        return metrics.evaluate(y, outputs, groups, names, threshold)

    def headline(self, test: Test) -> Headline:
        return Headline("accuracy", test["accuracy"], test.get("accuracy_ci"))

    def influence(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return mean_influence(self.answers(outputs) == y)

    def headline_interval(self, y: np.ndarray, outputs: np.ndarray, groups: Any, tail: float) -> Interval | None:
        return share_interval(self.answers(outputs) == y, groups, tail)

    def draw(
        self,
        folder: Path,
        features: Features,
        rows: np.ndarray,
        outputs: np.ndarray,
        test: Mapping[str, Any],
        title: str,
    ) -> None:
        """Confusion, ROC, precision and recall, and reliability."""
        y = features.y[rows]
        save_figure(plots.confusion(test["confusion"], features.classes, title), folder / "confusion.png")
        if test["roc_auc"] is not None:
            for name, draw in (("roc", plots.roc), ("precision_recall", plots.precision_recall)):
                save_figure(draw(y, outputs, features.classes, title), folder / f"{name}.png")
        drawn = plots.reliability_diagram(reliability_bins(y, outputs), features.classes, title)
        save_figure(drawn, folder / "reliability.png")

    def table(
        self, features: Features, rows: np.ndarray, outputs: np.ndarray, threshold: Any = None
    ) -> tuple[list[str], list[list[Any]]]:
        predicted, names = self.answers(outputs, threshold), features.classes
        table = [
            [names[features.y[i]], names[predicted[n]], *(f"{value:.6g}" for value in outputs[n])]
            for n, i in enumerate(rows)
        ]
        return ["label", "predicted", *names], table


class _OfLabels:
    score_name = "mean_roc_auc"
    lower_is_better = False

    def outputs(self, model: Any, X: Any) -> np.ndarray:
        return np.asarray(model.predict_proba(X))

    def answers(self, outputs: np.ndarray, threshold: Any = None) -> np.ndarray:
        return (outputs >= (0.5 if threshold is None else np.asarray(threshold))).astype(np.int64)

    def settle(
        self, features: Features, parts: Partition, outputs: np.ndarray, method: str | None, sensitivity: float | None
    ) -> Settled:
        return settle_labels(features, parts, outputs, method, sensitivity)

    def mended(self, outputs: np.ndarray, calibration: Any) -> np.ndarray:
        return calibrate_labels(outputs, calibration)

    def calls(self, y: np.ndarray, answers: np.ndarray, names: Sequence[str]) -> dict[str, tuple[np.ndarray, ...]]:
        known = [np.flatnonzero(~np.isnan(column)) for column in y.T]
        return {
            name: (rows, y[rows, label] == 1, answers[rows, label] == 1)
            for label, (name, rows) in enumerate(zip(names, known, strict=True))
        }

    def margins(self, outputs: np.ndarray, answers: np.ndarray, threshold: Any) -> np.ndarray | None:
        even = np.broadcast_to(0.5 if threshold is None else threshold, answers.shape[1:])
        of_labels = [
            margins(two_columns(outputs[:, label]), answers[:, label], float(even[label]))
            for label in range(outputs.shape[1])
        ]
        return np.min(of_labels, axis=0)

    def scores(self, y: np.ndarray, outputs: np.ndarray, threshold: Any = None) -> dict[str, Any]:
        return label_metrics.scores_of_labels(y, outputs)

    def evaluate(
        self, y: np.ndarray, outputs: np.ndarray, groups: Any, names: Sequence[str], threshold: Any = None
    ) -> dict[str, Any]:
        return label_metrics.evaluate_labels(y, outputs, groups, names, threshold)

    def headline(self, test: Test) -> Headline:
        return Headline("mean ROC area", test["mean_roc_auc"], test.get("mean_roc_auc_ci"))

    def influence(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return label_metrics.area_influence(y, outputs)

    def headline_interval(self, y: np.ndarray, outputs: np.ndarray, groups: Any, tail: float) -> Interval | None:
        return label_metrics.mean_area_interval(y, outputs, groups, tail)

    def draw(
        self,
        folder: Path,
        features: Features,
        rows: np.ndarray,
        outputs: np.ndarray,
        test: Mapping[str, Any],
        title: str,
    ) -> None:
        """Areas and average precisions of the labels, with their intervals."""
        save_figure(task_plots.label_chart(test, title), folder / "labels.png")

    def table(
        self, features: Features, rows: np.ndarray, outputs: np.ndarray, threshold: Any = None
    ) -> tuple[list[str], list[list[Any]]]:
        said = self.answers(outputs, threshold)
        header = [f"{name}{what}" for name in features.classes for what in ("", " predicted", " probability")]
        table = []
        for n, i in enumerate(rows):
            of_row = zip(features.y[i], said[n], outputs[n], strict=True)
            table.append(
                [cell for y, label, p in of_row for cell in ("" if np.isnan(y) else int(y), int(label), f"{p:.6g}")]
            )
        return header, table


class _OfNumbers:
    score_name = "neg_mean_absolute_error"
    lower_is_better = True

    def outputs(self, model: Any, X: Any) -> np.ndarray:
        return np.asarray(model.predict(X), dtype=np.float64).reshape(-1)

    def answers(self, outputs: np.ndarray, threshold: Any = None) -> np.ndarray:
        return outputs

    def settle(
        self, features: Features, parts: Partition, outputs: np.ndarray, method: str | None, sensitivity: float | None
    ) -> Settled:
        if method is not None or sensitivity is not None:
            raise UsageError("calibration and sensitivity are of labels; task regression gives numbers")
        return Settled(outputs, None, None, (), {"calibration": None, "threshold": None, "warnings": []})

    def mended(self, outputs: np.ndarray, calibration: Any) -> np.ndarray:
        return outputs

    def calls(self, y: np.ndarray, answers: np.ndarray, names: Sequence[str]) -> dict[str, tuple[np.ndarray, ...]]:
        return {}

    def margins(self, outputs: np.ndarray, answers: np.ndarray, threshold: Any) -> np.ndarray | None:
        return None

    def scores(self, y: np.ndarray, outputs: np.ndarray, threshold: Any = None) -> dict[str, Any]:
        return number_metrics.scores_of_numbers(y, outputs)

    def evaluate(
        self, y: np.ndarray, outputs: np.ndarray, groups: Any, names: Sequence[str], threshold: Any = None
    ) -> dict[str, Any]:
        return number_metrics.evaluate_numbers(y, outputs, groups)

    def headline(self, test: Test) -> Headline:
        return Headline("mean absolute error", test["mae"], test.get("mae_ci"))

    def influence(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return mean_influence(np.abs(outputs - y))

    def headline_interval(self, y: np.ndarray, outputs: np.ndarray, groups: Any, tail: float) -> Interval | None:
        return positive_mean(np.abs(outputs - y), group_codes(groups, len(y)), ABSOLUTES, tail)

    def draw(
        self,
        folder: Path,
        features: Features,
        rows: np.ndarray,
        outputs: np.ndarray,
        test: Mapping[str, Any],
        title: str,
    ) -> None:
        """Predicted against true."""
        figure = task_plots.predicted_against_true(features.y[rows], outputs, test, features.classes[0], title)
        save_figure(figure, folder / "predicted.png")

    def table(
        self, features: Features, rows: np.ndarray, outputs: np.ndarray, threshold: Any = None
    ) -> tuple[list[str], list[list[Any]]]:
        name = features.classes[0]
        table = [[f"{features.y[i]:.6g}", f"{outputs[n]:.6g}"] for n, i in enumerate(rows)]
        return [name, f"{name} predicted"], table


TASK_METRICS: dict[str, TaskMetrics] = {"classes": _OfClasses(), "labels": _OfLabels(), "number": _OfNumbers()}
