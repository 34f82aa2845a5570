"""The steps of a study: each has a folder named by all that decides its result, and is done once.

What a step was asked for stands beside its result in ``step.json``, which is written last: a folder without it is what
a kill has left, and is made anew.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from featcache.errors import DataError, FeatcacheError, UsageError

from ..evaluation.run_folder import write_json
from .study_file import FILE, digest_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)
_DIGITS = 8
_DONE = "step.json"
_LOCK = ".lock"


@dataclass
class Step:
    """What became of a step.

    Attributes
    ----------
    name : str
        In words.
    skipped : bool
        Whether its result was there already.
    seconds : float
        What it took.
    run : str or None
        Where its result is.
    test : dict or None
        Its accuracy with interval, where it has one.
    error : str or None
        Why it gave nothing.
    exit_code : int
        What a command that ends with this error returns.
    """

    name: str
    skipped: bool = False
    seconds: float = 0.0
    run: str | None = None
    test: dict[str, Any] | None = None
    error: str | None = None
    exit_code: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without what there is none of."""
        return {name: value for name, value in vars(self).items() if value is not None and name != "exit_code"}


@dataclass
class Steps:
    """The steps of one study, in one folder.

    Attributes
    ----------
    folder : Path
        Of the study.
    on_step : callable
        Called with each step when it is done, skipped, or has failed.
    done : list of Step
        They, in order.
    first_error : Exception or None
        What the first step that failed raised.
    """

    folder: Path
    on_step: Callable[[Step], None]
    done: list[Step] = field(default_factory=list)
    first_error: Exception | None = None

    @contextlib.contextmanager
    def attempt(self, name: str) -> Iterator[Step]:
        """A step that keeps its result elsewhere. What it raises is noted, and the others go on."""
        step, started = Step(name), time.perf_counter()
        try:
            yield step
        except Exception as error:  # noqa: BLE001 - whatever fails in one step must not take the others with it
            step.error = str(error) or type(error).__name__
            step.exit_code = error.exit_code if isinstance(error, FeatcacheError) else 1
            self.first_error = self.first_error or error
            for image in (error.bad if isinstance(error, DataError) else [])[:20]:
                _log.error("  %s: %s", image.path, image.reason)
            _log.error("study: %s failed, the other steps go on: %s", name, step.error)
            _log.debug("study: %s", name, exc_info=error)
        step.seconds = round(time.perf_counter() - started, 2)
        self.done.append(step)
        self.on_step(step)

    def once(
        self,
        name: str,
        asked: Mapping[str, Any],
        work: Callable[[Path], Any],
        still: Callable[[Path], bool] | None = None,
    ) -> Path | None:
        """A step with a folder of its own.

        Parameters
        ----------
        name : str
            In words; the folder's name is it and the first digits of a digest of ``asked``.
        asked : mapping of str to object
            Plain values, all that decides the result.
        work : callable
            Fills the folder, which is not there yet.
        still : callable, optional
            Whether a finished folder's result stands; None is always.

        Returns
        -------
        Path or None
            The folder; None where the step failed.
        """
        digest = digest_of(asked)
        folder = self.folder / f"{name.replace(' ', '-')}-{digest[:_DIGITS]}"
        with self.attempt(name) as step:
            if _asked(folder) == digest and (still is None or still(folder)):
                step.skipped = True
            else:
                if folder.is_dir():
                    shutil.rmtree(folder)
                work(folder)
                write_json(folder / _DONE, {"step": name, "digest": digest, "asked": msgspec.to_builtins(dict(asked))})
            step.run, step.test = str(folder), _test_of(folder)
        return None if step.error is not None else folder


def _asked(folder: Path) -> str | None:
    """The digest that a finished step noted; None for one that is not finished."""
    try:
        noted = json.loads((folder / _DONE).read_text("utf-8"))
        return str(noted["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _test_of(folder: Path) -> dict[str, Any] | None:
    """The accuracy that a step's run gives, with its interval and images; of a leaderboard, that of its first row."""
    try:
        about = json.loads((folder / "run.json").read_text("utf-8"))
        test = about["rows"][0]["test"] if "rows" in about else about.get("test")
        return None if test is None else {name: test[name] for name in ("accuracy", "accuracy_ci", "n")}
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


@contextlib.contextmanager
def study_folder(folder: Path) -> Iterator[None]:
    """Keep a study's folder for oneself; where an error comes before the first step has a result, none is left behind.

    Raises :class:`UsageError` where it holds something else, or another study is at work in it.
    """
    if folder.exists() and (not folder.is_dir() or _foreign(folder)):
        raise UsageError(f"{folder} is there already and holds no study; name a new folder with --out")
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("a")
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written to ({error.strerror or error}); name another folder with --out"
        ) from error
    with lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(
                    f"{folder}: another study is at work here; wait for it, or name another folder"
                ) from None
        try:
            yield
        except BaseException:
            if new and {entry.name for entry in folder.iterdir()} <= {FILE, _LOCK}:
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _foreign(folder: Path) -> bool:
    names = {entry.name for entry in folder.iterdir()}
    return bool(names) and not names & {FILE, _LOCK}
