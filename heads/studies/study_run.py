"""A study at work: its steps in order, each with all that decides its result, the page over them, and the record."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

import featcache
from featcache.data.data_source import DataSource
from featcache.data.dataset import Dataset
from featcache.data.synthetic import sample_folder, write_sample
from featcache.data.tasks import task_classes
from featcache.errors import DataError, FeatcacheError
from featcache.extraction.extract_paths import extract_paths
from featcache.extraction.planning import choose_data, row_keys
from featcache.extraction.resolution import resolve_spec
from featcache.store.store import Store
from featcache.system.user_paths import expanded

from ..auditing.audit import audit
from ..auditing.audit_record import audit_runs
from ..evaluation.run_folder import write_json
from ..experiments.baseline_models import TABLE
from ..experiments.baselines import baselines
from ..experiments.head_fit import fit_head
from ..experiments.hyperparameter_search import grid
from ..inference.bundle_evaluation import evaluate_bundle
from ..reporting.html_report import report
from ..reporting.run_reader import collect
from .steps import Steps
from .study_file import FILE, Images, Made, Network, Settings, StudyFile, differences, digest_of, write_study

_log = logging.getLogger(__name__)
_STUDIES = 8  # beside one, that are looked at for an earlier version of its images
Place = str | os.PathLike[str]
Watch = Callable[[str], AbstractContextManager[tuple[Callable[..., None], Callable[[int], None]]]]


class StudyRun:
    """One study at work: settings and places are known, the folder is its own."""

    def __init__(self, settings: Settings, folder: Path, cache: Place, steps: Steps, watch: Watch) -> None:
        self._settings, self._folder, self._cache = settings, folder, cache
        self._steps, self._watch = steps, watch
        self._root = DataSource(
            settings.data or str(sample_folder(expanded(cache).absolute())),
            images=settings.images_below,
            metadata=settings.metadata,
            headers=settings.headers,
        )
        self._data = Images(0, "")
        self._against: Images | None = None

    def run(self, then: Made | None, keep: bool) -> dict[str, Any]:
        """All steps; ``then`` is what an earlier study was made of, and ``keep`` says that its record must stay."""
        wanted = self._settings
        self._require_readable()
        extracted = {name: self._extract(name) for name in wanted.backbones}
        sets = {name: feature_set for name, feature_set in extracted.items() if feature_set is not None}
        if not sets:
            raise self._steps.first_error or DataError("study: there are no features to train on")
        self._data = self._images(self._root)
        self._against = None if wanted.against is None else self._images(wanted.against)
        made = self._made(sets)
        changed = [] if then is None else differences(then, made)
        for text in changed:
            _log.warning("study: not as it was: %s", text)
        audited = self._audit()
        fitted: list[Path] = []
        for name, feature_set in sets.items():
            fitted += self._fit(name, feature_set, audited)
        judged = [self._judge(run) for run in fitted] if wanted.against is not None else []
        if not fitted:
            raise self._steps.first_error or DataError("study: no model came of it")
        page = self._page([run for run in (audited, *fitted, *judged) if run is not None])
        if changed or keep:
            self._set_aside()
        write_study(self._folder / FILE, StudyFile(wanted, self._finished(made, page)))
        return self._result(page, changed)

    def _require_readable(self) -> None:
        """Raise for images that cannot be read, before anything is done."""
        with Store(self._cache) as store:
            for place in (self._sample_or_root(), self._settings.against):
                if place is not None:
                    self._dataset(store, place)

    def _result(self, page: Mapping[str, Any], changed: Sequence[str]) -> dict[str, Any]:
        failed = [step for step in self._steps.done if step.error is not None]
        return {
            "html": page.get("html"),
            "verdict": page.get("verdict"),
            "reasons": page.get("reasons", []),
            "steps": [step.to_dict() for step in self._steps.done],
            "failed": [step.name for step in failed],
            "differences": list(changed),
            "config": str(self._folder / FILE),
            "folder": str(self._folder),
            "synthetic": self._settings.data is None,
            "exit_code": failed[0].exit_code if failed else 0,
        }

    # -- what is looked at -------------------------------------------------------------------------

    def _dataset(self, store: Store, data: Place) -> Dataset:
        wanted = self._settings
        if data == self._root:
            dataset = choose_data(store, data, wanted.group_regex)
            names = list(task_classes(wanted.task, dataset.labels, wanted.classes))
        else:
            dataset = choose_data(store, data, wanted.group_regex)
            names = dataset.classes
        return dataset.take(i for i, label in enumerate(dataset.labels) if label in names)

    def _images(self, data: Place) -> Images:
        with Store(self._cache) as store:
            dataset = self._dataset(store, data)
            keys, _ = row_keys(store, dataset.paths)
        rows = zip(keys, dataset.labels, dataset.splits, dataset.groups, strict=True)
        known = sorted([key.hex(), label, split, group] for key, label, split, group in rows if key is not None)
        return Images(len(known), digest_of(known))

    def _network(self, backbone: str, feature_set: str) -> Network:
        with Store(self._cache) as store:
            spec = store.spec(feature_set)
        return Network(backbone, feature_set, spec.weights, spec.weights_digest)

    # -- the steps ---------------------------------------------------------------------------------

    def _extract(self, backbone: str) -> str | None:
        """The feature set of a backbone, or None where there is none."""
        wanted, feature_set = self._settings, None
        with self._steps.attempt(f"extract {backbone}") as step, self._watch(backbone) as (on_start, on_progress):
            result = featcache.extract(
                self._sample_or_root(),
                backbone,
                weights=wanted.weights,
                size=wanted.size,
                preprocess=wanted.preprocess,
                skip_bad=wanted.skip_bad,
                group_regex=wanted.group_regex,
                cache=self._cache,
                on_start=on_start,
                on_progress=on_progress,
            )
            step.skipped = result.computed == 0
            feature_set = result.feature_set
            if wanted.against is not None:
                # What is bad among these, the audit and the judgement will say.
                with contextlib.suppress(DataError):
                    step.skipped = self._extract_against(feature_set, wanted.against, on_start) and step.skipped
        return feature_set

    def _extract_against(self, feature_set: str, against: str, on_start: Callable[..., None]) -> bool:
        """Features of the images to judge by, from the very network of these; whether all were there already."""
        with Store(self._cache) as store:
            spec = store.spec(feature_set)
            network = store.network(spec)
            resolved = resolve_spec(spec, network if network.exists() else None, store)
            result = extract_paths(store, resolved, self._dataset(store, against).paths, on_start=on_start)
        return result.computed == 0

    def _sample_or_root(self) -> DataSource:
        """The data, the sample drawn where it is not there yet."""
        if self._settings.data is None:
            if not Path(self._root).is_dir():
                _log.warning(
                    "study: of the built-in SYNTHETIC sample (drawn by code; nothing it gives is a medical result)"
                )
            write_sample(Path(self._root))
        return self._root

    def _asked(self, verb: str, **more: Any) -> dict[str, Any]:
        """What decides the result of a step on the data."""
        wanted = self._settings
        return {
            "verb": verb,
            "featcache": featcache.__version__,
            "data": self._root.data,
            "read": self._root.about(),
            "images": self._data.digest,
            "task": wanted.task,
            "classes": wanted.classes,
            "group_regex": wanted.group_regex,
            "seed": wanted.seed,
            "memory": wanted.memory,
            **more,
        }

    def _given(self) -> dict[str, Any]:
        """What the verbs on the study's images are all told."""
        wanted = self._settings
        return {
            "task": wanted.task,
            "classes": wanted.classes,
            "group_regex": wanted.group_regex,
            "cache": self._cache,
            "seed": wanted.seed,
        }

    def _audit(self) -> Path | None:
        against = self._settings.against
        return self._steps.once(
            "audit",
            self._asked("audit", against=against, other=self._against),
            lambda folder: audit(self._root, against=against, out=folder, **self._given()),
            # Heads heed what the cache has on record, and another cache may not have it.
            still=lambda folder: str(folder) in audit_runs(self._cache),
        )

    def _fit(self, backbone: str, feature_set: str, audited: Path | None) -> list[Path]:
        """The runs on one backbone's features: baselines, head and search, those that are asked for and came out."""
        wanted = self._settings
        given = {**self._given(), "data": self._root, "backbone": feature_set}
        if wanted.pooling is not None:
            given["pooling"] = wanted.pooling
        audit_name = None if audited is None else audited.name
        asked = {"feature_set": feature_set, "pooling": wanted.pooling, "audit": audit_name}
        models = list(TABLE) if wanted.baselines is None else list(wanted.baselines)

        def step(verb: str, work: Callable[..., Any], **more: Any) -> Path | None:
            return self._steps.once(
                f"{verb} {backbone}",
                self._asked(verb, **more, **asked),
                lambda folder: work(out=folder, **more, **given),
            )

        runs = [step("baselines", baselines, models=models)] if models else []
        runs.append(step("fit-head", fit_head))
        if wanted.grid:
            runs.append(step("grid", grid))
        return [run for run in runs if run is not None]

    def _judge(self, run: Path) -> Path | None:
        """A run's model on the images of another place."""
        wanted = self._settings
        told = {"against": wanted.against, "other": self._against, "skip_bad": wanted.skip_bad}

        def work(folder: Path) -> dict[str, Any]:
            return evaluate_bundle(
                run / "bundle",
                wanted.against,
                group_regex=wanted.group_regex,
                skip_bad=wanted.skip_bad,
                cache=self._cache,
                out=folder,
            )

        name = f"evaluate {re.sub('-[0-9a-f]{8}$', '', run.name)}"
        return self._steps.once(name, self._asked("evaluate", run=run.name, **told), work)

    def _page(self, runs: Sequence[Path]) -> dict[str, Any]:
        """The page over these runs alone, and what :func:`heads.reporting.html_report` says of it."""
        html, about = self._folder / "report.html", self._folder / "report.json"
        asked = digest_of(self._asked("report", runs=[run.name for run in runs], pictures=self._settings.images))
        page: dict[str, Any] = {}
        with self._steps.attempt("report") as step:
            with contextlib.suppress(OSError, ValueError):
                page = json.loads(about.read_text("utf-8"))
            if page.get("asked") == asked and html.is_file():
                step.skipped = True
            else:
                options: dict[str, Any] = {
                    "cache": self._cache,
                    "images": self._settings.images,
                    "seed": self._settings.seed,
                    "before": self._earlier(),
                }
                page = {**report(list(runs), out=html, **options), "asked": asked}
                write_json(about, page)
            step.run = str(html)
        return page if step.error is None else {}

    def _earlier(self) -> list[Path]:
        """The studies beside this one, newest first, of which one may be on an earlier version of these images."""
        beside = [file for file in self._folder.parent.glob(f"*/{FILE}") if file.parent != self._folder]
        newest = sorted(beside, key=lambda file: file.stat().st_mtime, reverse=True)[:_STUDIES]
        found = []
        for folder in (file.parent for file in newest):
            with contextlib.suppress(FeatcacheError):  # of one that gave no model there is nothing to say
                collect(folder)
                found.append(folder)
        return found

    # -- the record --------------------------------------------------------------------------------

    def _made(self, sets: Mapping[str, str]) -> Made:
        """What the study is made of, before it is finished."""
        return Made(
            featcache=featcache.__version__,
            finished="",
            folder=str(self._folder),
            html="",
            verdict="",
            data=self._data,
            against=self._against,
            networks=tuple(self._network(*pair) for pair in sets.items()),
        )

    def _finished(self, made: Made, page: Mapping[str, Any]) -> Made:
        return msgspec.structs.replace(
            made,
            finished=datetime.now().isoformat(timespec="seconds"),
            html=page.get("html", ""),
            verdict=page.get("verdict", ""),
            steps={run.name: step for run, step in self._folders()},
        )

    def _folders(self) -> list[tuple[Path, str]]:
        return [(Path(s.run), s.name) for s in self._steps.done if s.run is not None and s.error is None]

    def _set_aside(self) -> None:
        """Keep the record of what was made of other things, or with other settings."""
        stem = f"study-{datetime.now():%Y%m%d-%H%M%S}"
        with contextlib.suppress(OSError):
            os.replace(self._folder / FILE, self._folder / f"{stem}.toml")
