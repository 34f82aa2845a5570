"""``reproduce``: everything the report trained, with its numbers beside ours, row by row."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import featcache
from featcache.backbones import registry
from featcache.backbones import weights as network_weights
from featcache.data import filesystems
from featcache.errors import StoreError, UsageError, WeightsError
from featcache.system import atomic_files, schema

from ..evaluation.run_folder import write_json, write_table
from ..inference.embedding import tsne
from .convolution_toy import RUNS, convolutions
from .head_fit import fit_head
from .reference import CONVOLUTION, ROWS, TSNE_OF, ReportRow

_log = logging.getLogger(__name__)
_QUICK_EPOCHS = 5
_SPEED = "speed"
IDS = (*(row.id for row in ROWS), *(f"tsne-{name}" for name in TSNE_OF), _SPEED)
_Number = int | float | None


class _Ours(msgspec.Struct):
    """Figures of a network trained here."""

    total: int
    trainable: int
    test_ci: tuple[float, float]
    train_accuracy: float
    val_accuracy: float
    test_accuracy: float
    seconds: float


class _Fit(msgspec.Struct, tag_field="kind", tag="fit"):
    id: str
    report: dict[str, _Number]
    ours: _Ours
    remarks: str


class _Tsne(msgspec.Struct, tag_field="kind", tag="tsne"):
    id: str
    report: dict[str, _Number]
    ours: dict[str, _Number]
    remarks: str


class _Speed(_Tsne, tag_field="kind", tag="speed"):
    pass


class _Done(msgspec.Struct):
    """What the record of a row that is done holds at least."""

    mark: str
    row: _Fit | _Tsne | _Speed


_FIGURES = ("train_accuracy", "train_loss", "val_accuracy", "val_loss", "test_accuracy", "test_loss")


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
    """Train what the report trained, and set its figures beside ours.

    Parameters
    ----------
    data : images of the report's four classes; None takes the last extract's, else the synthetic sample.
    only : ids of rows, or their beginnings (``b-``, ``m-vgg16``); None takes all of :data:`IDS`.
    quick : 5 epochs a row, and marked so.
    weights : of backbones that have no features here yet. Where ImageNet's cannot be had, random ones are taken, and
        the row is marked and its accuracy not compared.
    preprocess : ``model``, each backbone's own, or ``rescale``; the report does not say which was its.
    out : folder; a row that is done there with the same data and settings is not trained again.
    on_row : called with each row as it is done.

    Returns
    -------
    ``rows``, with the report's figures under ``report`` and ours under ``ours``; ``csv`` and ``markdown``, the tables
    of every row that is done in ``out``.

    Raises
    ------
    UsageError
        ``only`` names no row.
    """
    chosen = _chosen(only)
    network_weights.parse(weights)  # a misspelt name fails before anything is trained
    folder = Path(out).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in chosen:
        if name == _SPEED:
            row = _once(folder, name, {"quick": quick}, lambda target: _speed(quick))
        elif name.startswith("tsne-"):
            row = _tsne(folder, name, chosen, data, group_regex, cache, quick, seed)
        else:
            report = next(row for row in ROWS if row.id == name)
            row = _fit(folder, report, data, group_regex, cache, weights, preprocess, quick, seed)
        rows.append(row)
        on_row(row)
    result = {"rows": rows, "quick": quick, "csv": str(folder / "reproduce.csv"), "run": str(folder),
              "markdown": str(folder / "reproduce.md")}  # fmt: skip
    _write(folder, _every_row(folder))
    return result


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table for people: the report's figure, then ours, in each cell."""
    lines = [
        "| row | parameters, report / ours | train accuracy | validation accuracy | test accuracy, 95% interval | remarks |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        ours, report = row["ours"], row["report"]
        if row["kind"] == "fit":
            pair = [f"{_count(report.get('total'))} / {_count(ours['total'])}"]
            for name in ("train_accuracy", "val_accuracy", "test_accuracy"):
                text = f"{_share(report.get(name))} / {_share(ours[name])}"
                if name == "test_accuracy":
                    text += f" ({ours['test_ci'][0]:.2f} to {ours['test_ci'][1]:.2f})"
                pair.append(text)
        else:
            pair = [""] * 4
        lines.append("| " + " | ".join([row["id"], *pair, row["remarks"]]) + " |")
    return "\n".join(lines) + "\n"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _chosen(only: Sequence[str] | None) -> list[str]:
    if only is None:
        return list(IDS)
    unknown = [want for want in only if not any(name.startswith(want) for name in IDS)]
    if unknown:
        raise UsageError(f"no row begins with {', '.join(unknown)}; there are {', '.join(IDS)}")
    return [name for name in IDS if any(name.startswith(want) for want in only)]


def _once(
    folder: Path, name: str, settings: Mapping[str, Any], work: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """The row that was made with these settings before, or a new one."""
    mark = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    record = folder / f"{name}.json"
    done = _read_done(record)
    if done is not None and done["mark"] == mark:
        _log.info("%s: done before", name)
        return dict(done["row"])
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)  # of a run that was cut off, or had other settings
    row = work(target)
    atomic_files.write_bytes(record, json.dumps({"mark": mark, "row": row}, indent=1).encode())
    return row


def _every_row(folder: Path) -> list[dict[str, Any]]:
    """All rows that are done in the folder, by this call or an earlier one, in the table's order."""
    found = [_read_done(folder / f"{name}.json") for name in IDS]
    return [dict(done["row"]) for done in found if done is not None]


def _read_done(record: Path) -> dict[str, Any] | None:
    """A row that was made before, and the mark of its settings; None where there is none that can be read."""
    try:
        return schema.read(record.read_bytes(), _Done, str(record), "It is made anew")
    except (OSError, StoreError):
        return None


def _fit(
    folder: Path,
    report: ReportRow,
    data: Any,
    group_regex: str | None,
    cache: Any,
    weights: str,
    preprocess: str,
    quick: bool,
    seed: int,
) -> dict[str, Any]:
    settings = {**report.settings, "epochs": _QUICK_EPOCHS} if quick else dict(report.settings)
    feature_set, fell_back = _features(report, data, group_regex, cache, weights, preprocess)

    def work(target: Path) -> dict[str, Any]:
        fitted = fit_head(
            report.task, model=report.model, backbone=feature_set, data=data, group_regex=group_regex, cache=cache,
            out=target, seed=seed, **settings,
        )  # fmt: skip
        result, remarks = fitted.result, []
        if result["synthetic"]:
            remarks.append("synthetic images")
        if fell_back:
            remarks.append("random weights: accuracy not comparable")
        if preprocess == "rescale" and report.model == "dense":
            remarks.append("input divided by 255")
        if quick:
            remarks.append(f"quick: {_QUICK_EPOCHS} of {report.settings['epochs']} epochs")
        if result["made"]:
            remarks.append(f"{' and '.join(result['made'])} set aside from train")
        ours = {
            f"{part}_{name}": result[part][name] for part in ("train", "val", "test") for name in ("accuracy", "loss")
        }
        ours |= {
            "total": result["parameters"]["total"], "trainable": result["parameters"]["trainable"],
            "test_ci": result["test"]["accuracy_ci"], "seconds": result["seconds"], "epochs": result["epochs_run"],
        }  # fmt: skip
        theirs = {"total": report.total, "trainable": report.trainable, **report.figures}
        return {
            "id": report.id, "kind": "fit", "task": report.task, "backbone": report.backbone, "settings": settings,
            "report": theirs, "ours": ours, "remarks": "; ".join(remarks), "run": str(target),
        }  # fmt: skip

    with featcache.Store(cache) as store:
        rows = sorted(key.hex() for key in store.rows(feature_set))
    content = hashlib.sha256("".join(rows).encode()).hexdigest()
    mark = {
        "settings": settings,
        "seed": seed,
        "feature_set": feature_set,
        "rows": content,
        "data": str(data and filesystems.locate(data)),
    }
    return _once(folder, report.id, mark, work)


def _real_sets(backbone: str, preprocess: str, cache: Any) -> list[str]:
    """Feature sets of a backbone with real weights, at its own size, last layer and this preprocessing."""
    found = []
    with featcache.Store(cache) as store:
        for name in store.feature_sets():
            spec = store.spec(name)
            alike = (spec.preprocess == "rescale") == (preprocess == "rescale") and not spec.layer
            plain = spec.size == registry.get(backbone).size and "map" in spec.arrays
            if spec.backbone == backbone and alike and plain and not spec.random_weights:
                found.append(name)
    return found


def _features(
    report: ReportRow, data: Any, group_regex: str | None, cache: Any, weights: str, preprocess: str
) -> tuple[str, bool]:
    """The feature set a row learns from, computed where it is missing, and whether its weights are random."""
    backbone = "pixels" if report.model == "own-cnn" else report.backbone
    if backbone != "pixels":
        # What is here already, whatever this call's weights.
        for feature_set in _real_sets(backbone, preprocess, cache):
            with contextlib.suppress(featcache.FeatcacheError):
                featcache.load(
                    feature_set, task=report.task, pooling="avg", data=data, group_regex=group_regex, cache=cache
                )
                return feature_set, False
    chosen = weights if backbone == report.backbone else "imagenet"
    options = {
        "group_regex": group_regex,
        "cache": cache,
        "preprocess": "model" if backbone == "pixels" else preprocess,
    }
    try:
        result = featcache.extract(data, backbone, weights=chosen, **options)
    except WeightsError:
        _log.warning("%s: no real weights to be had; RANDOM ones stand in", backbone)
        result = featcache.extract(data, backbone, weights="random", **options)
    return result.feature_set, result.random_weights


def _tsne(
    folder: Path,
    name: str,
    chosen: Sequence[str],
    data: Any,
    group_regex: str | None,
    cache: Any,
    quick: bool,
    seed: int,
) -> dict[str, Any]:
    source = name.removeprefix("tsne-")
    bundle = folder / source / "bundle"
    if not bundle.exists():
        raise UsageError(
            f"{name} draws the network of {source}, which is not trained yet; add it: --only {source},{name}"
        )

    def work(target: Path) -> dict[str, Any]:
        found = tsne(bundle, data=data, group_regex=group_regex, cache=cache, seed=seed, out=target)
        remark = f"{found['rows']} images drawn, {found['misclassified']} misclassified"
        if found["synthetic"]:
            remark += "; synthetic images"
        return {"id": name, "kind": "tsne", "report": {}, "ours": {"misclassified": found["misclassified"]},
                "remarks": remark, "run": str(target), "figure": found["figures"][0]}  # fmt: skip

    digest = atomic_files.sha256_file(bundle / "bundle.json")
    return _once(folder, name, {"bundle": digest, "quick": quick, "seed": seed}, work)


def _speed(quick: bool) -> dict[str, Any]:
    """The toy problem: 32 filters of 3 x 3 x 3 over 120 images of 224 x 224 x 3, 50 times."""
    runs = 5 if quick else RUNS
    ours: dict[str, float] = {}
    for device, once in convolutions().items():
        once()
        seconds = []
        for _ in range(runs):
            started = time.perf_counter()
            once()
            seconds.append(time.perf_counter() - started)
        ours[f"{device.lower()}_seconds"] = round(statistics.median(seconds) * RUNS, 3)
    cpu, gpu = ours["cpu_seconds"], ours.get("gpu_seconds")
    remark = f"50 convolutions: CPU {cpu:.2f} s (report {CONVOLUTION['cpu_seconds']} s)"
    remark += (
        f", GPU {gpu:.2f} s, {cpu / gpu:.0f} times" if gpu else f"; no GPU here (report {CONVOLUTION['gpu_seconds']} s)"
    )
    if quick:
        remark += f"; quick: from {runs} runs"
    return {"id": _SPEED, "kind": "speed", "report": CONVOLUTION, "ours": ours, "remarks": remark}


def _write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    header = ["id", "task", "backbone", "total_report", "total_ours"]
    for name in _FIGURES:
        header += [f"{name}_report", f"{name}_ours"]
    header += ["test_ci_low", "test_ci_high", "seconds", "remarks"]
    table = []
    for row in rows:
        ours, report = row["ours"], row["report"]
        cells: list[Any] = [
            row["id"],
            row.get("task", ""),
            row.get("backbone", ""),
            report.get("total"),
            ours.get("total"),
        ]
        for name in _FIGURES:
            cells += [report.get(name), ours.get(name)]
        table.append([*cells, *ours.get("test_ci", ("", "")), ours.get("seconds"), row["remarks"]])
    write_table(folder / "reproduce.csv", header, table)
    atomic_files.write_bytes(folder / "reproduce.md", markdown(rows).encode())
    write_json(folder / "run.json", {"rows": list(rows)})
