"""Two kept models on the same images: which is better, and whether these images can tell."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featcache.data.dataset import Dataset
from featcache.errors import DataError
from featcache.extraction.planning import choose_data
from featcache.features.loading import Features
from featcache.store.store import Store

from ..auditing.audit_record import joined
from ..bundles.bundle import Bundle, open_bundle
from ..evaluation.clusters import group_codes
from ..evaluation.metrics import evaluate
from ..evaluation.paired_tests import differences, swapped
from ..evaluation.run_folder import require_out, run_folder, write_json, write_table
from .prediction import bundle_features, known_images

_log = logging.getLogger(__name__)


def compare(
    bundle_a: str | os.PathLike[str],
    bundle_b: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    split: str | None = None,
    group_regex: str | None = None,
    weights: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    out: str | os.PathLike[str] | None = None,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Judge two models on the same labelled images.

    Parameters
    ----------
    bundle_a, bundle_b : bundles of the same classes; their features may differ.
    data : a folder or manifest; None takes the last extract's, and of that the test part where it has one.
    split : only this part of the data.
    weights, group_regex, cache, skip_bad : as in :func:`heads.inference.prediction.evaluate_bundle`.
    out : folder for ``run.json`` and ``pairs.csv``; None makes one in ``runs``.

    Returns
    -------
    ``a`` and ``b`` (``bundle``, ``trained_on`` and the figures, as of :func:`heads.evaluation.metrics.evaluate`); ``n``, ``groups``;
    ``agreement`` (``both_right only_a only_b both_wrong``); ``mcnemar``, the exact test on the discordant pairs (McNemar
    1947; ``p``, and ``independent``, whether each image is of its own group, without which p is too small);
    ``differences``, A minus B, of accuracy, balanced accuracy and ROC area: ``value``, ``ci`` and ``p`` of
    :func:`heads.evaluation.paired_tests.differences`; ``shown``, whether a difference in accuracy is; ``verdict``, a sentence; ``warnings``.

    Raises
    ------
    DataError
        The models tell other classes apart, or there are no images of theirs.
    BundleError
    """
    a, b = open_bundle(bundle_a), open_bundle(bundle_b)
    if set(a.classes) != set(b.classes):
        raise DataError(
            f"{a.folder} tells {', '.join(a.classes)} apart, {b.folder} {', '.join(b.classes)}; models of different classes "
            "answer different questions. Fit one of them anew with the classes of the other: --classes"
        )
    require_out(out)
    with Store(cache) as store:
        dataset = choose_data(store, data, group_regex)
    if data is None and split is None and "test" in dataset.splits:
        split = "test"
    known, left_out = known_images(dataset, a.classes, split)
    of_a, of_b, skipped = _on_the_same(a, b, known, weights, cache, skip_bad)
    of_a = joined(of_a, cache)
    y, groups = of_a.y, of_a.groups
    p_a, p_b = a.predict_proba(of_a), b.predict_proba(of_b)
    place = np.array([a.classes.index(name) for name in b.classes])  # of B's classes among A's
    labels_a, labels_b = a.labels(p_a), place[b.labels(p_b)]
    with run_folder(out, "compare", str(a.about["task"])) as folder:
        found = paired(y, p_a, p_b[:, np.argsort(place)], labels_a, labels_b, groups)
        seen = [int(side.trained_on(of_a.keys).sum()) for side in (a, b)]
        warnings = _warnings((a, b), seen, y, found)
        sides = {
            name: {
                "bundle": str(side.folder), "classes": list(side.classes), "trained_on": learnt,
                "test": evaluate(rows.y, p, groups, side.classes, side.threshold),
            }
            for name, side, rows, p, learnt in (("a", a, of_a, p_a, seen[0]), ("b", b, of_b, p_b, seen[1]))
        }  # fmt: skip
        result = {
            "task": a.about["task"], **sides, "data": dataset.root, "split": split, "other_classes": left_out,
            "skipped": skipped, **found, "warnings": warnings,
            "synthetic": of_a.synthetic or of_b.synthetic, "run": str(folder),
        }  # fmt: skip
        for text in warnings:
            _log.warning("%s", text)
        rows = zip(of_a.paths, y, labels_a, labels_b, strict=True)
        table = [(path, *(a.classes[label] for label in labels)) for path, *labels in rows]
        write_table(folder / "pairs.csv", ("path", "label", "a", "b"), table)
        write_json(folder / "run.json", result)
        return result


