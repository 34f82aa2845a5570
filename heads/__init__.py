"""Stage two: what is trained on the features that :mod:`featcache` keeps. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .architectures import own_cnn as own_cnn
    from .dense_head import DenseHeadClassifier as DenseHeadClassifier

_HOMES = {"DenseHeadClassifier": "dense_head", "own_cnn": "architectures"}  # heads.evaluate is a module
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
