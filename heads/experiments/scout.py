"""``scout``: which network is worth the expensive run, told from few images where few are enough."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.extraction.extract_paths import extract_paths, refused
from featcache.extraction.request import ExtractionRequest
from featcache.features.pooled_rows import read_pooled
from featcache.store.store import Store
from featcache.system.write_access import require_writable

from ..evaluation.clusters import group_codes
from ..evaluation.elimination import Standing, standings
from ..evaluation.held_out_ridge import held_out_labels, whole_group_folds
from ..evaluation.splits import check_divisible
from .scouted_images import ScoutedImages, scouted_images
from .scouted_networks import Entry, entries
from .scouting_report import Scouted, report_of
from .scouting_rounds import scouting_rounds

_log = logging.getLogger(__name__)
Watch = Callable[[str], AbstractContextManager[tuple[Callable[..., None], Callable[[int], None]]]]


def scout(
    backbone: str | Sequence[str | os.PathLike[str]],
    data: str | os.PathLike[str] | None = None,
    *,
    task: str = "multiclass",
    classes: Sequence[str] | None = None,
    group_regex: str | None = None,
    weights: str = "imagenet",
    size: int | None = None,
    preprocess: str = "model",
    keep: str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    channels: int | None = None,
    order: str | None = None,
    resize: str | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    cache: str | os.PathLike[str] = "cache",
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Rank networks on few images first, and give more only to those that may still be the best.

    The first round looks at a tenth of the patients, at least ten of each class; the next ones at twice as many. In
    each, a ridge classifier on the averaged features is cross-validated with whole groups, and networks that are shown
    to be worse than the leader are stopped (:mod:`heads.evaluation.elimination`): a network that is as good as
    the best is stopped in 5% of runs or fewer. It ends when one is left, or all training images are used. Test images
    are never looked at. What is computed stays in the cache, and :func:`featcache.extract` goes on from it.

    Parameters
    ----------
    backbone : str or sequence of str or path
        Two or more, with commas between them or as a list: a name in the table, ``NAME@WEIGHTS`` where the weights are
        its own, a file of any other network, or the id of a feature set.
    data : str, path or None, optional
        Folder or manifest of the images; None takes that of the last extract, else the sample.
    task : {"binary", "multiclass"}, optional
        What is to be told apart; see :func:`featcache.load`.
    classes : sequence of str or None, optional
        Two or more class names, in place of the task's own.
    group_regex : str or None, optional
        Where in the file name the patient stands.
    weights : str, optional
        Of networks of the table that do not say theirs: ``imagenet``, ``random[:SEED]``, or a file.
    size : int or None, optional
        Side of the square input of all of them, in pixels; None is each one's own.
    preprocess : {"model", "rescale"}, optional
        Of networks of the table.
    keep : {"map", "avg"} or None, optional
        As in :func:`featcache.extract`; the ranking rests on the average in any case.
    mean, std, channels, order, resize, crop, interpolation : object, optional
        As in :func:`featcache.extract`, for networks that are not of the table and whose source does not say it.
    skip_bad : bool, optional
        Go on without images that cannot be decoded.
    seed : int, optional
        Of which patients come first, and the folds. Of data without a test part, the one that verbs with this seed set
        aside is left out here as well.
    cache : str or path, optional
        Folder of the store.
    watch : callable, optional
        Gives, for a network's name, a context of ``(on_start, on_progress)`` as :func:`featcache.extract` takes them.

    Returns
    -------
    dict of str to object
        ``rows``, those that may be the best first, each ``backbone weights feature_set score score_ci images patients
        status difference difference_ci p computed reused seconds images_per_second random_weights``: ``score`` is
        balanced accuracy, ``difference`` the leader's score minus its own on the images it was given, ``p`` corrected
        for all looks. ``said``, sentences; ``rounds`` (``images patients networks`` of each that was held); ``next``, a
        command for each that may be the best; ``task classes data images patients images_computed seconds
        seconds_saved warnings synthetic seed``.

    Raises
    ------
    UsageError
        Fewer than two networks, or an option that does not apply.
    DataError
        A class has images of one group only, or images cannot be used and are not to be skipped.
    WeightsError
        A network is not to be had.

    See Also
    --------
    featcache.extract : The expensive run.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import heads
    >>> from featcache.data.synthetic import write_sample
    >>> folder = Path(tempfile.mkdtemp())
    >>> images = write_sample(folder / "images", train=20, test=2)
    >>> result = heads.scout(["pixels", "mobilenet@random"], images, size=32, cache=folder / "cache")
    >>> sorted(row["backbone"] for row in result["rows"])
    ['mobilenet', 'pixels']
    >>> [a_round["images"] for a_round in result["rounds"]], result["images_computed"]
    ([40, 80], 160)
    """
    require_writable(cache)
    shared = ExtractionRequest(
        weights=weights,
        size=size,
        preprocess=preprocess,
        keep=keep,
        mean=mean,
        std=std,
        channels=channels,
        order=order,
        resize=resize,
        crop=crop,
        interpolation=interpolation,
    )
    with Store(cache) as store:
        asked = entries(backbone, shared, store)
        images = scouted_images(store, data, task, classes, group_regex, skip_bad, seed)
        race = _Race(store, images, {entry.name: Scouted(entry.name) for entry in asked}, skip_bad)
        for entry in asked:  # what is misspelt or missing fails before anything is computed
            race.meet(entry)
            race.networks[entry.name].command = entry.command(images.data)
        history = race.run(asked, watch or _unwatched, seed)
        return {**report_of(list(race.networks.values()), images, history, seed), "task": task}


