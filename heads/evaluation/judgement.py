"""A model's metrics on some rows: of images, and where asked of patients and of subgroups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.errors import UsageError
from featcache.features.labelled_features import Features

from .conformal_coverage import conformal_coverage
from .held_out_scores import HeldOutScores
from .patients import check_per_patient, per_patient
from .predictive_values import predictive_values
from .subgroup_metrics import subgroup_metrics
from .subgroups import subgroups
from .task_metrics import TASK_METRICS, Threshold


@dataclass(frozen=True)
class Views:
    """What rows are looked at by besides images.

    Attributes
    ----------
    by : columns of metadata, whose subgroups are told apart: ``sex,view,age:0-40-65-``; None for none.
    per_patient : how the images of a patient are made one answer, see :func:`heads.evaluation.patients.per_patient`;
        None leaves patients aside.
    prevalence : how frequent what is called is where the model is to be used, above 0 and below 1; None leaves aside
        what a call means there.
    """

    by: str | None = None
    per_patient: str | None = None
    prevalence: float | None = None

    def check(self, features: Features) -> None:
        """Raise :class:`UsageError` or :class:`DataError` for what these features do not have, before any work."""
        if self.by is not None:
            subgroups(features.metadata_columns, self.by)
        if self.per_patient is not None:
            count = 1 if features.task.kind == "number" else len(features.classes)
            check_per_patient(self.per_patient, features.task.kind, count)
        if self.prevalence is not None:
            if not 0 < self.prevalence < 1:
                raise UsageError(f"--prevalence {self.prevalence}: expected a share above 0 and below 1, such as 0.02")
            if not TASK_METRICS[features.task.kind].calls(features.y, features.y, features.classes):
                raise UsageError(
                    "--prevalence: expected two classes, or labels that an image has or has not; choose two with "
                    "--classes"
                )


def judged(
    features: Features,
    rows: np.ndarray,
    outputs: np.ndarray,
    threshold: Threshold = None,
    views: Views | None = None,
) -> dict[str, Any]:
    """Metrics of some rows with 95% intervals over groups.

    Parameters
    ----------
    features : what is true, and of whom.
    rows : int array of shape (m,), positions.
    outputs : what a model gives these, m rows.
    threshold : as in :mod:`heads.evaluation.task_metrics`.
    views : None for those of images alone.

    Returns
    -------
    The metrics of the task; and where asked ``per_patient``, the same of patients, with ``how``, ``mixed`` and
    ``left_out``; ``subgroups``, see :func:`heads.evaluation.subgroup_metrics.subgroup_metrics`; and
    ``predictive_values``, the ``prevalence`` and of each name what
    :func:`heads.evaluation.predictive_values.predictive_values` gives, of patients too.
    """
    measures, kind = TASK_METRICS[features.task.kind], features.task.kind
    y, groups = features.y[rows], features.groups[rows]
    test = measures.evaluate(y, outputs, groups, features.classes, threshold)
    test |= _at_prevalence(views, features, y, outputs, groups, threshold)
    if views is not None and views.per_patient is not None:
        of = per_patient(outputs, y, groups, views.per_patient, kind)
        test["per_patient"] = {
            **measures.evaluate(of.y, of.outputs, of.groups, features.classes, threshold),
            "how": views.per_patient,
            "mixed": of.mixed,
            "left_out": of.left_out,
        }
        test["per_patient"] |= _at_prevalence(views, features, of.y, of.outputs, of.groups, threshold)
    if views is not None and views.by is not None:
        columns = {name: column[rows] for name, column in features.metadata_columns.items()}
        test["subgroups"] = subgroup_metrics(kind, y, outputs, groups, subgroups(columns, views.by), features.classes)
    return test


def sets_judged(
    features: Features,
    rows: np.ndarray,
    outputs: np.ndarray,
    held_out: HeldOutScores,
    threshold: Threshold = None,
    views: Views | None = None,
) -> dict[str, Any]:
    """How often sets hold what is true of some rows.

    Parameters are those of :func:`judged`, and the scores that sets are calibrated by; what is returned is what
    :func:`heads.evaluation.conformal_coverage.conformal_coverage` gives.
    """
    masks = None
    if views is not None and views.by is not None:
        masks = subgroups({name: column[rows] for name, column in features.metadata_columns.items()}, views.by)
    y, groups, kind = features.y[rows], features.groups[rows], features.task.kind
    return conformal_coverage(kind, held_out, y, outputs, groups, features.classes, threshold, masks)


def _at_prevalence(
    views: Views | None,
    features: Features,
    y: np.ndarray,
    outputs: np.ndarray,
    groups: np.ndarray,
    threshold: Threshold,
) -> dict[str, Any]:
    if views is None or views.prevalence is None:
        return {}
    measures = TASK_METRICS[features.task.kind]
    of = {
        name: predictive_values(positive, called, groups[rows], views.prevalence)
        for name, (rows, positive, called) in measures.calls(
            y, measures.answers(outputs, threshold), features.classes
        ).items()
    }
    return {"predictive_values": {"prevalence": views.prevalence, "of": of}}
