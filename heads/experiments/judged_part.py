"""The test part of a run: whether its metrics may be shown, and the look that is noted before they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featcache.features.labelled_features import Features

from ..evaluation.kept_answers import FILE, write_kept_answers
from ..evaluation.splits import Partition
from ..vault.locks import hidden, locked, require_division, require_unlocked
from ..vault.looks import Shown, look


def sealed_part(
    features: Features, parts: Partition, cache: str | os.PathLike[str], final: bool
) -> dict[str, Any] | None:
    """Why the metrics of the test part are not shown (:class:`heads.vault.locks.Hidden`); None where they are.

    Raises :class:`UsageError` where the other parts hold locked images.
    """
    require_division(cache, [features.keys[i] for i in np.concatenate([parts.train, parts.val])])
    return None if final else hidden(locked(cache, [features.keys[i] for i in parts.test]))


def require_shown(
    cache: str | os.PathLike[str],
    features: Features,
    sealed: Any,
    *,
    dividing: Mapping[str, bool],
    showing: Mapping[str, bool],
) -> None:
    """Raise :class:`UsageError` where an option would show metrics of locked images, or learn from them.

    Parameters
    ----------
    cache, features : whose locks, and the images.
    sealed : as of :func:`sealed_part`.
    dividing, showing : options that divide all images anew, and those that show metrics of the test part; whether each
        was asked for.
    """
    for option in (name for name, asked in dividing.items() if asked):
        require_unlocked(
            cache,
            features.keys,
            f"{option} divides all images anew, so that these would be learnt from and judged by",
            f"Leave {option} out",
        )
    for option in (name for name, asked in showing.items() if asked and sealed):
        require_unlocked(
            cache,
            features.keys,
            f"{option} shows metrics of them",
            f"Leave {option} out, or ask for the final look with --final",
        )


def look_at_test(
    folder: Path,
    verb: str,
    features: Features,
    test: np.ndarray,
    answers: Mapping[str, np.ndarray],
    *,
    cache: str | os.PathLike[str],
    threshold: Any = None,
    final: bool = False,
    sealed: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Note that metrics of the test part are about to be shown, and keep what each model answered.

    Parameters
    ----------
    folder : of the run.
    verb : name.
    features, test : the rows, and positions of those that are judged by.
    answers : by model, what it gives those.
    cache : whose notes.
    threshold : as in :mod:`heads.evaluation.task_metrics`.
    final, sealed : as of :func:`sealed_part`; sealed ones are neither noted nor kept.

    Returns
    -------
    ``look``, or None, and ``hidden`` where the metrics are not shown; for ``run.json``.
    """
    if sealed is not None:
        return {"look": None, "hidden": sealed}
    keys = [features.keys[i] for i in test]
    found = look(cache, keys, Shown(verb, folder.name, features.task.name, answers), final)
    write_kept_answers(folder / FILE, features, test, answers, threshold)
    return {"look": found}
