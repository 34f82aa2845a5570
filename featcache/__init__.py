"""featcache: run each frozen backbone once over a set of images, and keep the features.

Names load on first use, so that importing the package is quick and loads no TensorFlow.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .system.lazy_names import attach
from .version import VERSION

if TYPE_CHECKING:
    from .data.classification import Classification as Classification
    from .data.data_source import DataSource as DataSource
    from .data.multilabel import Multilabel as Multilabel
    from .data.regression import Regression as Regression
    from .errors import DataError as DataError
    from .errors import FeatcacheError as FeatcacheError
    from .errors import StoreError as StoreError
    from .errors import UsageError as UsageError
    from .errors import WeightsError as WeightsError
    from .extraction.extract import extract as extract
    from .extraction.extract import extract_layers as extract_layers
    from .features.hdf5_export import export as export
    from .features.labelled_features import Features as Features
    from .features.labelled_features import FeatureSource as FeatureSource
    from .features.loading import load as load
    from .features.stored_rows import StoredRows as StoredRows
    from .features.transformer import FrozenBackbone as FrozenBackbone
    from .store.store import Store as Store
    from .system.memory import memory_limit as memory_limit

__version__ = VERSION

# OpenVINO and NNCF report to their makers, over the network, that they are used and on what, from the moment they are
# imported; where this module of theirs is missing they go on without. Whoever loaded it before has decided otherwise.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_HOMES = {
    "extract": "extraction.extract",
    "extract_layers": "extraction.extract",
    "ExtractResult": "extraction.extract_paths",
    "load": "features.loading",
    "Features": "features.labelled_features",
    "FeatureSource": "features.labelled_features",
    "FrozenBackbone": "features.transformer",
    "DataSource": "data.data_source",
    "Classification": "data.classification",
    "Multilabel": "data.multilabel",
    "Regression": "data.regression",
    "memory_limit": "system.memory",
    "export": "features.hdf5_export",
    "Store": "store.store",
    "StoredRows": "features.stored_rows",
    "FeatcacheError": "errors",
    "UsageError": "errors",
    "DataError": "errors",
    "WeightsError": "errors",
    "StoreError": "errors",
}
__getattr__, __dir__, __all__ = attach(__name__, _HOMES)
