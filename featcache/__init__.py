"""featcache: run each frozen backbone once over a set of images, and keep the features.

Names load on first use, so that importing the package is quick and loads no TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import attach

if TYPE_CHECKING:
    from .errors import DataError as DataError
    from .errors import FeatcacheError as FeatcacheError
    from .errors import StoreError as StoreError
    from .errors import UsageError as UsageError
    from .errors import WeightsError as WeightsError
    from .exporting import export as export
    from .extraction import extract as extract
    from .features import Features as Features
    from .features import load as load
    from .memory import memory_limit as memory_limit
    from .store import Store as Store
    from .stored import StoredRows as StoredRows
    from .transformer import FrozenBackbone as FrozenBackbone

__version__ = "0.1.0"

_HOMES = {
    "extract": "extraction",
    "ExtractResult": "extraction",
    "load": "features",
    "Features": "features",
    "FrozenBackbone": "transformer",
    "memory_limit": "memory",
    "export": "exporting",
    "Store": "store",
    "StoredRows": "stored",
    "FeatcacheError": "errors",
    "UsageError": "errors",
    "DataError": "errors",
    "WeightsError": "errors",
    "StoreError": "errors",
}
__getattr__, __dir__, __all__ = attach(__name__, _HOMES)