@dataclass
class _Race:
    """The rounds of one scouting, and what each network has come to."""

    store: Store
    images: ScoutedImages
    networks: dict[str, Scouted]
    skip_bad: bool

    def meet(self, entry: Entry) -> None:
        """Note what an entry stands for."""
        resolved = entry.resolved(self.store, self.images.synthetic)
        network = self.networks[entry.name]
        network.weights, network.random_weights = resolved.spec.weights, resolved.spec.random_weights
        if network.random_weights:
            fallen = ", since ImageNet's are not to be had here" if resolved.fell_back else ""
            _log.warning("%s: RANDOM weights%s: it has learnt nothing, and its score says so", entry.name, fallen)

    def run(self, asked: Sequence[Entry], watch: Watch, seed: int) -> list[dict[str, int]]:
        """Hold the rounds; returns what each looked at."""
        of_group = self.images.of_group
        rounds = scouting_rounds(self.images.y, of_group, seed)
        usable = np.ones(len(self.images), bool)
        left, history = list(asked), []
        for number, rows in enumerate(rounds):
            groups = len(np.unique(of_group[rows]))
            _log.info(
                "scout: round %d of up to %d: %d images of %d groups, %d networks",
                *(number + 1, len(rounds), len(rows), groups, len(left)),
            )
            for entry in left:
                self._extract(entry, rows, usable, watch)
            rows = rows[usable[rows]]
            history.append({"images": len(rows), "patients": len(np.unique(of_group[rows])), "networks": len(left)})
            now = self._judged([entry.name for entry in left], rows, len(rounds), seed)
            for name, standing in now.items():
                network = self.networks[name]
                network.standing, network.images = standing, len(rows)
                network.patients = history[-1]["patients"]
                if standing.stopped:
                    _log.info("scout: %s is stopped after %d images", name, len(rows))
            left = [entry for entry in left if not now[entry.name].stopped]
            if len(left) == 1:
                break
        return history

    def _extract(self, entry: Entry, rows: np.ndarray, usable: np.ndarray, watch: Watch) -> None:
        """Have the features of these images in the store; what cannot be decoded is no longer usable."""
        paths = [self.images.paths[i] for i in rows if usable[i]]
        with watch(entry.name) as (on_start, on_progress):
            result = extract_paths(
                self.store,
                entry.resolved(self.store, self.images.synthetic),
                paths,
                synthetic=self.images.synthetic,
                on_start=on_start,
                on_progress=on_progress,
            )
        self.networks[entry.name].add(result)
        if result.bad and not self.skip_bad:
            raise refused(result)
        bad = {image.path for image in result.bad}
        usable[[i for i in rows if self.images.paths[i] in bad]] = False

    def _judged(self, names: Sequence[str], rows: np.ndarray, rounds: int, seed: int) -> dict[str, Standing]:
        """How the networks stand on these images."""
        images = self.images.take(rows)
        check_divisible(images.y, images.groups, images.classes, 2, "scouting")
        of_group = group_codes(images.groups, len(images))
        folds = whole_group_folds(images.y, of_group, seed)
        predicted = {
            name: held_out_labels(
                read_pooled(self.store, self.networks[name].feature_set, images.keys, "avg"), images.y, folds
            )
            for name in names
        }
        return standings(images.y, predicted, of_group, rounds, len(self.networks))


def _unwatched(backbone: str) -> Any:
    return nullcontext(((lambda plan: None), (lambda done: None)))
