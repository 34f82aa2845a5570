"""The lines that sklearn prints of a cell where ``verbose`` asks for them, for cells that sklearn does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joblib.logger import short_format_time

_WIDTH = 80


def progress_lines(verbose: int, options: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    """None up to 1, then one a finished cell; from 3 on with its fold and scores, from 10 on with its beginning.

    Parameters
    ----------
    verbose : int
        As sklearn's search has it.
    options : dict
        What sklearn would have run the cell with.
    result : dict
        What it came to, as sklearn writes it down.
    """
    if verbose <= 1:
        return []
    candidate, fold = (options[f"{name}_progress"] for name in ("candidate", "split"))
    number = f" {fold[0] + 1}/{fold[1]}" if verbose > 2 else ""
    if verbose > 9:
        number += f"; {candidate[0] + 1}/{candidate[1]}"
    params = ", ".join(f"{name}={options['parameters'][name]}" for name in sorted(options["parameters"]))
    start, end = f"[CV{number}] START {params}", f"[CV{number}] END "
    said = params + (";" if params else "") + (_scores(result) if verbose > 2 else "")
    said += f" total time={short_format_time(result['fit_time'] + result['score_time'])}"
    whole = end + "." * (_WIDTH - len(end) - len(said)) + said
    return [start + "." * (_WIDTH - len(start)), whole] if verbose > 9 else [whole]


def _scores(result: Mapping[str, Any]) -> str:
    test, train = result["test_scores"], result.get("train_scores")
    if not isinstance(test, dict):
        return f", score={test:.3f}" if train is None else f", score=(train={train:.3f}, test={test:.3f})"
    learnt = {name: "" if train is None else f"train={train[name]:.3f}, " for name in test}
    return "".join(f" {name}: ({learnt[name]}test={test[name]:.3f})" for name in sorted(test))
