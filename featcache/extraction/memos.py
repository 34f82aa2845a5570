"""What is remembered of a network in the index, which is derived and may be anybody's."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from ..errors import StoreError
from ..store.store import Store
from ..system import schema

_log = logging.getLogger(__name__)


def recalled(store: Store, memo: str, shape: Any) -> Any | None:
    """What stands under a name as JSON, as a value of a type; None where nothing does, or nothing of that type."""
    text = store.index.memo(memo)
    if text is None:
        return None
    try:
        return msgspec.convert(schema.read(text, shape, "index", "It is made anew"), shape)
    except StoreError as error:
        _log.debug("%s", error)
        return None
