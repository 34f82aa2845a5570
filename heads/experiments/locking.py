"""``lock_test``: lock the test part of a division, so that its metrics are shown only when asked for as final."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from featcache.data.tasks import Task, as_task
from featcache.features.feature_request import FeatureRequest
from featcache.system.timer import Stopwatch

from ..vault.locks import lock
from ..vault.looks import looks_at
from ..vault.notes import read_notes
from .training_data import training_data


def lock_test(
    task: str | Task = "multiclass",
    *,
    backbone: str | None = None,
    classes: Sequence[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    seed: int = 0,
    audit: bool = False,
) -> dict[str, Any]:
    """Lock the test images of a division, by their bytes.

    From then on, in this cache, no verb trains on them, and none shows their metrics unless it is asked to with
    ``final``, which is noted. The lock is a note; nothing takes it back.

    Parameters
    ----------
    task : {"binary", "multiclass"} or Task, optional
        What is to be learnt; see :func:`featcache.load`.
    backbone : str, optional
        A backbone, or the id of a feature set, by which the images are found; None takes the one extracted last.
    classes : sequence of str, optional
        Two or more class names, in place of the task's own.
    data : str or path, optional
        Folder or manifest of the images; None takes that of the last extract.
    group_regex : str, optional
        Where in the file name the patient stands.
    cache : str or path, optional
        Folder of the store.
    seed : int, optional
        Of parts that the data does not give: the images are divided as :func:`fit_head` does with this seed.
    audit : bool, optional
        As in :func:`fit_head`; it joins copies, and so decides the division, too.

    Returns
    -------
    dict of str to object
        ``images``, how many are locked; ``per_part``, of each part how many; ``made``, parts that the data did not
        give; ``again``, whether they were locked before; ``looks``, how many looks at them there were; ``lock``, the
        note's digest; ``when``; ``warnings`` of the audit.

    Raises
    ------
    DataError
        No features, or a class that is missing from a part or cannot be divided.
    UsageError
        The division would learn from images that are locked already.
    StoreError
        The cache cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import featcache
    >>> from featcache.data.synthetic import write_sample
    >>> from heads import grid, lock_test
    >>> folder = Path(tempfile.mkdtemp())
    >>> images = write_sample(folder / "images", train=5, test=2)
    >>> extracted = featcache.extract(images, "pixels", size=8, cache=folder / "cache")
    >>> lock_test(backbone="pixels", cache=folder / "cache")["images"]
    8
    >>> options = {"backbone": "pixels", "cv": 2, "cache": folder / "cache", "out": folder / "run"}
    >>> result = grid(model="knn", params={"n_neighbors": [1, 3]}, **options)
    >>> result["test"], result["hidden"]["locked"]
    (None, 8)
    """
    learns = as_task(task, classes)
    request = FeatureRequest(
        backbone=backbone, task=learns, pooling="flatten", data=data, group_regex=group_regex, cache=cache, stream=True
    )
    divided = training_data(request, audit=audit, seed=seed, watch=Stopwatch())
    features, parts = divided.features, divided.parts
    keys = [features.keys[i] for i in parts.test]
    looks = len(looks_at(cache, read_notes(cache), keys))
    note, again = lock(cache, keys, f"seed {seed}", learns.name)
    return {
        "images": len(set(keys)),
        "per_part": {name: len(rows) for name, rows in parts.parts().items()},
        "made": list(parts.made),
        "again": again,
        "looks": looks,
        "lock": note["digest"],
        "when": note["when"],
        "warnings": list(divided.warnings),
        "synthetic": features.synthetic,
    }
