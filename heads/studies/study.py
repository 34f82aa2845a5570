"""``study``: from images to the page in one command, and the same again from the file that it writes."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import featcache
from featcache.data.data_source import DataSource
from featcache.data.synthetic import is_sample
from featcache.data.tasks import check_task
from featcache.errors import UsageError
from featcache.store.store import Store
from featcache.system import memory as memory_use
from featcache.system.user_paths import expanded

from ..evaluation.run_folder import data_title
from ..experiments.baseline_models import TABLE
from .steps import Step, Steps, study_folder
from .study_file import FILE, Settings, StudyFile, absolute, checked, digest_of, read_study, write_study
from .study_run import Place, StudyRun, Watch

_log = logging.getLogger(__name__)


def study(
    data: Place | None = None,
    *,
    config: Place | None = None,
    backbone: str | Sequence[str] | None = None,
    cache: Place = "cache",
    out: Place | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    watch: Watch | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Extract, audit, train, judge and write the page; what is there already is not done again.

    For each backbone: its features, the leaderboard of baselines, a head, and with ``grid`` a search; their models are
    then judged on ``against``. A step that fails is named, and takes only those with it that need its result. Run it
    again after a kill, and it goes on where it stopped.

    Parameters
    ----------
    data : str or path, optional
        A folder or manifest (see :mod:`featcache.data.dataset`); None takes that of the last extract, else the sample.
    config : str or path, optional
        A ``study.toml``, written by an earlier study or by hand, that says all the settings in place of the other
        parameters. What is no longer as it was then is said, and stands in ``differences``.
    backbone : str or sequence of str, optional
        A name, several with commas between them, or a list; None is ``vgg16``.
    cache : str or path, optional
        Folder of the store.
    out : str or path, optional
        The study's folder; None takes one in ``runs`` that is named after the settings, so that the same settings
        find it again. With a config that a study wrote, that study's.
    on_step : callable, optional
        Called with each :class:`heads.studies.steps.Step`.
    watch : callable, optional
        Gives, for a backbone's name, a context of ``(on_start, on_progress)`` as :func:`featcache.extract` takes
        them.
    **settings : object
        ``weights size preprocess group_regex skip_bad`` as in :func:`featcache.extract`; ``task classes pooling
        seed`` as in :func:`heads.fit_head`; ``against``, other images to judge by; ``baselines``, names or an empty
        list for none; ``grid``, whether to search the head's hyperparameters; ``images``, whether the page shows
        images; ``memory``, a size such as ``2GB``.

    Returns
    -------
    dict of str to object
        ``html verdict reasons steps[{name,skipped,seconds,run,test,error}] failed differences config folder
        synthetic``; ``failed`` names steps that gave nothing, ``config`` is the study.toml.

    Raises
    ------
    UsageError
        A setting that is unknown or impossible, or a folder that holds something else.
    DataError
        A config that cannot be read, or no images.
    FeatcacheError
        Whatever the first step raised, where no model came of it at all.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from featcache.data.synthetic import write_sample
    >>> from heads import study
    >>> folder = Path(tempfile.mkdtemp())
    >>> images = write_sample(folder / "images", train=6, test=2)
    >>> options = {"backbone": "pixels", "size": 8, "baselines": ["dummy"], "images": False}
    >>> result = study(images, cache=folder / "cache", out=folder / "study", **options)
    >>> [step["name"] for step in result["steps"]]
    ['extract pixels', 'audit', 'baselines pixels', 'fit-head pixels', 'report']
    >>> again = study(images, cache=folder / "cache", out=folder / "study", **options)
    >>> all(step["skipped"] for step in again["steps"])
    True
    """
    if config is not None:
        if data is not None or backbone is not None or settings:
            raise UsageError("a study file says all the settings: give it alone, or none")
        file = read_study(config)
        wanted = file.study
        out = out or _folder_of(file, Path(config))
    else:
        wanted, file = _settings(data, backbone, cache, settings), None
    check_task(wanted.task, wanted.classes)
    for name in wanted.backbones:
        featcache.backbones.registry.get(name)  # a misspelt name fails before anything is done
    unknown = [name for name in wanted.baselines or () if name not in TABLE]
    if unknown:
        raise UsageError(f"baseline(s) {', '.join(unknown)} are unknown; there are {', '.join(TABLE)}")
    title = data_title(wanted.data or "sample")
    named = f"study-{re.sub(r'[^A-Za-z0-9.]+', '-', title).strip('-.') or 'data'}-{digest_of(wanted)[:8]}"
    folder = expanded(out).absolute() if out is not None else Path("runs").absolute() / named
    with study_folder(folder), memory_use.memory_limit(wanted.memory):
        place = folder / FILE
        earlier = read_study(place) if place.is_file() else None
        if earlier is None or earlier.made is None:  # so that what a kill leaves says what it was
            earlier = None
            write_study(place, StudyFile(wanted))
        then = file if file is not None and file.made is not None else earlier
        return StudyRun(wanted, folder, cache, Steps(folder, on_step), watch or _unwatched).run(
            None if then is None else then.made, keep=earlier is not None and earlier.study != wanted
        )


def _settings(
    data: Place | None, backbone: str | Sequence[str] | None, cache: Place, settings: dict[str, Any]
) -> Settings:
    names = backbone.split(",") if isinstance(backbone, str) else list(backbone or ["vgg16"])
    values = {name: os.fspath(v) if isinstance(v, os.PathLike) else v for name, v in settings.items() if v is not None}
    for odd in {"data", "backbones"} & set(values):
        raise UsageError(f"study takes no {odd}; say data and backbone")
    with Store(cache) as store:
        last = store.last_extract()
        if data is None and last.get("data") and not last.get("synthetic"):
            data = DataSource(
                str(last["data"]),
                images=last.get("images"),
                metadata=last.get("metadata", ()),
                headers=last.get("headers", True),
            )
            _log.info("study: of %s, the last extract's data", last["data"])
        if data is not None and not is_sample(store.cache, data):
            values["data"] = os.fspath(data)
            if isinstance(data, DataSource) and not data.is_plain:
                about = data.about()
                values["images_below"] = about.pop("images")
                values |= about
    return absolute(checked({**values, "backbones": [n.strip() for n in names if n.strip()]}), Path.cwd())


def _folder_of(file: StudyFile, config: Path) -> Path | None:
    """The folder that a file written by a study lies in; None for a copy of it, and for one written by hand."""
    beside = expanded(config).absolute().parent
    return beside if file.made is not None and Path(file.made.folder) == beside else None


def _unwatched(backbone: str) -> Any:
    return nullcontext(((lambda plan: None), (lambda done: None)))
