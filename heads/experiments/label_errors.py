"""``label_errors``: labels that are probably wrong, told by models that did not learn from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from featcache.data.tasks import Task, about_task, as_task
from featcache.errors import UsageError
from featcache.features.feature_request import FeatureRequest
from featcache.features.labelled_features import Features
from featcache.system.timer import Stopwatch

from ..auditing.audit import audited
from ..auditing.audit_record import linked_pairs
from ..evaluation.run_folder import require_out, run_folder, stamp
from ..vault.locks import require_unlocked
from .baseline_search import ModelRows, model_rows
from .out_of_fold import HeldOutModel, chosen_models, out_of_fold
from .suspect_files import write_suspects
from .suspects import QUESTIONS, Suspects, find_suspects
from .training_data import load_for

# None of the four ranked flipped labels of real radiographs better than all of them together, and each is quick.
MODELS = ("logistic", "knn", "lda", "dense")
_WORTH_A_WORD = 0.03  # share of the labels


def label_errors(
    task: str | Task = "multiclass",
    *,
    backbone: str | None = None,
    pooling: str = "flatten",
    classes: Sequence[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    models: Sequence[str] = MODELS,
    cv: int = 5,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    audit: bool = False,
    on_model: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Name the labels that are probably wrong, and estimate how many there are.

    Several models are fitted on all folds but one, patients whole, and asked about that one, so that none has learnt
    from the label it is asked about. Their mean probabilities are weighed by confident learning
    (:mod:`heads.evaluation.confident_learning`). Copies of one image with different labels come first: there, one
    label is wrong for certain.

    A model that cannot tell two classes apart doubts labels that are right. The estimate counts these too, so it is
    rather too high, and a suggestion is a reason to look, not a correction.

    Parameters
    ----------
    task : {"binary", "multiclass"} or Task, optional
        What the labels are of; see :func:`featcache.load`. Of several labels each is asked for by itself, on the images
        of which it is known.
    backbone : str, optional
        A backbone, or the id of a feature set; None takes the one extracted last.
    pooling : {"flatten", "avg", "max", "cls"}, optional
        How a map becomes a row. The head learns from averages in place of ``flatten``, which is quicker.
    classes : sequence of str, optional
        Two or more class names, in place of the task's own.
    data : str or path, optional
        Folder or manifest of the images; None takes that of the last extract. All of them are asked about, whatever
        part they are in.
    group_regex : str, optional
        Where in the file name the patient stands.
    cache : str or path, optional
        Folder of the store.
    models : sequence of str, optional
        Names in the task's table of :data:`heads.experiments.baseline_models.TABLES`, and ``dense``, the head.
    cv : int, optional
        Folds; classes in proportion, groups whole.
    seed : int, optional
        Of the folds and the models.
    out : str or path, optional
        Folder for ``suspects.csv``, ``suspects.png``, the first ones as pictures, and ``run.json``; None makes one in
        ``runs``.
    audit : bool, optional
        As in :func:`heads.fit_head`. Near-copies are known where an audit found them; copies of a file always are.
    on_model : callable, optional
        Called with the row of each model as it is done.

    Returns
    -------
    dict of str to object
        ``suspects``, what is surest first, each ``path label suggested score reason``, ``about`` (of several labels
        which one), ``part group copy`` (an image that shows the same and is labelled as suggested) and ``models`` and
        ``neighbours`` (so many of so many that say what is suggested). ``score``, from 0 to 1, is 1 minus the mean
        probability that the models give the label; of copies, the share that the suggested label has of the
        probability of the two. ``estimated_wrong``, so many of ``labels``; ``pairs``, which class is taken for which;
        ``models``, each ``name test best_params seconds`` with its metrics on images that it did not learn from;
        ``left_out``, labels of which there is too little to say; ``warnings`` and more, as ``run.json`` holds it.

    Raises
    ------
    DataError
        No features, or a class has fewer groups than folds.
    UsageError
        A task whose targets are numbers, or an unknown model.

    See Also
    --------
    audit : Finds the copies, and what else misleads.

    Examples
    --------
    Of forty images, one stands in the wrong folder:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> import featcache, heads
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for number in range(40):
    ...     label, bright = (("left", np.s_[:, :8]), ("right", np.s_[:, 8:]))[number % 2]
    ...     pixels = rng.normal(60, 20, (16, 16))
    ...     pixels[bright] += 100
    ...     place = folder / "images" / ("left" if number == 7 else label) / f"{number}.png"
    ...     place.parent.mkdir(parents=True, exist_ok=True)
    ...     Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place)
    >>> extracted = featcache.extract(folder / "images", "pixels", size=8, cache=folder / "cache")
    >>> options = {"backbone": "pixels", "models": ["logistic", "knn"], "cache": folder / "cache"}
    >>> result = heads.label_errors(**options, out=folder / "run")
    >>> [(Path(one["path"]).name, one["label"], one["suggested"]) for one in result["suspects"]]
    [('7.png', 'left', 'right')]
    >>> result["estimated_wrong"]
    1
    """
    learns = as_task(task, classes)
    if learns.kind not in QUESTIONS:
        raise UsageError(
            f"task {learns.name}: its targets are numbers, of which no other one is meant; expected binary, multiclass "
            "or multilabel. Predictions far from a number stand in predictions.csv of fit-head --cv"
        )
    baselines, with_head = chosen_models(models, learns)
    require_out(out)
    watch = Stopwatch()
    request = FeatureRequest(
        backbone=backbone,
        task=learns,
        pooling=pooling,
        data=data,
        group_regex=group_regex,
        cache=cache,
    )
    features, averaged = load_for(request, False), None
    if with_head and pooling == "flatten" and features.spec.backbone != "pixels":
        averaged = load_for(replace(request, pooling="avg"), False)
    watch.lap("load")
    require_unlocked(cache, features.keys, "each would be learnt from in turn, and its label judged")
    features, warnings = audited(features, learns, data, group_regex, cache, audit)
    watch.lap("audit")
    with run_folder(out, "label-errors", learns.name, features.spec.network) as folder:
        seen = model_rows(features, np.arange(len(features)), baselines, seed)
        of_head = features if averaged is None else replace(features, X=averaged.X, sources=averaged.sources)
        held = out_of_fold(seen, of_head, models, cv, seed, lambda model: on_model(_row(model)))
        watch.lap("models")
        outputs = np.stack([model.outputs for model in held])
        found = find_suspects(features, outputs, _compared(features, seen), linked_pairs(features.keys, cache))
        watch.lap("suspects")
        result = {
            **stamp("label-errors", features),
            "task": learns.name,
            "learns": about_task(features.task),
            "classes": list(features.classes),
            "suspects": found.suspects,
            **found.wrong,
            "pairs": found.pairs,
            "left_out": found.left_out,
            "models": [_row(model) for model in held],
            "folds": cv,
            "reduced": None if seen.reduced is None else seen.reduced.about(),
            "warnings": [*warnings, *_warnings(found)],
            "synthetic": features.synthetic,
            "seconds": round(sum(model.seconds for model in held), 2),
            "phases": watch.phases,
            "seed": seed,
            "run": str(folder),
        }
        write_suspects(folder, result, features)
    return result


def _row(model: HeldOutModel) -> dict[str, Any]:
    return {"name": model.name, "test": model.test, "best_params": model.best_params, "seconds": model.seconds}


def _compared(features: Features, seen: ModelRows) -> np.ndarray:
    """Rows by whose distances neighbours are told: cosines, on the projection where there is one."""
    if seen.reduced is not None:
        return seen.reduced.rows  # of rows of unit length
    return normalize(np.asarray(features.X) if seen.projected is None else seen.projected)


def _warnings(found: Suspects) -> list[str]:
    wrong, of = found.wrong["estimated_wrong"], found.wrong["labels"]
    texts = []
    copies = sum(one["copy"] is not None for one in found.suspects)
    if copies:
        are = "label is" if copies == 1 else "labels are"
        texts.append(f"labels: {copies} {are} contradicted by a copy of the image that is labelled otherwise")
    if wrong > _WORTH_A_WORD * of:
        texts.append(
            f"labels: about {wrong:,} of {of:,} ({wrong / of:.0%}) may be wrong, by models that did not learn from "
            "them; look at the first suspects. What models cannot tell apart is counted, too"
        )
    if found.left_out:
        texts.append(f"labels: of {', '.join(found.left_out)} there is too little to say which are wrong")
    return texts
