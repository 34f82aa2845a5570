"""Run folders read back: which results are there, and which of them are about the same data."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from featcache.errors import DataError, UsageError
from featcache.system import schema

from ..evaluation.run_folder import read_table
from . import run_schema

FITTED = ("fit-head", "grid", "baselines")
_VERBS = (*FITTED, "evaluate", "audit")
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
        """Class names, in the order of every table of this run."""
        return tuple(map(str, self.about.get("classes", ())))

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
    """

    data: str
    runs: list[Run]
    evaluations: list[Run]
    audit: Run | None
    left_out: list[Run] = field(default_factory=list)


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
    evaluations = [run for run in every if run.verb == "evaluate" and _judged(run, own)]
    return Collected(data, own, evaluations, _audit(audit, every, audits, data), others)


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
    verb = about.get("verb") or next((name for name in _VERBS if folder.name.startswith(f"{name}-")), None)
    if verb not in _VERBS:
        return None
    schema.check(about, run_schema.VERBS[verb], where, advice, DataError)
    tests = (
        [row["test"] for row in about["rows"]] if verb == "baselines" else [about["test"]] if "test" in about else []
    )
    for test in tests:
        _check_confusion(test, len(about.get("classes", ())), f"{where}. {advice}")
    finished = about.get("finished") or datetime.fromtimestamp(path.stat().st_mtime).isoformat(timespec="seconds")
    return Run(str(verb), folder.absolute(), about, str(finished))


def _check_confusion(test: Mapping[str, Any], classes: int, message: str) -> None:
    """Raise :class:`DataError` unless there is a table of as many rows and columns as classes, with something in it."""
    table = test.get("confusion", [])
    if (
        len(table) != classes
        or any(len(row) != classes for row in table)
        or not sum(map(sum, table))
        or "n" not in test
    ):
        raise DataError(f"{message}: its confusion table does not fit its {classes} classes")


def _judged(evaluation: Run, fitted: Sequence[Run]) -> bool:
    return judged_run(evaluation, fitted) is not None


def judged_run(evaluation: Run, fitted: Sequence[Run]) -> Run | None:
    """The run whose bundle was evaluated; known by name, too, where all runs were moved together."""
    made = Path(str(evaluation.about.get("bundle", ""))).parent
    beside = [run for run in fitted if run.folder.parent == evaluation.folder.parent and run.folder.name == made.name]
    exact = [run for run in fitted if run.folder.resolve() == made.resolve()]
    return next(iter([*exact, *beside]), None)


def _audit(named: Place | None, beside: Sequence[Run], elsewhere: Sequence[Place], data: str) -> Run | None:
    if named is None:
        for known in (beside, _readable(elsewhere)):
            for run in known:
                if run.verb == "audit" and run.data == data:
                    return run
        return None
    audit = next(iter(_runs_of([named])), None)
    if audit is None or audit.verb != "audit":
        raise UsageError(f"{named}: not the folder of an audit; expected one that python cli.py audit has made")
    if audit.data != data:
        raise UsageError(f"{named}: audits {audit.data}, and the runs are on {data}; audit that data")
    return audit
