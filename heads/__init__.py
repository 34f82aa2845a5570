"""Stage two: what is trained on the features that :mod:`featcache` keeps. Names load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.lazy import attach

if TYPE_CHECKING:
    from .architectures import own_cnn as own_cnn
    from .cnn import OwnCNNClassifier as OwnCNNClassifier
    from .dense_head import DenseHeadClassifier as DenseHeadClassifier

_HOMES = {"DenseHeadClassifier": "dense_head", "OwnCNNClassifier": "cnn", "own_cnn": "architectures"}
__getattr__, __dir__, __all__ = attach(__name__, _HOMES)
