"""``reproduce``: everything that the reference trained, with its numbers beside ours, row by row."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.backbones import weights as network_weights
from featcache.data import filesystems
from featcache.errors import UsageError
from featcache.store.store import Store
from featcache.system import atomic_files
from featcache.system.user_paths import expanded

from ..inference.embedding import tsne
from .convolution_toy import RUNS, convolutions
from .head_fit import fit_head
from .reference import CONVOLUTION, ROWS, TSNE_OF, ReferenceRow
from .reference_features import Source, features_of_row
from .reproduction_records import once, rows_done
from .reproduction_table import write_rows

_QUICK_EPOCHS = 5
_QUICK_RUNS = 5
_SPEED, _TSNE = "speed", "tsne-"
IDS = (*(row.id for row in ROWS), *(f"{_TSNE}{name}" for name in TSNE_OF), _SPEED)


@dataclass(frozen=True)
class _Asked:
    """What all rows have in common: where they stand, what they learn from, and how."""

    folder: Path
    source: Source
    quick: bool
    seed: int


def reproduce(
    data: str | os.PathLike[str] | None = None,
    *,
    only: Sequence[str] | None = None,
    quick: bool = False,
    weights: str = "imagenet",
    preprocess: str = "model",
    seed: int = 0,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    out: str | os.PathLike[str] = "runs/reproduce",
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train what the reference trained, and set its numbers beside ours.

    Parameters
    ----------
    data : str or path, optional
        Images of the reference's four classes; None takes the last extract's, else the synthetic sample.
    only : sequence of str, optional
        Ids of rows, or their beginnings (``b-``, ``m-vgg16``); None takes all of
        :data:`heads.experiments.reproduction.IDS`.
    quick : bool, optional
        5 epochs a row, and marked so.
    weights : str, optional
        Of backbones that have no features here yet. Where ImageNet's cannot be had, random ones are taken, and the
        row is marked and its accuracy not compared.
    preprocess : {"model", "rescale"}, optional
        Each backbone's own, or a division by 255; the reference does not say which was its.
    seed : int, optional
        Of initial weights, batches, dropout and splits.
    group_regex : str, optional
        Where in the file name the patient stands.
    cache : str or path, optional
        Folder of the store.
    out : str or path, optional
        Folder; a row that is done there with the same data and settings is not trained again.
    on_row : callable, optional
        Called with each row as it is done.

    Returns
    -------
    dict of str to object
        ``rows``, with the reference's numbers under ``reference`` and ours under ``ours``; ``csv`` and ``markdown``,
        the tables of every row that is done in ``out``.

    Raises
    ------
    UsageError
        ``only`` names no row.

    Examples
    --------
    >>> import tempfile
    >>> from heads import reproduce
    >>> result = reproduce(only=["speed"], quick=True, out=tempfile.mkdtemp())
    >>> row = result["rows"][0]
    >>> row["reference"]
    {'cpu_seconds': 14.5, 'gpu_seconds': 0.31}
    >>> row["ours"]["cpu_seconds"] > 0
    True
    """
    chosen = _chosen(only)
    network_weights.parse(weights)  # a misspelt name fails before anything is trained
    folder = expanded(out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    asked = _Asked(folder, Source(data, group_regex, cache, weights, preprocess), quick, seed)
    rows = []
    for name in chosen:
        rows.append(_row(name, asked))
        on_row(rows[-1])
    tables = write_rows(folder, rows_done(folder, IDS))
    return {"rows": rows, "quick": quick, **tables, "run": str(folder)}


def _chosen(only: Sequence[str] | None) -> list[str]:
    if only is None:
        return list(IDS)
    unknown = [want for want in only if not any(name.startswith(want) for name in IDS)]
    if unknown:
        raise UsageError(f"no row begins with {', '.join(unknown)}; there are {', '.join(IDS)}")
    return [name for name in IDS if any(name.startswith(want) for want in only)]


def _row(name: str, asked: _Asked) -> dict[str, Any]:
    if name == _SPEED:
        return once(asked.folder, name, {"quick": asked.quick}, lambda target: _speed(asked.quick))
    if name.startswith(_TSNE):
        return _tsne(name, asked)
    return _fit(next(row for row in ROWS if row.id == name), asked)


def _fit(row: ReferenceRow, asked: _Asked) -> dict[str, Any]:
    source = asked.source
    settings = {**row.settings, "epochs": _QUICK_EPOCHS} if asked.quick else dict(row.settings)
    feature_set, is_random = features_of_row(row, source)

    def work(target: Path) -> dict[str, Any]:
        fitted = fit_head(
            row.task,
            model=row.model,
            backbone=feature_set,
            data=source.data,
            group_regex=source.group_regex,
            cache=source.cache,
            out=target,
            seed=asked.seed,
            **settings,
        )
        if fitted.result["test"] is None:
            raise UsageError(
                f"{row.id}: {fitted.result['hidden']['reason']}. The reference's values are of a test part: reproduce "
                "it with images that are not locked"
            )
        return {
            "id": row.id,
            "kind": "fit",
            "task": row.task,
            "backbone": row.backbone,
            "settings": settings,
            "reference": {"total": row.total, "trainable": row.trainable, **row.metrics},
            "ours": _ours(fitted.result),
            "remarks": "; ".join(_remarks(fitted.result, row, asked, is_random)),
            "run": str(target),
        }

    with Store(source.cache) as store:
        keys = sorted(key.hex() for key in store.rows(feature_set))
    decides = {
        "settings": settings,
        "seed": asked.seed,
        "feature_set": feature_set,
        "rows": hashlib.sha256("".join(keys).encode()).hexdigest(),
        "data": str(source.data and filesystems.locate(source.data)),
    }
    return once(asked.folder, row.id, decides, work)


def _ours(result: Mapping[str, Any]) -> dict[str, Any]:
    """Of a head's result, what stands beside the reference's."""
    metrics = {
        f"{part}_{name}": result[part][name] for part in ("train", "val", "test") for name in ("accuracy", "loss")
    }
    return {
        **metrics,
        **result["parameters"],
        "test_ci": result["test"]["accuracy_ci"],
        "seconds": result["seconds"],
        "epochs": result["epochs_run"],
    }


def _remarks(result: Mapping[str, Any], row: ReferenceRow, asked: _Asked, is_random: bool) -> list[str]:
    """What keeps a row from being the reference's own."""
    remarks = []
    if result["synthetic"]:
        remarks.append("synthetic images")
    if is_random:
        remarks.append("random weights: accuracy not comparable")
    if asked.source.preprocess == "rescale" and row.model == "dense":
        remarks.append("input divided by 255")
    if asked.quick:
        remarks.append(f"quick: {_QUICK_EPOCHS} of {row.settings['epochs']} epochs")
    if result["made"]:
        remarks.append(f"{' and '.join(result['made'])} set aside from train")
    return remarks


def _tsne(name: str, asked: _Asked) -> dict[str, Any]:
    trained, source = name.removeprefix(_TSNE), asked.source
    bundle = asked.folder / trained / "bundle"
    if not bundle.exists():
        raise UsageError(
            f"{name} draws the network of {trained}, which is not trained yet; add it: --only {trained},{name}"
        )

    def work(target: Path) -> dict[str, Any]:
        drawn = tsne(
            bundle,
            data=source.data,
            group_regex=source.group_regex,
            cache=source.cache,
            seed=asked.seed,
            out=target,
        )
        remark = f"{drawn['rows']} images drawn, {drawn['misclassified']} misclassified"
        return {
            "id": name,
            "kind": "tsne",
            "reference": {},
            "ours": {"misclassified": drawn["misclassified"]},
            "remarks": remark + ("; synthetic images" if drawn["synthetic"] else ""),
            "run": str(target),
            "figure": drawn["figures"][0],
        }

    digest = atomic_files.sha256_file(bundle / "bundle.json")
    return once(asked.folder, name, {"bundle": digest, "quick": asked.quick, "seed": asked.seed}, work)


def _speed(quick: bool) -> dict[str, Any]:
    """The toy problem: 32 filters of 3 x 3 x 3 over 120 images of 224 x 224 x 3, 50 times."""
    runs = _QUICK_RUNS if quick else RUNS
    ours: dict[str, float] = {}
    for device, convolve in convolutions().items():
        convolve()
        seconds = []
        for _ in range(runs):
            started = time.perf_counter()
            convolve()
            seconds.append(time.perf_counter() - started)
        ours[f"{device.lower()}_seconds"] = round(statistics.median(seconds) * RUNS, 3)
    cpu, gpu = ours["cpu_seconds"], ours.get("gpu_seconds")
    remark = f"{RUNS} convolutions: CPU {cpu:.2f} s (reference {CONVOLUTION['cpu_seconds']} s)"
    if gpu:
        remark += f", GPU {gpu:.2f} s, {cpu / gpu:.0f} times"
    else:
        remark += f"; no GPU here (reference {CONVOLUTION['gpu_seconds']} s)"
    if quick:
        remark += f"; quick: from {runs} runs"
    return {"id": _SPEED, "kind": "speed", "reference": CONVOLUTION, "ours": ours, "remarks": remark}
