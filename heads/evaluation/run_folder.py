"""Runs: a folder with one command's results, and what is written into it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data.dataset import Dataset
from featcache.data.manifest import MANIFESTS
from featcache.errors import DataError, UsageError
from featcache.features.labelled_features import Features
from featcache.system import atomic_files
from featcache.system.schema import inside
from featcache.system.spreadsheet_cells import guarded, plain
from featcache.system.user_paths import expanded
from featcache.system.write_access import require_writable

from . import task_plots
from .canvas import save_figure
from .task_metrics import TASK_METRICS, Threshold


@contextlib.contextmanager
def run_folder(out: str | os.PathLike[str] | None, *parts: str) -> Iterator[Path]:
    """A new folder for results: ``out``, else one in ``runs`` named after the parts and the time.

    It is there from the start, so that a place that cannot be written to fails before the work; where the work fails
    and has written nothing, it is removed.

    Raises :class:`UsageError` where ``out`` is there and not empty.
    """
    folder = _new_folder(out, *parts)
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def require_out(out: str | os.PathLike[str] | None) -> None:
    """Ask before the work whether :func:`run_folder` will have a place to write to, and leave none behind.

    Raises
    ------
    UsageError
        ``out`` is there and not empty, or no folder can be there.
    StoreError
        It cannot be written to.
    """
    if out is not None:
        _require_empty(expanded(out).absolute())
    require_writable("runs" if out is None else out, "--out")


def _require_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # no such name can be: the writing says so
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there already; name a new folder with --out")


def _new_folder(out: str | os.PathLike[str] | None, *parts: str) -> Path:
    if out is not None:
        folder = expanded(out).absolute()
        _require_empty(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    stem = "-".join([*parts, datetime.now().strftime("%Y%m%d-%H%M%S")])
    for number in range(1, 1000):
        folder = inside(Path("runs").absolute(), stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UsageError(f"runs/{stem} is there a thousand times; name a folder with --out")


def stamp(verb: str, features: Features, parts: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
    """What every ``run.json`` begins with: which verb, when, on what.

    Returns
    -------
    ``verb``, ``finished`` (local time), ``data`` (its root), ``feature_set``, ``pooling``, ``weights``, ``images``,
    ``groups``, and ``per_split``, images of each class in each part; without ``parts``, in each of the data's own.
    """
    if parts is None:
        parts = {str(name) or "all": np.flatnonzero(features.splits == name) for name in np.unique(features.splits)}
    return {
        "verb": verb,
        "finished": datetime.now().isoformat(timespec="seconds"),
        "data": features.data,
        "feature_set": features.feature_set,
        "pooling": features.pooling,
        "weights": features.spec.weights,
        "images": len(features),
        "groups": len(set(features.groups)),
        "per_split": {name: features.task.counts(features.y[rows], features.classes) for name, rows in parts.items()},
    }


def data_title(data: str, synthetic: bool = False) -> str:
    """What images are called on a page or in a picture.

    The sample is called what it is, a folder by its name, and a manifest by that of its folder too, since many are
    called alike.
    """
    if synthetic:
        return "The built-in sample"
    place = Path(data)
    return f"{place.parent.name}/{place.name}" if place.suffix.lower() in MANIFESTS else place.name


def origin_note(of: Features | Dataset) -> str:
    """What must stand on every picture of such images or features; empty for real ones."""
    words = ["SYNTHETIC images"] if of.synthetic else []
    if isinstance(of, Features) and of.spec.random_weights:
        words.append("RANDOM weights")
    return f" [{', '.join(words)}]" if words else ""


def write_evaluation(
    folder: Path, features: Features, rows: np.ndarray, outputs: np.ndarray, test: Mapping[str, Any], title: str
) -> None:
    """Figures of some rows, as the task's kind has them, as PNG in ``folder``."""
    measures = TASK_METRICS[features.task.kind]
    caption = f"{title}: {measures.headline(test)}, n = {test['n']}{origin_note(features)}"
    measures.draw(folder, features, rows, outputs, test, caption)
    if "subgroups" in test:
        save_figure(task_plots.subgroup_chart(test["subgroups"], caption), folder / "subgroups.png")


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A CSV file, whole or not at all, that a spreadsheet opens without running what stands in names and labels.

    :func:`read_table` and :mod:`featcache.data.manifest` read back just what was written.
    """
    text = io.StringIO()
    table = [[guarded(cell) for cell in row] for row in (header, *rows)]
    # Python before 3.13 leaves a lone carriage return unquoted, and takes it for the end of a row afterwards.
    returns = any("\r" in cell for row in table for cell in row if isinstance(cell, str))
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL).writerows(table)
    # A name that is not UTF-8 stands escaped in it: the file has to be read by others.
    atomic_files.write_bytes(path, text.getvalue().encode("utf-8", "backslashreplace"))


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file that :func:`write_table` wrote, by column; none where there is no such file.

    Raises :class:`DataError` where it is anything else.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = [[plain(cell) for cell in row] for row in csv.reader(file)] or [[]]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{path}: not a table that was written here ({error}); make the run anew") from error
    if any(len(row) != len(header) for row in rows):
        raise DataError(f"{path}: its rows are not of one length; make the run anew")
    return [dict(zip(header, row, strict=True)) for row in rows]


def write_predictions(
    path: Path,
    features: Features,
    rows: np.ndarray,
    part: Sequence[str],
    outputs: np.ndarray,
    threshold: Threshold = None,
) -> None:
    """Path, part, what is true of some rows, and what a model says of them, as CSV."""
    header, table = TASK_METRICS[features.task.kind].table(features, rows, outputs, threshold)
    about = [[features.paths[i], part[n]] for n, i in enumerate(rows)]
    write_table(path, ("path", "part", *header), [[*start, *row] for start, row in zip(about, table, strict=True)])


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    atomic_files.write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())
