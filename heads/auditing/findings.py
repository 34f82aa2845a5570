"""What an audit finds in images it has looked at, as the plain values that ``run.json`` holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featcache.data.dataset import Dataset

from ..evaluation.splits import merged
from .audited_images import AuditedImages, whole_groups
from .audited_targets import AuditedTargets
from .confounding import absent, confounded, set_differences
from .leakage import FOLDS, leak_inflation
from .metadata_probes import of_interest
from .near_duplicates import Pair, exact_duplicates, merged_groups, near_duplicates
from .shortcut_probes import Answer, answers_of, shortcuts
from .unfit_images import FAULTS, unfit
from .without_shortcuts import without_shortcuts

_ROWS = 5000  # that probes learn from at most: more change no verdict
_GRAVE = ("label conflict", "across splits")  # kinds of pairs, what misleads most first


def examine(
    images: AuditedImages, targets: AuditedTargets, features: np.ndarray | None, seed: int
) -> tuple[dict[str, Any], list[Pair]]:
    """What is found in one set of images, and the pairs that show one exposure, copies of a file among them.

    Parameters
    ----------
    images : two or more.
    targets : of these images.
    features : array of shape (n, d), of which the first rows are those of these images; or None.
    seed : of folds and forests.
    """
    dataset, summaries = images.dataset, images.summaries
    mine = None if features is None else features[: len(images.keys)]
    copies = exact_duplicates(images.keys)
    near = _pairs_once(images, copies, mine, seed)
    pairs = near + [Pair(group[0], position, 1.0) for group in copies for position in group[1:]]
    groups = merged_groups(dataset.groups, [(pair.a, pair.b) for pair in pairs])
    task, y, names = targets.task, targets.y, targets.names
    faults = unfit(dataset.paths, images.properties, images.measured, images.sketches.cells)
    described = [_described(dataset, pair, targets) for pair in near]
    columns = of_interest(dataset, task, names)
    some = np.sort(np.random.default_rng(seed).permutation(len(summaries))[:_ROWS])
    answers = answers_of(
        [summaries[row] for row in some],
        task,
        y[some],
        names,
        np.asarray(groups, str)[some],
        {name: column[some] for name, column in columns.items()},
        seed,
    )
    probes = shortcuts(answers, task, seed)
    same = {probe["probe"] for probe in probes if probe["names_label"]}
    findings = {
        "per_split": _per_split(dataset, targets),
        "duplicates": [_copies(dataset, group, targets) for group in copies],
        "near_duplicates": described,
        "split_leaks": {
            "duplicates": sum(len({dataset.splits[i] for i in group}) > 1 for group in copies),
            "near_duplicates": sum(pair["splits"][0] != pair["splits"][1] for pair in described),
        },
        "group_leaks": _group_leaks(dataset),
        "shortcuts": probes,
        "without_shortcuts": None if mine is None else _without(mine[some], answers, probes, seed),
        "confounding": confounded(columns, task, y, names, groups, seed),
        "absent": absent({name: columns[name] for name in columns if name not in same}, task, y, names, groups),
        "leak_inflation": _leak_inflation(images, targets, mine, groups, seed),
        "unreadable": [{"path": image.path, "reason": image.reason} for image in images.bad],
        "quality": _quality(faults),
        "unfit": faults,
        "against": None,
    }
    return findings, pairs


def compare_sets(
    own: AuditedImages,
    other: AuditedImages,
    targets: AuditedTargets,
    others: AuditedTargets,
    features: np.ndarray | None,
    name: str,
    seed: int,
) -> dict[str, Any]:
    """What two sets share, and what their metadata differ in.

    Parameters
    ----------
    own, other : the images of both.
    targets, others : what is learnt of them.
    features : of both, one after the other, or None.
    name : of the second set.
    seed : of permutations.
    """
    pairs = near_duplicates(
        own.summaries + other.summaries, own.sketches + other.sketches, features, len(own.summaries), seed
    )
    mine, theirs = (of_interest(images.dataset, targets.task, targets.names) for images in (own, other))
    return {
        "data": name,
        "images": len(other.summaries),
        "near_duplicates": [_described(own.dataset, pair, targets, other.dataset, others) for pair in pairs],
        "shared_images": len({pair.b for pair in pairs}),
        "metadata": set_differences(mine, theirs, own.dataset.groups, other.dataset.groups, seed),
    }


def gravest_first(pairs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Near-duplicates, what misleads most first: labels in conflict, across splits, the rest; each by similarity."""

    def rank(pair: Mapping[str, Any]) -> tuple[int, float]:
        kind = pair.get("kind")
        return _GRAVE.index(kind) if kind in _GRAVE else len(_GRAVE), -pair["similarity"]

    return sorted(pairs, key=rank)


