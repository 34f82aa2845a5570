"""Run folders read back: which results are there, and which of them are about the same data."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from featcache.errors import DataError, UsageError
from featcache.system import schema

from ..evaluation.run_folder import read_table
from . import run_schema
from .audit_schema import Audit
from .forecast_schema import LearningCurve
from .spread_schema import odd_spread
from .suspects_schema import LabelErrors

FITTED = ("fit-head", "grid", "baselines")
_SCHEMAS = {
    "fit-head": run_schema.FitHead,
    "grid": run_schema.Grid,
    "baselines": run_schema.Baselines,
    "evaluate": run_schema.Evaluate,
    "audit": Audit,
    "label-errors": LabelErrors,
    "learning-curve": LearningCurve,
}
Place = str | os.PathLike[str]


@dataclass(frozen=True)
class Run:
    """One command's results.

    Attributes
    ----------
    verb : the command.
    folder : where it wrote.
    about : what ``run.json`` says.
    finished : local time, ISO 8601.
    """

    verb: str
    folder: Path
    about: Mapping[str, Any]
    finished: str

    @property
    def data(self) -> str:
        """Root of the images; empty where the run does not say."""
        return str(self.about.get("data", ""))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of classes, labels or the number, in the order of every table of this run."""
        return tuple(map(str, self.about.get("classes", ())))

    @property
    def kind(self) -> str:
        """What was learnt: ``classes``, ``labels`` or a ``number``."""
        return _kind(self.about)

    @property
    def tests(self) -> list[Mapping[str, Any]]:
        """The test metrics of each of its models, the first one's first; none where they are hidden."""
        rows = self.about.get("rows")
        return [test for test in ([row["test"] for row in rows] if rows else [self.about.get("test")]) if test]

    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of one of its CSV files; none where it has no such file."""
        return read_table(self.folder / name)


@dataclass(frozen=True)
class Collected:
    """What one report is about.

    Attributes
    ----------
    data : root of the images.
    runs : fits, searches and leaderboards on it, newest first.
    evaluations : judgements of their bundles on other images, newest first.
    audit : the newest audit of the data, if there is one.
    left_out : runs beside these, on other data.
    label_errors : the newest search for wrong labels of the data for each set of classes or labels, newest first.
    forecasts : learning curves of the data over its patients, newest first, one of each task.
    beside : all runs on other data that were found with these, newest first.
    """

    data: str
    runs: list[Run]
    evaluations: list[Run]
    audit: Run | None
    left_out: list[Run] = field(default_factory=list)
    label_errors: list[Run] = field(default_factory=list)
    forecasts: list[Run] = field(default_factory=list)
    beside: list[Run] = field(default_factory=list)

    def on(self, data: str, audits: Sequence[Place] = ()) -> Collected:
        """The same of another dataset on which there is a fit among the runs beside these."""
        return _collected(self.beside, [run for run in self.left_out if run.data == data], None, audits)


def collect(
    runs: Place | Sequence[Place] | None = None, audit: Place | None = None, audits: Sequence[Place] = ()
) -> Collected:
    """Find runs and what belongs to them.

    Parameters
    ----------
    runs : a folder of runs (None is ``./runs``), of which those on the newest one's data are taken; or run folders.
    audit : an audit's folder; None takes the newest of the same data.
    audits : folders of audits elsewhere, of which that is taken where there is none among the runs.

    Raises
    ------
    DataError
        No runs there, or a ``run.json`` that cannot be read.
    UsageError
        Named runs that are on different data.
    """
    every = _runs_of(runs)
    fitted = [run for run in every if run.verb in FITTED]
    if not fitted:
        where = "runs" if runs is None else runs
        raise DataError(
            f"{where}: no results of {', '.join(FITTED)} here; make some, for instance with: python cli.py fit-head"
        )
    data = fitted[0].data
    own = [run for run in fitted if run.data == data]
    others = [run for run in fitted if run.data != data]
    if others and not _is_folder_of_runs(runs):
        raise UsageError(
            f"{own[0].folder.name} is on {data}, {others[0].folder.name} on {others[0].data}: their metrics do not "
            "belong in one table; make a report of each"
        )
    return replace(
        _collected(every, own, audit, audits), left_out=others, beside=[run for run in every if run.data != data]
    )


def _collected(every: Sequence[Run], own: list[Run], audit: Place | None, audits: Sequence[Place]) -> Collected:
    """Fits on one dataset, and what belongs to them among all runs."""
    data = own[0].data
    return Collected(
        data,
        own,
        [run for run in every if run.verb == "evaluate" and _judged(run, own)],
        _audit(audit, every, audits, own[0]),
        label_errors=_newest_of_each_task(every, "label-errors", data),
        forecasts=_newest_of_each_task(every, "learning-curve", data),
    )


def _newest_of_each_task(every: Sequence[Run], verb: str, data: str) -> list[Run]:
    newest: dict[tuple[str, ...], Run] = {}
    for run in every:
        if run.verb == verb and run.data == data:
            newest.setdefault((run.kind, *run.classes), run)
    return list(newest.values())


def _runs_of(runs: Place | Sequence[Place] | None) -> list[Run]:
    if _is_folder_of_runs(runs):
        parent = Path("runs") if runs is None else Path(runs)  # type: ignore[arg-type]
        folders = [path for path in parent.iterdir() if (path / "run.json").is_file()] if parent.is_dir() else []
    else:
        folders = [Path(runs)] if isinstance(runs, str | os.PathLike) else [Path(run) for run in runs or ()]
        for folder in folders:
            if not (folder / "run.json").is_file():
                raise DataError(f"{folder}: no run here (run.json is missing); expected a folder that a command made")
    read = [run for run in map(_read, folders) if run is not None]
    return sorted(read, key=lambda run: (run.finished, run.folder.name), reverse=True)


def _readable(folders: Sequence[Place]) -> list[Run]:
    """Those of the runs that are still there, newest first."""
    runs = []
    for folder in folders:
        with contextlib.suppress(DataError):
            runs += _runs_of([folder])
    return sorted(runs, key=lambda run: run.finished, reverse=True)


def _is_folder_of_runs(runs: Place | Sequence[Place] | None) -> bool:
    return runs is None or (isinstance(runs, str | os.PathLike) and not (Path(runs) / "run.json").is_file())


def _read(folder: Path) -> Run | None:
    """A run; None where it is of a verb that reports do not show."""
    path = folder / "run.json"
    advice = "Remove the folder, or make the run anew"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: not a run's description ({error.strerror}). {advice}") from error
    where = f"{path}: not a run's description"
    about = schema.read(text, run_schema.Run, where, advice, DataError)
    # Runs of earlier versions say their verb in the folder's name alone.
    verb = about.get("verb") or next((name for name in _SCHEMAS if folder.name.startswith(f"{name}-")), None)
    if verb not in _SCHEMAS:
        return None
    schema.check(about, _SCHEMAS[verb], where, advice, DataError)
    if verb in (*FITTED, "evaluate") and not about.get("hidden") and not _tests(about, verb):
        raise DataError(f"{where}: it has no test, and does not say why. {advice}")
    if verb != "audit":
        kind = _kind(about)
        for test in _tests(about, verb):
            _check_test(test, kind, about.get("classes", ()), where, advice)
        if kind == "classes" and about.get("threshold"):
            schema.check(about["threshold"], run_schema.Threshold, f"{where}: its threshold", advice, DataError)
        for spread in filter(None, (found.get("spread") for found in (about, *about.get("rows", ())))):
            if odd := odd_spread(spread, kind):
                raise DataError(f"{where}. {advice}: {odd}")
        if about.get("internal") is not None:
            schema.check(about["internal"], run_schema.TESTS[kind], f"{where}: its internal test", advice, DataError)
    finished = about.get("finished") or datetime.fromtimestamp(path.stat().st_mtime).isoformat(timespec="seconds")
    return Run(str(verb), folder.absolute(), about, str(finished))


def _tests(about: Mapping[str, Any], verb: str) -> list[Mapping[str, Any]]:
    """Every test of a run."""
    several = {"baselines": "rows", "label-errors": "models"}
    if verb in several:
        return [row["test"] for row in about.get(several[verb], ()) if row.get("test") is not None]
    if verb == "learning-curve":
        return []
    by_folds, left_out = about.get("cross_validated"), about.get("leave_out")
    tests = [test for test in (about.get("test"), by_folds["test"] if by_folds else None) if test is not None]
    return tests + [site["test"] for site in (left_out["sites"] if left_out else ()) if site["test"] is not None]


def _kind(about: Mapping[str, Any]) -> str:
    return str(about.get("learns", {}).get("kind", "classes"))


def _check_test(test: Mapping[str, Any], kind: str, names: Sequence[str], where: str, advice: str) -> None:
    """Raise :class:`DataError` unless a test is one of this kind, about these names, with all that a page shows."""
    schema.check(test, run_schema.TESTS[kind], f"{where}: its test", advice, DataError)
    of_patients = test.get("per_patient")
    if of_patients is not None:
        schema.check(of_patients, run_schema.TESTS[kind], f"{where}: its test of patients", advice, DataError)
        schema.check(of_patients, run_schema.Patients, f"{where}: its test of patients", advice, DataError)
    for of in (test, of_patients or {}):
        if "predictive_values" in of:
            found = of["predictive_values"]
            schema.check(found, run_schema.PredictiveValues, f"{where}: its predictive values", advice, DataError)
    if "subgroups" in test:
        schema.check(test["subgroups"], run_schema.Subgroups | None, f"{where}: its subgroups", advice, DataError)
    odd = _ODD[kind](test, names)
    if odd:
        raise DataError(f"{where}. {advice}: {odd}")


def _odd_confusion(test: Mapping[str, Any], names: Sequence[str]) -> str:
    table, classes = test.get("confusion", []), len(names)
    square = len(table) == classes and all(len(row) == classes for row in table)
    if square and any(count for row in table for count in row) and test.get("n") is not None:
        return ""
    return f"its confusion table does not fit its {classes} classes"


def _odd_labels(test: Mapping[str, Any], names: Sequence[str]) -> str:
    return "" if set(test["labels"]) == set(names) else f"its test is of other labels than its {len(names)}"


def _odd_number(test: Mapping[str, Any], names: Sequence[str]) -> str:
    return "" if len(names) == 1 else f"it names {len(names)} numbers, and learnt one"


_ODD = {"classes": _odd_confusion, "labels": _odd_labels, "number": _odd_number}


def _judged(evaluation: Run, fitted: Sequence[Run]) -> bool:
    return judged_run(evaluation, fitted) is not None


def judged_run(evaluation: Run, fitted: Sequence[Run]) -> Run | None:
    """The run whose bundle was evaluated; known by name, too, where all runs were moved together."""
    made = Path(str(evaluation.about.get("bundle", ""))).parent
    beside = [run for run in fitted if run.folder.parent == evaluation.folder.parent and run.folder.name == made.name]
    exact = [run for run in fitted if run.folder.resolve() == made.resolve()]
    return next(iter([*exact, *beside]), None)


def _audit(named: Place | None, beside: Sequence[Run], elsewhere: Sequence[Place], newest: Run) -> Run | None:
    """The audit named, else the newest of the data; before it one that asked for what the newest run learnt."""
    data = newest.data
    if named is None:
        for known in (beside, _readable(elsewhere)):
            audits = [run for run in known if run.verb == "audit" and run.data == data]
            of_task = [run for run in audits if set(run.classes) == set(newest.classes)]
            if audits:
                return (of_task or audits)[0]
        return None
    audit = next(iter(_runs_of([named])), None)
    if audit is None or audit.verb != "audit":
        raise UsageError(f"{named}: not the folder of an audit; expected one that python cli.py audit has made")
    if audit.data != data:
        raise UsageError(f"{named}: audits {audit.data}, and the runs are on {data}; audit that data")
    return audit
