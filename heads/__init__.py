"""Stage two: what is trained on the features that :mod:`featcache` keeps. Names load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.lazy import attach

if TYPE_CHECKING:
    from .architectures import own_cnn as own_cnn
    from .auditing import audit as audit
    from .bundle import open_bundle as open_bundle
    from .cnn import OwnCNNClassifier as OwnCNNClassifier
    from .dense_head import DenseHeadClassifier as DenseHeadClassifier
    from .fitting import fit_head as fit_head
    from .search import FastGridSearchCV as FastGridSearchCV
    from .search import FastHalvingGridSearchCV as FastHalvingGridSearchCV
    from .search import FastRandomizedSearchCV as FastRandomizedSearchCV
    from .serving import predict as predict
    from .studies import study as study

_HOMES = {
    "DenseHeadClassifier": "dense_head",
    "OwnCNNClassifier": "cnn",
    "own_cnn": "architectures",
    "FastGridSearchCV": "search",
    "FastRandomizedSearchCV": "search",
    "FastHalvingGridSearchCV": "search",
    "audit": "auditing",
    "fit_head": "fitting",
    "open_bundle": "bundle",
    "predict": "serving",
    "study": "studies",
}
__getattr__, __dir__, __all__ = attach(__name__, _HOMES)