def _pairs_once(
    images: AuditedImages, copies: Sequence[Sequence[int]], features: np.ndarray | None, seed: int
) -> list[Pair]:
    """Near-duplicates, of copies of one file the first alone: all would pair up else."""
    again = {position for group in copies for position in group[1:]}
    once = np.array([position for position in range(len(images.keys)) if position not in again])
    own = None if features is None else features[once] if again else features
    pairs = near_duplicates(images.summaries.take(once), images.sketches.take(once), own, seed=seed)
    return [Pair(int(once[pair.a]), int(once[pair.b]), pair.similarity, pair.how) for pair in pairs]


def _leak_inflation(
    images: AuditedImages, targets: AuditedTargets, features: np.ndarray | None, groups: Sequence[str], seed: int
) -> dict[str, Any] | None:
    """How much torn groups overestimate, by features or small pictures; of many images by some, groups whole."""
    some = whole_groups(groups, _ROWS, seed)
    if len(some) < 2:
        return None
    if features is None:
        rows = np.stack([images.summaries[row].square[::4, ::4].ravel() for row in some]).astype(np.float32)
    else:
        rows = features[some]
    return leak_inflation(rows, _strata(targets, groups)[some], np.asarray(groups, str)[some], seed)


def _without(
    X: np.ndarray, answers: Sequence[Answer], probes: Sequence[Mapping[str, Any]], seed: int
) -> dict[str, Any] | None:
    """What is left of a score without the probes that are flagged and see no subject; of classes alone."""
    given = {}
    for answer, probe in zip(answers, probes, strict=True):
        if probe["flag"] and not probe["disease_shows"] and probe["measure"] == "balanced accuracy":
            given[answer.probe] = np.full((len(X), answer.given.shape[1]), np.nan)
            given[answer.probe][answer.question.rows] = answer.given
    if not given:
        return None
    whole = next(answer.question for answer in answers if len(answer.question.y) == len(X))
    return without_shortcuts(X, whole.y, whole.groups, given, seed)


def _strata(targets: AuditedTargets, groups: Sequence[str]) -> np.ndarray:
    """What torn groups may help to tell: classes; of labels each image's rarest, of a number its fifth."""
    strata = targets.task.strata(targets.y)
    if targets.task.kind == "classes" or len(set(groups)) < FOLDS:
        return strata
    return merged(strata, np.asarray(groups, str), FOLDS)


def _quality(faults: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Paths by what is wrong with the image."""
    quality: dict[str, list[str]] = {fault.replace(" ", "_"): [] for fault in FAULTS}
    for one in faults:
        quality[one["fault"].replace(" ", "_")].append(one["path"])
    return quality


def _copies(dataset: Dataset, group: Sequence[int], targets: AuditedTargets) -> dict[str, Any]:
    return {
        "paths": [dataset.paths[i] for i in group],
        "labels": [targets.told[i] for i in group],
        "splits": [dataset.splits[i] for i in group],
        "conflict": any(targets.conflict(group[0], targets, i) for i in group[1:]),
    }


def _described(
    a: Dataset, pair: Pair, targets: AuditedTargets, b: Dataset | None = None, others: AuditedTargets | None = None
) -> dict[str, Any]:
    """A pair in words; ``b`` and ``others`` where the second is of another set."""
    within = b is None
    b, second = (a, pair.b) if b is None else (b, pair.b - len(a))
    others = targets if others is None else others
    splits = [a.splits[pair.a], b.splits[second]]
    apart = "in both sets" if not within else "across splits" if splits[0] != splits[1] else "same class"
    return {
        "a": a.paths[pair.a],
        "b": b.paths[second],
        "similarity": round(pair.similarity, 4),
        "how": pair.how,
        "labels": [targets.told[pair.a], others.told[second]],
        "splits": splits,
        "groups": [a.groups[pair.a], b.groups[second]],
        "kind": "label conflict" if targets.conflict(pair.a, others, second) else apart,
    }


def _group_leaks(dataset: Dataset) -> list[dict[str, Any]]:
    """Groups whose images stand in several splits."""
    splits: dict[str, set[str]] = {}
    for group, split in zip(dataset.groups, dataset.splits, strict=True):
        splits.setdefault(group, set()).add(split)
    sizes = Counter(dataset.groups)
    return [
        {"group": group, "splits": sorted(of_group), "images": sizes[group]}
        for group, of_group in splits.items()
        if len(of_group) > 1
    ]


def _per_split(dataset: Dataset, targets: AuditedTargets) -> dict[str, dict[str, int]]:
    """Images of each class, or with each label, in each split."""
    splits = np.asarray(dataset.splits, object)
    return {
        str(split) or "all": {
            name: count
            for name, count in sorted(targets.task.counts(targets.y[splits == split], targets.names).items())
            if count
        }
        for split in sorted(set(splits))
    }
