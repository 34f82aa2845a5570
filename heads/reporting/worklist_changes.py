"""What became of an earlier worklist: which rows are done, and the value before and after, on the images of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from featcache.data.dataset import Dataset

from ..evaluation.clusters import group_codes
from ..evaluation.intervals import mean_interval
from .run_reader import Collected, Place
from .worklist_facts import Facts, facts_of
from .worklist_rows import WorklistRow
from .worklist_sources import Worklist, worklist_of

_SHARED = 0.5  # of the images there are now, that must have been there before: else it is other data


@dataclass(frozen=True)
class BeforeAfter:
    """What heads reached before and after.

    Attributes
    ----------
    title : of the metric.
    stated : both as they stand, each on its own test images, and how many these are.
    same : both on the test images of both, judged by the labels of today; ``n`` of them.
    difference, interval : after minus before on these; the interval over patients, None of one patient.
    relabelled : how many of these have another label than before.
    """

    title: str
    stated: tuple[tuple[float, int], tuple[float, int]]
    same: tuple[float, float]
    n: int
    difference: float
    interval: tuple[float, float] | None
    relabelled: int


@dataclass(frozen=True)
class Changes:
    """What is other than it was.

    Attributes
    ----------
    data : what was looked at before.
    left_out, added : paths that are not, or not yet, among the images of the other.
    relabelled : path, the label before, and the label now.
    done : rows of which an image was left out or relabelled, and which are gone.
    gone : rows that are gone without.
    still : rows that are there now as before.
    new : rows that were not there before.
    unsaid : rows of sources that were not run again.
    value : None where not both have answers on some image of both tests.
    """

    data: str
    left_out: list[str]
    added: list[str]
    relabelled: list[tuple[str, str, str]]
    done: list[WorklistRow] = field(default_factory=list)
    gone: list[WorklistRow] = field(default_factory=list)
    still: list[WorklistRow] = field(default_factory=list)
    new: list[WorklistRow] = field(default_factory=list)
    unsaid: list[WorklistRow] = field(default_factory=list)
    value: BeforeAfter | None = None

    @property
    def images(self) -> str:
        """What became of the images, in words."""
        told = [
            f"{len(self.left_out):,} left out" if self.left_out else "",
            f"{len(self.relabelled):,} relabelled" if self.relabelled else "",
            f"{len(self.added):,} added" if self.added else "",
        ]
        return ", ".join(filter(None, told)) or "none left out, relabelled or added"


def changes_since(
    now: Facts, worklist: Worklist, cache: Place, before: Sequence[Collected] = (), audits: Sequence[Place] = ()
) -> Changes | None:
    """What changed since runs on an earlier version of the data; None where there are none.

    An earlier version is other data that has at least half of today's images, path by path. The newest such is taken.

    Parameters
    ----------
    now, worklist : of today's runs.
    cache : knows how the data is read.
    before : earlier runs, in whose order a version is looked for; then those that lie beside today's.
    audits : folders of audits elsewhere.
    """
    if now.dataset is None:
        return None
    for earlier in _candidates(now.collected, before, audits):
        if earlier.data == now.collected.data:
            continue
        then = facts_of(earlier, cache)
        if then.dataset is None:
            continue
        shared = set(now.dataset.paths) & set(then.dataset.paths)
        if len(shared) >= _SHARED * len(now.dataset):
            return _compared(then, then.dataset, now, now.dataset, worklist)
    return None


def _candidates(collected: Collected, before: Sequence[Collected], audits: Sequence[Place]) -> Iterator[Collected]:
    yield from before
    for data in dict.fromkeys(run.data for run in collected.left_out):
        yield collected.on(data, audits)


def _compared(then: Facts, was: Dataset, now: Facts, is_: Dataset, worklist: Worklist) -> Changes:
    left_out = [path for path in was.paths if path not in now.labels]
    relabelled = [
        (path, then.labels[path], label)
        for path, label in now.labels.items()
        if path in then.labels and then.labels[path] != label
    ]
    touched = {*left_out, *(path for path, _, _ in relabelled)}
    unsaid = {name for names in worklist.not_looked_for.values() for name in names}
    today = {row.key for row in worklist.rows}
    sorted_: dict[str, list[WorklistRow]] = {"done": [], "gone": [], "still": [], "unsaid": []}
    earlier = worklist_of(then).rows
    for row in earlier:
        if row.key in today:
            kind = "still"
        elif touched & set(row.images):
            kind = "done"
        else:
            kind = "unsaid" if row.source in unsaid else "gone"
        sorted_[kind].append(row)
    known = {row.key for row in earlier}
    return Changes(
        then.collected.data,
        left_out,
        [path for path in is_.paths if path not in then.labels],
        relabelled,
        **sorted_,
        new=[row for row in worklist.rows if row.key not in known],
        value=_before_after(then, now, is_, {path for path, _, _ in relabelled}),
    )


def _before_after(then: Facts, now: Facts, dataset: Dataset, relabelled: set[str]) -> BeforeAfter | None:
    """Both heads' answers on the images of both tests, judged by the labels of today."""
    counted, names = now.counted, now.main.classes
    shared = [path for path in dataset.paths if path in now.losses and path in then.test]
    if not shared or (then.main.kind, set(then.main.classes)) != (now.main.kind, set(names)):
        return None
    before = np.array([counted.loss(now.test[path], then.test[path], names) for path in shared])
    after = np.array([now.losses[path] for path in shared])
    groups = dict(zip(dataset.paths, dataset.groups, strict=True))
    codes = group_codes([groups[path] for path in shared], len(shared))
    gained = before - after if counted.share else after - before
    means = [float(np.mean(list(one.losses.values()))) for one in (then, now)]
    return BeforeAfter(
        counted.metric,
        ((counted.value(means[0]), len(then.losses)), (counted.value(means[1]), len(now.losses))),
        (counted.value(float(before.mean())), counted.value(float(after.mean()))),
        len(shared),
        float(gained.mean()),
        mean_interval(gained, codes) if codes.max() else None,
        len(relabelled & set(shared)),
    )
