"""A study at work: its steps in order, each with all that decides its result, the page over them, and the record."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

import featcache
from featcache.data.dataset import Dataset, open_dataset
from featcache.data.synthetic import sample_folder, write_sample
from featcache.data.tasks import task_classes
from featcache.errors import DataError
from featcache.extraction.extract_paths import extract_paths
from featcache.extraction.planning import choose_data, row_keys
from featcache.extraction.request import resolve_spec
from featcache.store.store import Store

from ..auditing.audit import audit
from ..auditing.audit_record import audit_runs
from ..evaluation.run_folder import write_json
from ..experiments.baseline_models import TABLE
from ..experiments.baselines import baselines
from ..experiments.head_fit import fit_head
from ..experiments.hyperparameter_search import grid
from ..inference.prediction import evaluate_bundle
from ..reporting.html_report import report
from .steps import Steps
from .study_file import FILE, Images, Made, Network, Settings, StudyFile, differences, digest_of, write_study

_log = logging.getLogger(__name__)
Place = str | os.PathLike[str]
Watch = Callable[[str], AbstractContextManager[tuple[Callable[..., None], Callable[[int], None]]]]


class StudyRun:
    """One study at work: settings and places are known, the folder is its own."""

    def __init__(self, settings: Settings, folder: Path, cache: Place, steps: Steps, watch: Watch) -> None:
        self._settings, self._folder, self._cache = settings, folder, cache
        self._steps, self._watch = steps, watch
        self._root = settings.data or str(sample_folder(Path(cache).expanduser().absolute()))
        self._data, self._against = Images(0, ""), None  # type: Images, Images | None

    def run(self, then: Made | None, keep: bool) -> dict[str, Any]:
        """All steps; ``then`` is what an earlier study was made of, and ``keep`` says that its record must stay."""
        wanted = self._settings
        with Store(self._cache) as store:  # what cannot be read fails before anything is done
            for place in (self._sample_or_root(), wanted.against):
                if place is not None:
                    self._dataset(store, place)
        sets = {name: found for name in wanted.backbones if (found := self._extract(name)) is not None}
        if not sets:
            raise self._steps.first_error or DataError("study: there are no features to train on")
        self._data = self._images(self._root)
        self._against = None if wanted.against is None else self._images(wanted.against)
        made = Made(
            featcache=featcache.__version__, finished="", folder=str(self._folder), html="", verdict="", data=self._data,
            against=self._against, networks=tuple(self._network(*pair) for pair in sets.items()),
        )  # fmt: skip
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
        shown = [run for run in (audited, *fitted, *judged) if run is not None]
        page = self._page(shown)
        made = msgspec.structs.replace(
            made, finished=datetime.now().isoformat(timespec="seconds"), html=page.get("html", ""),
            verdict=page.get("verdict", ""), steps={run.name: step for run, step in self._folders()},
        )  # fmt: skip
        if changed or keep:
            self._set_aside()
        write_study(self._folder / FILE, StudyFile(wanted, made))
        return {
            "html": page.get("html"), "verdict": page.get("verdict"), "reasons": page.get("reasons", []),
            "steps": [step.to_dict() for step in self._steps.done],
            "failed": [step.name for step in self._steps.done if step.error is not None], "differences": changed,
            "config": str(self._folder / FILE), "folder": str(self._folder), "synthetic": wanted.data is None,
            "exit_code": next((step.exit_code for step in self._steps.done if step.error is not None), 0),
        }  # fmt: skip

    # -- what is looked at -------------------------------------------------------------------------

    def _dataset(self, store: Store, data: str) -> Dataset:
        wanted = self._settings
        found = (
            choose_data(store, data, wanted.group_regex)
            if data == self._root
            else open_dataset(data, wanted.group_regex)
        )
        names = found.classes
        if data == self._root:
            names = list(task_classes(wanted.task, found.labels, wanted.classes))
        return found.take(i for i, label in enumerate(found.labels) if label in names)

    def _images(self, data: str) -> Images:
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
        wanted, found = self._settings, None
        with self._steps.attempt(f"extract {backbone}") as step, self._watch(backbone) as (on_start, on_progress):
            result = featcache.extract(
                self._sample_or_root(), backbone, weights=wanted.weights, size=wanted.size, preprocess=wanted.preprocess,
                skip_bad=wanted.skip_bad, group_regex=wanted.group_regex, cache=self._cache, on_start=on_start,
                on_progress=on_progress,
            )  # fmt: skip
            step.skipped = result.computed == 0
            found = result.feature_set
            if wanted.against is not None:
                # With the very network of these features. What is bad among them, the audit and the judgement will say.
                with Store(self._cache) as store, contextlib.suppress(DataError):
                    spec = store.spec(found)
                    network = store.network(spec)
                    resolved = resolve_spec(spec, network if network.exists() else None, store)
                    other = extract_paths(
                        store, resolved, self._dataset(store, wanted.against).paths, on_start=on_start
                    )
                    step.skipped = step.skipped and other.computed == 0
        return found

    def _sample_or_root(self) -> str:
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
            "verb": verb, "featcache": featcache.__version__, "data": self._root, "images": self._data.digest,
            "task": wanted.task, "classes": wanted.classes, "group_regex": wanted.group_regex, "seed": wanted.seed,
            "memory": wanted.memory, **more,
        }  # fmt: skip

    def _audit(self) -> Path | None:
        wanted, against = self._settings, self._settings.against
        return self._steps.once(
            "audit", self._asked("audit", against=against, other=self._against),
            lambda folder: audit(
                self._root, against=against, task=wanted.task, classes=wanted.classes, group_regex=wanted.group_regex,
                cache=self._cache, seed=wanted.seed, out=folder,
            ),
            # Heads heed what the cache has on record, and another cache may not have it.
            still=lambda folder: str(folder) in audit_runs(self._cache),
        )  # fmt: skip

    def _fit(self, backbone: str, feature_set: str, audited: Path | None) -> list[Path]:
        wanted = self._settings
        given: dict[str, Any] = {
            "task": wanted.task, "classes": wanted.classes, "data": self._root, "group_regex": wanted.group_regex,
            "backbone": feature_set, "cache": self._cache, "seed": wanted.seed,
            **({"pooling": wanted.pooling} if wanted.pooling else {}),
        }  # fmt: skip
        asked = {
            "feature_set": feature_set, "pooling": wanted.pooling, "audit": audited.name if audited is not None else None,
        }  # fmt: skip
        chosen = list(TABLE) if wanted.baselines is None else list(wanted.baselines)
        found = []
        if chosen:
            found.append(self._steps.once(
                f"baselines {backbone}", self._asked("baselines", models=chosen, **asked),
                lambda folder: baselines(models=chosen, out=folder, **given),
            ))  # fmt: skip
        found.append(self._steps.once(
            f"fit-head {backbone}", self._asked("fit-head", **asked), lambda folder: fit_head(out=folder, **given),
        ))  # fmt: skip
        if wanted.grid:
            found.append(self._steps.once(
                f"grid {backbone}", self._asked("grid", **asked), lambda folder: grid(out=folder, **given),
            ))  # fmt: skip
        return [folder for folder in found if folder is not None]

    def _judge(self, run: Path) -> Path | None:
        wanted = self._settings
        name = f"evaluate {re.sub('-[0-9a-f]{8}$', '', run.name)}"
        return self._steps.once(
            name, self._asked("evaluate", run=run.name, against=wanted.against, other=self._against, skip_bad=wanted.skip_bad),
            lambda folder: evaluate_bundle(
                run / "bundle", wanted.against, group_regex=wanted.group_regex, skip_bad=wanted.skip_bad, cache=self._cache,
                out=folder,
            ),
        )  # fmt: skip

    def _page(self, runs: Sequence[Path]) -> dict[str, Any]:
        """The page over these runs alone, and what :func:`heads.reporting.html_report` says of it."""
        html, about = self._folder / "report.html", self._folder / "report.json"
        asked = digest_of(self._asked("report", runs=[run.name for run in runs], pictures=self._settings.images))
        found: dict[str, Any] = {}
        with self._steps.attempt("report") as step:
            with contextlib.suppress(OSError, ValueError):
                found = json.loads(about.read_text("utf-8"))
            if found.get("asked") == asked and html.is_file():
                step.skipped = True
            else:
                found = {**report(list(runs), cache=self._cache, images=self._settings.images, out=html,
                                  seed=self._settings.seed), "asked": asked}  # fmt: skip
                write_json(about, found)
            step.run = str(html)
        return found if step.error is None else {}

    # -- the record --------------------------------------------------------------------------------

    def _folders(self) -> list[tuple[Path, str]]:
        return [(Path(s.run), s.name) for s in self._steps.done if s.run is not None and s.error is None]

    def _set_aside(self) -> None:
        """Keep the record of what was made of other things, or with other settings."""
        stem = f"study-{datetime.now():%Y%m%d-%H%M%S}"
        with contextlib.suppress(OSError):
            os.replace(self._folder / FILE, self._folder / f"{stem}.toml")
