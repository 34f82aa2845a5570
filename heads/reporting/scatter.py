"""Predicted numbers against the true ones, as plain values that a page draws as SVG."""

from __future__ import annotations

from typing import Any

import numpy as np

from featcache.errors import DataError

from .run_reader import Run

_MOST = 2000  # points; more would hide each other, and make the page large


def scatter(run: Run, part: str | None = "test", table_of: str = "predictions.csv") -> dict[str, Any] | None:
    """The points of a run's ``predictions.csv``, in a box of 100 by 100 that grows downwards; None where it has none.

    Parameters
    ----------
    run : of a model that learnt a number.
    part : of the images that are drawn; None takes all.
    table_of : another table of the run with predictions, such as those by folds.

    Returns
    -------
    ``name``; ``points``, at most 2,000, evenly taken along the true numbers; ``ticks`` of both axes, ``at text``; ``n``
    and ``shown``.

    Raises
    ------
    DataError
        The table has no such columns, or cells that are no numbers.
    """
    table = [row for row in run.table(table_of) if part is None or row.get("part") == part]
    if not table:
        return None
    name = run.classes[0]
    try:
        pairs = np.array([[float(row[name]), float(row[f"{name} predicted"])] for row in table])
        if not np.isfinite(pairs).all():
            raise ValueError("a number that is not finite")
    except (KeyError, ValueError) as error:
        raise DataError(f"{run.folder / table_of}: no predicted numbers ({error!r}); make the run anew") from error
    from matplotlib.ticker import MaxNLocator

    ends = float(pairs.min()), float(pairs.max())
    ticks: Any = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(ends[0], max(ends[1], ends[0] + 1e-9))
    low, span = ticks[0], ticks[-1] - ticks[0]
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    shown = pairs[np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), _MOST)).round().astype(int))]
    placed = 100 * (shown - low) / span
    return {
        "name": name,
        "points": [(round(x, 2), round(100 - y, 2)) for x, y in placed.tolist()],
        "ticks": [{"at": 100 * (tick - low) / span, "text": f"{tick:.6g}"} for tick in map(float, ticks)],
        "n": len(pairs),
        "shown": len(shown),
    }
