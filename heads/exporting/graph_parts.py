"""Operations of OpenVINO on rows of shape (1, n), of which models and calibrations are made."""

from __future__ import annotations

from typing import Any

import numpy as np


def column(x: Any, place: int) -> Any:
    """One column, of shape (1, 1)."""
    from openvino import opset13 as ops

    return ops.gather(x, np.array([place]), np.array(1))


def affine(x: Any, kernel: np.ndarray, bias: np.ndarray | None = None) -> Any:
    """A row times a kernel, and a bias added."""
    from openvino import opset13 as ops

    product = ops.matmul(x, np.ascontiguousarray(kernel, np.float32), False, False)
    return product if bias is None else add(product, bias)


def add(x: Any, values: Any) -> Any:
    """Constants added to a row."""
    from openvino import opset13 as ops

    return ops.add(x, row(values))


def row(values: Any) -> np.ndarray:
    """A constant that is added to or multiplied with rows of shape (1, n)."""
    return np.atleast_2d(np.asarray(values, np.float32))
