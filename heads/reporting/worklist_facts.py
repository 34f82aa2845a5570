"""What the sources of a worklist look at: the runs, the images, and what a head said of each test image."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data import filesystems
from featcache.data.data_source import DataSource
from featcache.data.dataset import Dataset, open_dataset
from featcache.errors import DataError, FeatcacheError
from featcache.store.last_extract import LastExtract
from featcache.system.user_paths import expanded

from ..evaluation.listing import first_few
from .run_reader import Collected, Place, Run
from .worklist_answers import COUNTED, Cells, Counted
from .worklist_rows import NOT_KNOWN, Stake

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Facts:
    """What is known of one dataset.

    Attributes
    ----------
    collected : the runs on it, and what belongs to them.
    main : the run whose task the values are of: the newest that kept what it said of each image, else the newest.
    dataset : the images; None where they cannot be read any more, and ``missing`` says why.
    test : of each test image the row of ``predictions.csv``; empty where no run kept any.
    losses : how wrong each of these answers is.
    parts : which part each image was in, as far as that is known.
    n : test images; ``images``, all.
    labels : what each image stands as.
    moved : by how many points the ridge's value on test changes without each patient, or other group, in training, for
        each image of the patient; empty where that was not measured.
    """

    collected: Collected
    main: Run
    dataset: Dataset | None
    missing: str
    test: Mapping[str, Cells]
    losses: Mapping[str, float]
    parts: Mapping[str, str]
    n: int
    images: int
    labels: Mapping[str, str] = field(default_factory=dict)
    moved: Mapping[str, float] = field(default_factory=dict)

    @property
    def counted(self) -> Counted:
        """How the main run's kind of task is counted."""
        return COUNTED[self.main.kind]

    @property
    def answers(self) -> int:
        """Answers that the test's value is made of: an image each, of several labels a known label each."""
        known = [label["n"] for label in _test_of(self.main).get("labels", {}).values()]
        return sum(known) or self.n

    @property
    def mean(self) -> float | None:
        """Mean loss on test: by the answers, else of classes by the accuracy that a run states."""
        if self.losses:
            return float(np.mean(list(self.losses.values())))
        accuracy = _test_of(self.main).get("accuracy")
        return None if accuracy is None else 1 - float(accuracy)

    def part(self, path: str, said: str = "") -> str:
        """The part that an image was in; ``said`` is what a run says of it."""
        return self.parts.get(path) or said

    def share(self, paths: Collection[str]) -> float:
        """The share of the test images that these are; where parts are not known, of all images."""
        if self.parts:
            there = sum(self.parts.get(path) == "test" for path in set(paths))
            return there / self.n if self.n else 0.0
        return len(set(paths)) / self.images if self.images else 0.0

    def excess(self, paths: Collection[str]) -> Stake:
        """By how much the value is too good if these test images are easier than they should be.

        The share of the test that they are, times by how much less wrong the answers on them are than on the others.
        Without answers image by image a bound: that those on these are all right.
        """
        share, mean = self.share(paths), self.mean
        if not share:
            return self._nothing
        of_these = [self.losses[path] for path in set(paths) if path in self.losses]
        if of_these and len(of_these) < len(self.losses) and mean is not None:
            total = mean * len(self.losses)
            others = (total - sum(of_these)) / (len(self.losses) - len(of_these))
            gained = share * max(0.0, others - float(np.mean(of_these)))
            return Stake(self.counted.points(gained, mean), "estimate")
        if not self.counted.share or mean is None:
            return NOT_KNOWN
        most = 1 - mean if share >= 1 else min(share, share * mean / (1 - share))
        return Stake(100 * most, "at most")

    def change(self, paths: Collection[str]) -> Stake:
        """By how much the value changes when these test images are left out; a bound without answers."""
        share, mean, gone = self.share(paths), self.mean, set(paths)
        if not share:
            return self._nothing
        rest = [loss for path, loss in self.losses.items() if path not in gone]
        if rest and mean is not None and len(rest) < len(self.losses):
            return Stake(self.counted.points(abs(float(np.mean(rest)) - mean), mean), "estimate")
        return Stake(100 * min(1.0, share), "at most") if self.counted.share else NOT_KNOWN

    @property
    def _nothing(self) -> Stake:
        """What hangs on images of which none is tested, as far as that is known."""
        return Stake(0.0, "estimate") if self.parts or self.images else NOT_KNOWN

    def name(self, path: str) -> str:
        """A path as it stands in the data."""
        root = self.collected.data
        base = root if not filesystems.is_url(root) and os.path.isdir(root) else os.path.dirname(root)
        if base and not filesystems.is_url(path) and path.startswith(base.rstrip(os.sep) + os.sep):
            return os.path.relpath(path, base)
        return path

    def of_group(self, group: str) -> tuple[str, ...]:
        """The images of a patient or other group."""
        return tuple(self._groups.get(group, ()))

    @cached_property
    def _groups(self) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        if self.dataset is not None:
            for path, group in zip(self.dataset.paths, self.dataset.groups, strict=True):
                groups.setdefault(group, []).append(path)
        return groups