def paired(
    y: np.ndarray, p_a: np.ndarray, p_b: np.ndarray, predicted_a: np.ndarray, predicted_b: np.ndarray,
    groups: Sequence[object] | np.ndarray | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What :func:`compare` finds, from labels, probabilities of shape (n, n_classes) and predicted labels.

    The verdict rests on the permutation test over groups; with one image a group it is McNemar's.
    """
    right_a, right_b = predicted_a == y, predicted_b == y
    of_group = group_codes(groups, len(y))
    count = int(of_group.max()) + 1
    gains = right_a.astype(float) - right_b
    found_by = differences(y, p_a, p_b, predicted_a, predicted_b, of_group)
    accuracy = found_by["accuracy"]
    assert accuracy is not None
    found = {
        "n": len(y),
        "groups": count,
        "agreement": {
            "both_right": int((right_a & right_b).sum()), "only_a": int((gains > 0).sum()), "only_b": int((gains < 0).sum()),
            "both_wrong": int((~right_a & ~right_b).sum()),
        },
        "mcnemar": {"p": swapped(gains), "independent": count == len(y)},
        "differences": {
            name: {"value": None, "ci": None, "p": None} if one is None
            else {"value": one.value, "ci": list(one.ci), "p": one.p}
            for name, one in found_by.items()
        },
        "shown": accuracy.p < 0.05,
    }  # fmt: skip
    return {**found, "verdict": _verdict(found, float(right_a.mean()), float(right_b.mean()))}


def _verdict(found: Mapping[str, Any], accuracy_a: float, accuracy_b: float) -> str:
    """One sentence that claims no more than was shown."""
    low, high = found["differences"]["accuracy"]["ci"]
    by, units = f"n = {found['n']} images", ""
    if not found["mcnemar"]["independent"]:
        units = f" of {found['groups']} groups"
        how = f"permutation test over groups p = {found['differences']['accuracy']['p']:.2g}"
    else:
        how = f"exact McNemar p = {found['mcnemar']['p']:.2g}"
    figures = (
        f"A {accuracy_a:.3f}, B {accuracy_b:.3f}, A minus B {accuracy_a - accuracy_b:+.3f} ({low:+.3f} to {high:+.3f})"
    )
    if found["shown"]:
        better = "A" if accuracy_a > accuracy_b else "B"
        return (
            f"{better} is the more accurate on images like these: {figures}; {how}, {by}{units}. Of images from elsewhere "
            "it says nothing"
        )
    return (
        f"no difference in accuracy is shown on {by}{units}: {figures}; {how}. That is not equality: a difference of up to "
        f"{max(abs(low), abs(high)):.3f} could hide"
    )


def _warnings(
    bundles: tuple[Bundle, Bundle], seen: Sequence[int], y: np.ndarray, found: Mapping[str, Any]
) -> list[str]:
    texts = []
    for name, bundle, learnt in zip("AB", bundles, seen, strict=True):
        texts += [f"{name}: {text}" for text in bundle.warnings]
        if learnt:
            texts.append(
                f"{name} learnt from {learnt} of these {found['n']} images: they overestimate it, and any lead of it. "
                "Compare on images that neither has seen: --split test, or --data"
            )
    if not found["mcnemar"]["independent"]:
        texts.append(
            f"{found['n']} images are of {found['groups']} groups: McNemar's test takes images as independent, so its p "
            "is too small; the verdict and the intervals rest on a permutation test over groups"
        )
    missing = [label for i, label in enumerate(bundles[0].classes) if i not in y]
    if missing:
        texts.append(f"no images of {', '.join(missing)}: the figures say nothing about it")
    return texts


def _on_the_same(
    a: Bundle, b: Bundle, dataset: Dataset, weights: str | None, cache: str | os.PathLike[str], skip_bad: bool
) -> tuple[Features, Features, int]:
    """Features of the images that both models can use, in one order, and how many neither or only one could."""
    of_a, _ = bundle_features(a, dataset, weights, cache, skip_bad)
    of_b, _ = bundle_features(b, dataset, weights, cache, skip_bad)
    rows_b = {path: i for i, path in enumerate(of_b.paths)}
    both = [i for i, path in enumerate(of_a.paths) if path in rows_b]
    if not both:
        raise DataError(f"{dataset.root}: no image that both models can use")
    of_b = of_b.take([rows_b[of_a.paths[i]] for i in both])
    return of_a.take(both), of_b, len(dataset) - len(both)
