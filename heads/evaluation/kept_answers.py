"""What each model of a run answered on its test images, so that intervals can be corrected for the choice among them.

``test_answers.csv`` has a row for each image: the first 16 digits of its row key, its patient or other group as a
number (copies and what an audit took for one patient joined), what is true, and each model's answer: of classes the
position of the class it names, of several labels a probability of each, of a number the number. No name or path stands
in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featcache.data.tasks import Kind
from featcache.errors import DataError
from featcache.features.labelled_features import Features

from .clusters import group_codes
from .run_folder import read_table, write_table
from .task_metrics import TASK_METRICS, Threshold

FILE = "test_answers.csv"
_ABOUT = ("image", "group")


@dataclass(frozen=True)
class KeptAnswers:
    """What the file says.

    Attributes
    ----------
    images : of each row the first digits of its key, n.
    groups : int array of shape (n,).
    y : array of shape (n,), of several labels (n, n_labels).
    outputs : by model, as :mod:`heads.evaluation.task_metrics` has them; of classes 1 for the one named, 0 for others.
    """

    images: tuple[str, ...]
    groups: np.ndarray
    y: np.ndarray
    outputs: dict[str, np.ndarray]


def write_kept_answers(
    path: Path, features: Features, rows: np.ndarray, answers: Mapping[str, np.ndarray], threshold: Threshold = None
) -> None:
    """Write the file, of some rows and what each model gives them."""
    kind, n = features.task.kind, len(rows)
    said = [TASK_METRICS[kind].answers(given, threshold) if kind == "classes" else given for given in answers.values()]
    columns = [np.asarray(values, np.float64).reshape(n, -1) for values in (features.y[rows], *said)]
    groups = group_codes(features.groups[rows], n)
    each = len(features.classes) if kind == "labels" else 1
    header = [*_ABOUT, *(f"{what} {i}" for what in ("true", *map(str, range(len(said)))) for i in range(each))]
    table = [
        [features.keys[row].hex()[:16], int(groups[place]), *("" if np.isnan(v) else f"{v:.6g}" for v in values)]
        for place, (row, values) in enumerate(zip(rows, np.concatenate(columns, axis=1), strict=True))
    ]
    write_table(path, header, table)


def read_kept_answers(path: Path, kind: Kind, names: Sequence[str], models: Sequence[str]) -> KeptAnswers | None:
    """Read the file; None where there is none.

    Raises :class:`DataError` where it is not what these models of these names would have written.
    """
    table = read_table(path)
    if not table:
        return None
    each, count = len(names) if kind == "labels" else 1, len(models)
    try:
        images = tuple(row["image"] for row in table)
        groups = np.array([int(row["group"]) for row in table])
        rest = np.array([[float(value or "nan") for value in list(row.values())[len(_ABOUT) :]] for row in table])
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: no answers on test images ({error!r}); make the run anew") from error
    if rest.shape[1] != each * (1 + count):
        raise DataError(f"{path}: {rest.shape[1]} columns of answers, expected {each * (1 + count)}; make the run anew")
    y, *given = np.split(rest, 1 + count, axis=1)
    if kind == "classes":
        codes = np.concatenate([y, *given], axis=1)
        if not (np.isin(codes, np.arange(len(names)))).all():
            raise DataError(f"{path}: names classes beyond the {len(names)} there are; make the run anew")
        outputs = [np.eye(len(names))[column[:, 0].astype(int)] for column in given]
        return KeptAnswers(images, groups, y[:, 0].astype(np.int64), dict(zip(models, outputs, strict=True)))
    if not all(np.isfinite(values).all() for values in given) or (kind == "number" and not np.isfinite(y).all()):
        raise DataError(f"{path}: some answers are no numbers; make the run anew")
    if kind == "number":
        y, given = y[:, 0], [values[:, 0] for values in given]
    return KeptAnswers(images, groups, y, dict(zip(models, given, strict=True)))