def facts_of(collected: Collected, cache: Place) -> Facts:
    """Read what a worklist needs, as far as it is there; what is missing or damaged is done without."""
    dataset, missing = _open(collected.data, cache)
    main, rows = _kept_answers(collected)
    test = {row["path"]: row for row in rows if row["part"] == "test"}
    losses = _losses(main, test)
    parts = {row["path"]: row["part"] for row in rows}
    if dataset is not None and parts and not set(parts) & set(dataset.paths):
        dataset, missing = None, f"{collected.data} names none of the images that {main.folder.name} is about any more"
    if dataset is not None:
        given = dict(zip(dataset.paths, dataset.splits, strict=True))
        parts = {path: split for path, split in given.items() if split} | parts
    return Facts(
        collected,
        main,
        dataset,
        missing,
        test if losses else {},
        losses,
        parts,
        len(losses) or int(_test_of(main).get("n") or 0),
        len(dataset) if dataset is not None else int(main.about.get("images") or 0),
        {} if dataset is None else dict(zip(dataset.paths, dataset.labels, strict=True)),
        _moved(influence_of(collected)),
    )


def influence_of(collected: Collected) -> tuple[Run, Mapping[str, Any]] | None:
    """The newest run that measured what each patient does to the ridge, and what it says of that."""
    runs = (run for run in collected.runs if run.verb == "baselines" and run.about.get("influence"))
    return next(((run, run.about["influence"]) for run in runs), None)


def influence_points(told: Mapping[str, Any], change: float) -> float:
    """A change of the ridge's value in points."""
    points = 100 * abs(change)
    if told["metric"] == "mae":
        return points / told["value"] if told["value"] else 0.0
    return points


def _moved(found: tuple[Run, Mapping[str, Any]] | None) -> dict[str, float]:
    if found is None:
        return {}
    run, told = found
    moved: dict[str, float] = {}
    for row in _table(run, "influence.csv"):
        with contextlib.suppress(KeyError, ValueError):
            moved[row["group"]] = influence_points(told, float(row["change"])) / max(1, int(row["images"]))
    return moved


def _open(data: str, cache: Place) -> tuple[Dataset | None, str]:
    """The images without what stands in their headers, which a manifest does not repeat; or why there are none."""
    last = LastExtract(expanded(cache).absolute() / "last-extract.json").read()
    source = DataSource(data, headers=False)
    if last.get("data") == data:
        source = DataSource(data, last.get("group_regex"), last.get("images"), last.get("metadata", ()), False)
    if not data:
        return None, "the runs do not say which images they are of"
    try:
        return open_dataset(source), ""
    except (FeatcacheError, OSError, ValueError) as error:
        _log.debug("worklist: %s", error)
        return None, str(error)


def _kept_answers(collected: Collected) -> tuple[Run, list[dict[str, str]]]:
    """The newest run that kept what it said of each image, of the newest run's task first; and what it kept."""
    newest = collected.runs[0]
    alike = sorted(collected.runs, key=lambda run: (run.kind, run.classes) != (newest.kind, newest.classes))
    for run in alike:
        if run.verb != "fit-head":
            continue
        rows = _table(run, "predictions.csv")
        if rows and {"path", "part"} <= rows[0].keys():
            return run, rows
    return newest, []


def _table(run: Run, name: str) -> list[dict[str, str]]:
    """A table of a run; none where it is damaged, which is no reason to have no page."""
    try:
        return run.table(name)
    except DataError as error:
        _log.warning("worklist: %s", error)
        return []


def _losses(main: Run, test: Mapping[str, Cells]) -> dict[str, float]:
    counted = COUNTED[main.kind]
    try:
        losses = {path: counted.loss(row, row, main.classes) for path, row in test.items()}
    except (KeyError, ValueError) as error:
        _log.warning("%s: predictions.csv is of another task (%r); the worklist goes without it", main.folder, error)
        return {}
    return {path: loss for path, loss in losses.items() if loss == loss}


def _test_of(run: Run) -> Mapping[str, Any]:
    return run.tests[0] if run.tests else {}


def some(facts: Facts, paths: Iterable[str], most: int = 3) -> str:
    """A few of the images by name, and how many more there are."""
    return first_few([Path(filesystems.name_of(path)).name for path in paths], most)
