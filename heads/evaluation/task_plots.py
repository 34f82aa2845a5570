"""Pictures of tasks of several labels and of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def label_intervals(labels: Mapping[str, Any], title: str) -> Any:
    """Areas and average precisions with intervals."""
    from matplotlib.figure import Figure

    return Figure()


def predicted_against_true(y: np.ndarray, predicted: np.ndarray, name: str, test: Mapping[str, Any], title: str) -> Any:
    """Predicted against true."""
    from matplotlib.figure import Figure

    return Figure()
