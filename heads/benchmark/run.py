"""Speed, side by side: how fast this machine does what the project promises, against what people would use instead."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from featcache.errors import UsageError

from ..evaluation import comparison_plots
from ..evaluation.canvas import save_figure
from ..evaluation.run_folder import run_folder, write_json, write_table
from . import cases, extraction_case
from .case import Case
from .timing import about_machine, interleaved, ratios, rows

KINDS: Mapping[str, Callable[..., AbstractContextManager[Case]]] = {
    "conv": cases.conv,
    "extract": extraction_case.extract,
    "cache": cases.cache,
    "grid": cases.grid,
    "load": cases.load,
}


def benchmark(
    kind: str,
    *,
    rounds: int = 5,
    out: str | os.PathLike[str] | None = None,
    on_round: Callable[[int], None] = lambda number: None,
    **options: Any,
) -> dict[str, Any]:
    """Time one kind of work.

    Parameters
    ----------
    kind : {"conv", "extract", "cache", "grid", "load"}
        ``conv`` is the reference's toy; see :mod:`heads.benchmark.cases`.
    rounds : int, optional
        Each runs every contender once; one more warms up.
    out : str or path, optional
        Folder for ``run.json``, ``times.csv`` and ``chart.png``; None makes one in ``runs``.
    on_round : callable, optional
        Called with the number of each round; 0 warms up.
    **options : object
        Of the kind.

    Returns
    -------
    dict of str to object
        ``rows`` (seconds and pace, median, least and most), ``ratios`` (ours to others, medians and spread),
        ``not_run`` (with reasons), ``notes``, ``machine``, ``run``, ``figures``.

    Raises
    ------
    UsageError
        An unknown kind, or no round.
    """
    if kind not in KINDS:
        raise UsageError(f"benchmark {kind!r} is unknown; expected one of {', '.join(KINDS)}")
    if rounds < 1:
        raise UsageError(f"--rounds {rounds}: expected at least 1")
    with run_folder(out, "benchmark", kind) as folder, tempfile.TemporaryDirectory(prefix="featcache-") as scratch:
        with KINDS[kind](Path(scratch), **options) as case:
            seconds = interleaved(case.contenders, rounds, on_round)
        result = {
            "verb": "benchmark",
            "kind": kind,
            "what": case.what,
            "unit": case.unit,
            "finished": datetime.now().isoformat(timespec="seconds"),
            "rounds": rounds,
            "options": options,
            "machine": about_machine(),
            "rows": rows(case.contenders, seconds),
            "ratios": _telling(kind, ratios(case.contenders, seconds)),
            "not_run": case.not_run,
            "notes": case.notes,
            "figures": [str(folder / "chart.png")],
            "run": str(folder),
            **case.values,
        }
        header = ("name", *(f"round_{number + 1}_seconds" for number in range(rounds)))
        write_table(folder / "times.csv", header, [(name, *taken) for name, taken in seconds.items()])
        machine = result["machine"]
        place = f"{machine['processor']}, {machine['cores']} cores" + "".join(f", {gpu}" for gpu in machine["gpus"])
        save_figure(comparison_plots.speeds(result["rows"], case.unit, f"{case.what}\n{place}"), folder / "chart.png")
        write_json(folder / "run.json", result)
    return result


def _telling(kind: str, compared: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only the ratios of like to like."""
    if kind != "load":
        return compared
    pairs = {
        ("featcache.load", "np.load"),
        ("its rows alone, by key", "np.load"),
        ("cache verify", "SHA-256, one thread"),
    }
    return [ratio for ratio in compared if (ratio["of"], ratio["to"]) in pairs]
