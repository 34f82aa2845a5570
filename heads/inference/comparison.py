"""Two kept models on the same images: which is better, and whether these images can tell."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featcache.data.tasks import Kind
from featcache.errors import DataError
from featcache.extraction.planning import choose_data
from featcache.features.labelled_features import Features
from featcache.store.store import Store

from ..auditing.audit_record import join_groups
from ..bundles.bundle import Bundle, open_bundle
from ..evaluation.clusters import group_codes
from ..evaluation.judgement import Views
from ..evaluation.paired_tests import Difference, differences, error_difference, label_differences, swapped
from ..evaluation.patients import per_patient as one_a_patient
from ..evaluation.run_folder import require_out, run_folder, write_json, write_table
from ..evaluation.task_metrics import TASK_METRICS, Threshold
from ..vault.locks import require_unlocked
from ..vault.looks import Shown, look
from .bundle_features import Images, bundle_features, known_images

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
    per_patient: str | None = None,
) -> dict[str, Any]:
    """Judge two models on the same labelled images.

    Parameters
    ----------
    bundle_a, bundle_b : str or path-like
        Folders of bundles of the same classes, labels or number; their features may differ.
    data : str or path-like, optional
        A folder or manifest; the last extract's by default, and of that the test part where it has one.
    split : str, optional
        Only this part of the data.
    group_regex : str, optional
        Pattern whose first group, found in a file's name, is its patient or other group.
    weights : str, optional
        The networks' weights, where a bundle holds none: ``imagenet`` or a file.
    cache : str or path-like, optional
        The features are kept here; what is there already is not computed again.
    out : str or path-like, optional
        Folder for ``run.json`` and ``pairs.csv``; by default a new one in ``runs``.
    skip_bad : bool, optional
        Go on without images that cannot be decoded.
    per_patient : {"mean", "max", "noisy-or"}, optional
        Compare them on patients besides, as :func:`fit_head` makes the images of each one answer.

    Returns
    -------
    dict
        ``a`` and ``b`` (``bundle``, ``trained_on`` and ``test``, the metrics of
        :func:`heads.evaluation.metrics.evaluate`); ``n``, ``groups``; ``agreement`` (``both_right only_a only_b
        both_wrong``); ``mcnemar``, the exact test on the discordant pairs (McNemar 1947; ``p``, and ``independent``,
        whether each image is of its own group, without which p is too small); ``differences``, A minus B, of accuracy,
        balanced accuracy and ROC area: ``value``, ``ci`` and ``p`` of
        :func:`heads.evaluation.paired_tests.differences`; ``shown``, whether a difference in accuracy is; ``verdict``,
        a sentence; ``warnings``; ``look``, which look at these images it was; and where asked ``per_patient``, the same
        of patients. Of several labels ``differences`` has ``mean_roc_auc``, and ``labels`` those of each one's area; of
        a number it has ``mae``. There is neither ``agreement`` nor ``mcnemar`` then.

    Raises
    ------
    DataError
        The models tell other classes apart, or there are no images of theirs.
    BundleError
        A bundle is damaged, or made for other features.
    UsageError
        ``out`` is there and not empty, or images are locked.

    See Also
    --------
    evaluate_bundle : Judges one model.

    Examples
    --------
    A model that learnt dark from bright, and one that learnt from labels in disorder:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import featcache, heads
    >>> from heads.bundles.saving import save_bundle
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for place in ("here", "there"):
    ...     for name, grey in (("covid", 60), ("normal", 160)):
    ...         (folder / place / name).mkdir(parents=True)
    ...         for number in range(12):
    ...             pixels = rng.normal(grey, 20, (64, 64)).clip(0, 255).astype(np.uint8)
    ...             Image.fromarray(pixels).save(folder / place / name / f"{number}.png")
    >>> cache = folder / "cache"
    >>> extracted = featcache.extract(folder / "here", backbone="pixels", size=32, cache=cache)
    >>> f = featcache.load("pixels", task="binary", cache=cache)
    >>> for name, y in (("a", f.y), ("b", np.arange(len(f)) % 2)):
    ...     model = make_pipeline(StandardScaler(), LogisticRegression()).fit(f.X, y)
    ...     rows = np.arange(len(f))
    ...     bundle = save_bundle(folder / name, model, f, rows, task="binary", scores={}, cache=cache)
    >>> result = heads.compare(folder / "a", folder / "b", folder / "there", cache=cache, out=folder / "run")
    >>> result["a"]["test"]["accuracy"], result["shown"], result["verdict"][:22]
    (1.0, True, 'A is the more accurate')
    """
    a, b = open_bundle(bundle_a), open_bundle(bundle_b)
    if set(a.classes) != set(b.classes) or a.task.kind != b.task.kind:
        raise DataError(
            f"{a.folder} learnt {', '.join(a.classes)} ({a.task.name}), {b.folder} {', '.join(b.classes)} "
            f"({b.task.name}); models of different classes answer different questions. Fit one of them anew with the "
            "classes of the other: --classes"
        )
    require_out(out)
    with Store(cache) as store:
        dataset = choose_data(store, data, group_regex)
    if data is None and split is None and "test" in dataset.splits:
        split = "test"
    known, left_out = known_images(a, dataset, split)
    of_a, of_b, skipped = _on_the_same(a, b, known, weights, cache, skip_bad)
    of_a = join_groups(of_a, cache)
    Views(per_patient=per_patient).check(of_a)
    require_unlocked(
        cache,
        of_a.keys,
        "a comparison shows metrics of them",
        "Compare on other images; python cli.py evaluate BUNDLE --final shows what one model gives these",
    )
    given = a.predict_proba(of_a), b.predict_proba(of_b)
    models = _Models.of(a, b, *given)
    with run_folder(out, "compare", str(a.about["task"])) as folder:
        comparison = models.compared(of_a.y, of_a.groups)
        if per_patient is not None:
            comparison["per_patient"] = models.of_patients(of_a.y, of_a.groups, per_patient)
        both = dict(zip("AB", given, strict=True))
        looked = look(cache, of_a.keys, Shown("compare", folder.name, str(a.about["task"]), both))
        seen = [int(side.trained_on(of_a.keys).sum()) for side in (a, b)]
        warnings = _warnings((a, b), seen, of_a, comparison)
        measures = TASK_METRICS[a.task.kind]
        sides = {
            name: {
                "bundle": str(side.folder),
                "classes": list(side.classes),
                "trained_on": learnt,
                "test": measures.evaluate(rows.y, outputs, of_a.groups, side.classes, side.threshold),
            }
            for name, side, rows, outputs, learnt in zip("ab", (a, b), (of_a, of_b), given, seen, strict=True)
        }
        result = {
            "task": a.about["task"],
            "learns": a.about["learns"],
            **sides,
            "data": dataset.root,
            "split": split,
            "other_classes": left_out,
            "skipped": skipped,
            **comparison,
            "look": looked,
            "warnings": warnings,
            "synthetic": of_a.synthetic or of_b.synthetic,
            "run": str(folder),
        }
        for text in warnings:
            _log.warning("%s", text)
        header, table = models.table(of_a.y)
        write_table(
            folder / "pairs.csv",
            ("path", *header),
            [[path, *row] for path, row in zip(of_a.paths, table, strict=True)],
        )
        write_json(folder / "run.json", result)
        return result


@dataclass(frozen=True)
class _Models:
    """What two models say of the same rows, both in the order of A's classes or labels.

    Attributes
    ----------
    kind, names : of the task.
    outputs : of A and of B.
    thresholds : of both, see :mod:`heads.evaluation.task_metrics`.
    """

    kind: Kind
    names: tuple[str, ...]
    outputs: tuple[np.ndarray, np.ndarray]
    thresholds: tuple[Threshold, Threshold]

    @classmethod
    def of(cls, a: Bundle, b: Bundle, given_a: np.ndarray, given_b: np.ndarray) -> _Models:
        threshold = b.threshold
        if a.task.kind != "number":
            place = [b.classes.index(name) for name in a.classes]
            given_b = given_b[:, place]
            if isinstance(threshold, list):
                threshold = [threshold[i] for i in place]
            elif threshold is not None and place != [0, 1]:
                # B calls a row by its own second class, which is A's first, from the threshold on.
                threshold = float(np.nextafter(1 - threshold, 2))
        return cls(a.task.kind, a.classes, (given_a, given_b), (a.threshold, threshold))

    @property
    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """What they say, as :meth:`heads.evaluation.task_metrics.TaskMetrics.answers` has it."""
        said = TASK_METRICS[self.kind].answers
        return said(self.outputs[0], self.thresholds[0]), said(self.outputs[1], self.thresholds[1])

    def compared(self, y: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
        """The comparison, from what is true and groups."""
        return {"classes": self._classes, "labels": self._labels, "number": self._numbers}[self.kind](y, groups)

    def of_patients(self, y: np.ndarray, groups: np.ndarray, how: str) -> dict[str, Any]:
        """The same of patients."""
        rows = [one_a_patient(outputs, y, groups, how, self.kind) for outputs in self.outputs]
        patients = replace(self, outputs=(rows[0].outputs, rows[1].outputs))
        return {**patients.compared(rows[0].y, rows[0].groups), "how": how, "left_out": rows[0].left_out}

    def _classes(self, y: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
        return paired(y, *self.outputs, *self.answers, groups)

    def _labels(self, y: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
        """Of several labels: their ROC areas, in the mean and one by one."""
        of_group = group_codes(groups, len(y))
        mean, each = label_differences(y, *self.outputs, of_group)
        comparison = {
            "n": len(y),
            "groups": int(of_group.max()) + 1,
            "differences": {"mean_roc_auc": _plain(mean)},
            "labels": dict(zip(self.names, map(_plain, each), strict=True)),
            "shown": mean is not None and mean.p < 0.05,
        }
        return {**comparison, "verdict": _gap_in_words("mean ROC area", mean, comparison, better=1)}

    def _numbers(self, y: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
        """Of a number: how far off they are."""
        of_group = group_codes(groups, len(y))
        count = int(of_group.max()) + 1
        gap = error_difference(y, *self.outputs, of_group) if count > 1 else None
        comparison = {
            "n": len(y),
            "groups": count,
            "differences": {"mae": _plain(gap)},
            "shown": gap is not None and gap.p < 0.05,
        }
        return {**comparison, "verdict": _gap_in_words("mean absolute error", gap, comparison, better=-1)}

    def table(self, y: np.ndarray) -> tuple[list[str], list[list[Any]]]:
        """What is true of each row and what either says of it: names of columns, and a list for each row."""
        if self.kind == "classes":
            rows = zip(y, *self.answers, strict=True)
            return ["label", "a", "b"], [[self.names[code] for code in codes] for codes in rows]
        columns = [array.reshape(len(y), -1) for array in (y, *self.outputs)]
        header = [f"{name}{of}" for name in self.names for of in ("", " a", " b")]
        numbers = np.stack(columns, axis=2).reshape(len(y), -1)
        return header, [["" if np.isnan(value) else f"{value:.6g}" for value in row] for row in numbers]


def _plain(one: Difference | None) -> dict[str, Any]:
    return {"value": None, "ci": None, "p": None} if one is None else {**vars(one), "ci": list(one.ci)}


def _gap_in_words(what: str, gap: Difference | None, comparison: Mapping[str, Any], better: int) -> str:
    """One sentence that claims no more than was shown; ``better`` is the sign of a difference in which A leads."""
    images = f"n = {comparison['n']} images of {comparison['groups']} groups"
    if gap is None:
        return f"too few to say which has the better {what}: {images}"
    low, high = gap.ci
    numbers = f"A minus B {gap.value:+.3g} ({low:+.3g} to {high:+.3g}); permutation test over groups p = {gap.p:.2g}"
    if comparison["shown"]:
        leads = "A" if gap.value * better > 0 else "B"
        return (
            f"{leads} has the better {what} on images like these: {numbers}, {images}. Of images from elsewhere it "
            "says nothing"
        )
    return (
        f"no difference in {what} is shown on {images}: {numbers}. That is not equality: a difference of up to "
        f"{max(abs(low), abs(high)):.3g} could hide"
    )


def paired(
    y: np.ndarray,
    p_a: np.ndarray,
    p_b: np.ndarray,
    predicted_a: np.ndarray,
    predicted_b: np.ndarray,
    groups: Sequence[object] | np.ndarray | None = None,
) -> dict[str, Any]:
    """What :func:`compare` finds, from labels, probabilities of shape (n, n_classes) and predicted labels.

    The verdict rests on the permutation test over groups; with one image a group it is McNemar's.
    """
    right_a, right_b = predicted_a == y, predicted_b == y
    of_group = group_codes(groups, len(y))
    count = int(of_group.max()) + 1
    gains = right_a.astype(float) - right_b
    by_metric = differences(y, p_a, p_b, predicted_a, predicted_b, of_group)
    accuracy = by_metric["accuracy"]
    assert accuracy is not None
    comparison = {
        "n": len(y),
        "groups": count,
        "agreement": {
            "both_right": int((right_a & right_b).sum()),
            "only_a": int((gains > 0).sum()),
            "only_b": int((gains < 0).sum()),
            "both_wrong": int((~right_a & ~right_b).sum()),
        },
        "mcnemar": {"p": swapped(gains), "independent": count == len(y)},
        "differences": {name: _plain(one) for name, one in by_metric.items()},
        "shown": accuracy.p < 0.05,
    }
    return {**comparison, "verdict": _verdict(comparison, float(right_a.mean()), float(right_b.mean()))}


def _verdict(comparison: Mapping[str, Any], accuracy_a: float, accuracy_b: float) -> str:
    """One sentence that claims no more than was shown."""
    low, high = comparison["differences"]["accuracy"]["ci"]
    images = f"n = {comparison['n']} images"
    if not comparison["mcnemar"]["independent"]:
        images += f" of {comparison['groups']} groups"
        how = f"permutation test over groups p = {comparison['differences']['accuracy']['p']:.2g}"
    else:
        how = f"exact McNemar p = {comparison['mcnemar']['p']:.2g}"
    gap = f"A minus B {accuracy_a - accuracy_b:+.3f} ({low:+.3f} to {high:+.3f})"
    numbers = f"A {accuracy_a:.3f}, B {accuracy_b:.3f}, {gap}; {how}"
    if comparison["shown"]:
        better = "A" if accuracy_a > accuracy_b else "B"
        return (
            f"{better} is the more accurate on images like these: {numbers}, {images}. Of images from elsewhere it "
            "says nothing"
        )
    return (
        f"no difference in accuracy is shown on {images}: {numbers}. That is not equality: a difference of up to "
        f"{max(abs(low), abs(high)):.3f} could hide"
    )


def _warnings(
    bundles: tuple[Bundle, Bundle], seen: Sequence[int], features: Features, comparison: Mapping[str, Any]
) -> list[str]:
    texts = []
    for name, bundle, learnt in zip("AB", bundles, seen, strict=True):
        texts += [f"{name}: {text}" for text in bundle.warnings]
        if learnt:
            texts.append(
                f"{name} learnt from {learnt} of these {comparison['n']} images: they overestimate it, and any lead of "
                "it. Compare on images that neither has seen: --split test, or --data"
            )
    if "mcnemar" in comparison and not comparison["mcnemar"]["independent"]:
        texts.append(
            f"{comparison['n']} images are of {comparison['groups']} groups: McNemar's test takes images as "
            "independent, so its p is too small; the verdict and the intervals rest on a permutation test over groups"
        )
    counts = features.task.counts(features.y, features.classes)
    missing = [name for name, count in counts.items() if not count]
    if missing:
        texts.append(f"no images of {', '.join(missing)}: the metrics say nothing about it")
    return texts


def _on_the_same(
    a: Bundle, b: Bundle, images: Images, weights: str | None, cache: str | os.PathLike[str], skip_bad: bool
) -> tuple[Features, Features, int]:
    """Features of the images that both models can use, in one order, and how many neither or only one could."""
    dataset = images.dataset
    of_a, _ = bundle_features(a, images, weights, cache, skip_bad)
    of_b, _ = bundle_features(b, Images(dataset, b.task.judged(dataset).y), weights, cache, skip_bad)
    rows_b = {path: i for i, path in enumerate(of_b.paths)}
    both = [i for i, path in enumerate(of_a.paths) if path in rows_b]
    if not both:
        raise DataError(f"{dataset.root}: no image that both models can use")
    of_b = of_b.take([rows_b[of_a.paths[i]] for i in both])
    return of_a.take(both), of_b, len(dataset) - len(both)
